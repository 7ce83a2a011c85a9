"""What the demo takes for its input, and the camera it makes up where none is given."""

import datetime as dt
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from rich.console import Console

from sightline.demo.inputs import default_camera, find_input
from sightline.demo.stages import Stages
from sightline_contract.errors import ConfigError, SourceError


@pytest.fixture
def stages() -> Stages:
    return Stages(Console(quiet=True))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Thirty frames of 64 x 48 px at 15 frames/s."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=15)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for shade in range(30):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), shade * 8, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


@pytest.fixture
def served(clip: Path) -> Iterator[str]:
    """Address under which the clip's folder is served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(clip.parent)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://viewer:secret@127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_camera_is_made_up_for_a_video_of_which_nothing_is_known(clip: Path) -> None:
    camera = default_camera(clip)
    assert (camera.frame_size, camera.frame_rate) == ((64, 48), 15)
    assert camera.lines[0].start == (32, 48)
    assert camera.zones[0].alert is not None


def test_a_folder_of_images_is_a_video(tmp_path: Path, stages: Stages) -> None:
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number:03}.png"), np.zeros((20, 30, 3), np.uint8))
    found = find_input(str(tmp_path), None, None, tmp_path, stages)
    assert found.camera.frame_size == (30, 20)
    assert found.frames_within(1.0) == found.camera.frame_rate


def test_a_recording_is_dated_so_that_it_ends_about_now(clip: Path, tmp_path: Path, stages: Stages) -> None:
    found = find_input(str(clip), None, 40, tmp_path, stages)
    age = dt.datetime.now(dt.UTC) - found.start_time
    assert dt.timedelta(seconds=2) <= age < dt.timedelta(seconds=30)
    assert found.start_us % 1_000_000 == 0


def test_a_network_camera_is_recorded_and_its_password_not_shown(served: str, tmp_path: Path, stages: Stages) -> None:
    found = find_input(f"{served}/clip.mp4", None, 40, tmp_path, stages)
    assert found.source == tmp_path / "recording.mkv"
    assert found.camera.frame_size == (64, 48)
    assert "secret" not in found.label
    with av.open(str(found.source)) as recording:
        assert sum(1 for _ in recording.decode(video=0)) == 30


def test_a_camera_that_does_not_answer_is_named_without_its_password(served: str, tmp_path: Path, stages: Stages) -> None:
    with pytest.raises(SourceError, match=r"viewer:\*\*\*@.*does not answer") as caught:
        find_input(f"{served}/nothing.mp4", None, 40, tmp_path, stages)
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "recording.mkv").exists()


def test_a_folder_of_cameras_is_refused(clip: Path, tmp_path: Path, stages: Stages) -> None:
    cameras = tmp_path / "cameras"
    cameras.mkdir()
    for name in ("a", "b"):
        (cameras / f"{name}.yaml").write_text(f"{{camera_id: {name}, frame_size: [64, 48], frame_rate: 15}}")
    with pytest.raises(ConfigError, match="holds 2 cameras"):
        find_input(str(clip), cameras, 40, tmp_path, stages)
