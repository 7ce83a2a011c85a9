from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from sample_run import CAMERA, CLIP_SIZE, FILLED_IN, FRAMES, GREY, SCALE, START_US, person_box, run_rows, write_clip, write_run

from sightline.results.annotate import AnnotatedVideo, annotate_video
from sightline.results.lettering import Style, paste, plate
from sightline.results.overlay import Overlay, track_colour
from sightline.results.reading import Results, read_results
from sightline.results.replay import Replay
from sightline_contract.errors import SourceError, StorageError

Picture = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(write_run(tmp_path_factory.mktemp("run")), CAMERA.camera_id)


@pytest.fixture(scope="module")
def video(results: Results, tmp_path_factory: pytest.TempPathFactory) -> AnnotatedVideo:
    folder = tmp_path_factory.mktemp("video")
    return annotate_video(write_clip(folder / "walk.mkv"), folder / "out" / "demo.mp4", results, CAMERA, START_US)


def decoded(path: Path) -> list[Picture]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def drawn(results: Results, time_us: int) -> Picture:
    picture = np.full((CLIP_SIZE[1], CLIP_SIZE[0], 3), GREY, np.uint8)
    Overlay(CAMERA, CLIP_SIZE).draw(picture, Replay(results, START_US, 100_000).at(time_us))
    return picture


def left_edge(picture: Picture, frame: int) -> npt.NDArray[np.int64]:
    """The pixels where the left edge of the walker's box in ``frame`` belongs, without its ends: (rows, 3, 3)."""
    x1, y1, _, y2 = (SCALE * int(value) for value in person_box(frame))
    return picture[y1 + 8 : y2 - 8, x1 - 1 : x1 + 2].astype(np.int64)


def test_the_video_is_what_browsers_play(video: AnnotatedVideo) -> None:
    with av.open(str(video.path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.width, stream.height) == CLIP_SIZE
    head = video.path.read_bytes()[:4096]
    assert b"moov" in head, "the header must be at the front (faststart)"


def test_every_frame_of_the_clip_is_there_at_its_time(video: AnnotatedVideo) -> None:
    with av.open(str(video.path)) as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert video.frames == FRAMES
    assert times == [Fraction(index, 10) for index in range(FRAMES)]


def test_a_box_is_drawn_where_the_tables_say(video: AnnotatedVideo) -> None:
    frames = decoded(video.path)
    edge = np.abs(left_edge(frames[12], 12) - GREY)
    assert edge.max(axis=(1, 2)).min() > 40, "it runs the whole height of the box"
    assert np.abs(left_edge(frames[0], 12) - GREY).max() < 15, "nothing is there while the object is elsewhere"


def test_the_box_has_the_colour_of_its_track(results: Results) -> None:
    middle = left_edge(drawn(results, 1_200_000), 12)[:, 1]
    assert np.abs(middle - track_colour("1")).max() < 40


def test_a_filled_in_box_is_drawn_thinner(results: Results) -> None:
    observed, filled_in = (
        np.abs(left_edge(drawn(results, frame * 100_000), frame) - GREY).sum() for frame in (FILLED_IN - 1, FILLED_IN)
    )
    assert filled_in < observed


def test_neighbouring_tracks_differ_in_colour() -> None:
    colours = np.array([track_colour(str(number)) for number in range(1, 12)], dtype=int)
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 150


def test_an_occupied_zone_is_tinted_more(tmp_path: Path) -> None:
    rows = run_rows() | {"gold.alerts": []}
    results = read_results(write_run(tmp_path, rows), CAMERA.camera_id)
    x, y = SCALE * 96, SCALE * 100  # in the zone, off boxes and labels
    empty, occupied = (np.abs(drawn(results, time_us)[y, x].astype(int) - GREY).sum() for time_us in (0, 1_200_000))
    assert occupied > empty > 0


def test_odd_sizes_become_even(results: Results, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "odd.mkv", 2, (161, 121))
    video = annotate_video(clip, tmp_path / "odd.mp4", results, CAMERA, START_US)
    assert video.size == (160, 120)
    assert len(decoded(video.path)) == 2


def test_a_folder_of_images_is_a_clip(results: Results, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(3):
        cv2.imwrite(str(folder / f"{index:03d}.png"), np.full((120, 160, 3), GREY, np.uint8))
    assert annotate_video(folder, tmp_path / "demo.mp4", results, CAMERA, START_US).frames == 3


def test_stills_are_jpegs_and_the_scene_is_bare(video: AnnotatedVideo) -> None:
    assert len(video.stills) == 3
    scene = cv2.imdecode(np.frombuffer(video.scene.jpeg, np.uint8), cv2.IMREAD_COLOR)
    still = cv2.imdecode(np.frombuffer(video.stills[1].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert scene is not None
    assert still is not None
    assert np.abs(scene.astype(int) - GREY).max() <= 3
    assert np.abs(still.astype(int) - GREY).max() > 100


def test_only_as_many_frames_as_asked_for_are_drawn(results: Results, tmp_path: Path) -> None:
    told: list[int] = []
    clip = write_clip(tmp_path / "walk.mkv")
    video = annotate_video(clip, tmp_path / "demo.mp4", results, CAMERA, START_US, limit_frames=5, progress=told.append)
    assert (video.frames, len(decoded(video.path)), told) == (5, 5, [1, 2, 3, 4, 5])


def test_empty_tables_leave_the_clip_with_its_lines_and_zones(tmp_path: Path) -> None:
    results = read_results(tmp_path / "nothing", CAMERA.camera_id)
    clip = write_clip(tmp_path / "walk.mkv", 4)
    assert annotate_video(clip, tmp_path / "demo.mp4", results, CAMERA, START_US).frames == 4


def test_what_is_no_video_is_refused_and_leaves_nothing(results: Results, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"no video")
    with pytest.raises(SourceError, match=r"clip\.mp4: .*(check|give)"):
        annotate_video(clip, tmp_path / "out" / "demo.mp4", results, CAMERA, START_US)
    assert not list(tmp_path.rglob("*demo.mp4*"))


def test_a_place_that_cannot_be_written_is_named(results: Results, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "walk.mkv", 2)
    with pytest.raises(StorageError, match=r"walk\.mkv/demo\.mp4: cannot be written"):
        annotate_video(clip, clip / "demo.mp4", results, CAMERA, START_US)


def test_a_plate_that_would_stick_out_is_moved_inside() -> None:
    picture = np.full((60, 80, 3), GREY, np.uint8)
    what = plate("9", Style(12))
    paste(picture, what, 1000, -50)
    assert np.all(picture[:, :40] == GREY)
    assert not np.all(picture[: what.size[1], 80 - what.size[0] :] == GREY)


def test_a_plate_larger_than_the_picture_is_cut() -> None:
    picture = np.full((10, 10, 3), GREY, np.uint8)
    paste(picture, plate("a very long text\nof two lines", Style(20)), 3, 3)
    assert picture.shape == (10, 10, 3)
