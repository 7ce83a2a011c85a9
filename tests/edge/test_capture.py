import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from sightline_contract.errors import SourceError
from sightline_edge.capture import Patience, Source, open_source
from sightline_edge.health.masking import mask_password

START_US = 1_700_000_000_000_000


def opened(source: str | Path, frame_rate: float = 10, timeout_s: float = 5) -> Source:
    return open_source(str(source), frame_rate, START_US, threading.Event(), Patience(timeout_s))


def test_a_file_gives_every_frame_at_its_own_time(make_video: Callable[..., Path]) -> None:
    source = opened(make_video("clip.mp4", ["black"] * 7 + ["red"] * 5))
    frames = list(source.frames())
    assert source.total == len(frames) == 12
    assert [frame.captured_us - START_US for frame in frames] == [i * 100_000 for i in range(12)]
    assert [frame.ordinal for frame in frames] == list(range(12))
    assert frames[0].size == (64, 48)
    blue, green, red = frames[-1].pixels[20, 30]
    assert (red > 200, green < 50, blue < 50) == (True, True, True)


def test_received_is_the_wall_clock_and_captured_is_not(make_video: Callable[..., Path]) -> None:
    before_us = time.time_ns() // 1000
    (frame,) = opened(make_video("clip.mp4", ["black"])).frames()
    assert frame.captured_us == START_US
    assert before_us <= frame.received_us <= time.time_ns() // 1000


def test_a_folder_of_images_is_read_by_name_at_the_cameras_rate(tmp_path: Path) -> None:
    for i in (2, 0, 1):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((4, 6, 3), i, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    source = opened(tmp_path, frame_rate=4)
    frames = list(source.frames())
    assert source.total == 3
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [0, 1, 2]
    assert [frame.captured_us - START_US for frame in frames] == [0, 250_000, 500_000]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.mp4: does not exist"):
        opened(tmp_path / "gone.mp4")


@pytest.mark.parametrize("content", [b"", b"this is no video\n" * 100])
def test_a_file_that_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"clip\.mp4: is not a video that can be read"):
        opened(path)


def test_a_file_without_a_video_track_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sound.srt"
    path.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    with pytest.raises(SourceError, match=r"sound\.srt: has no video track"):
        opened(path)


def test_a_file_cut_off_in_the_middle_gives_the_frames_it_has(make_video: Callable[..., Path]) -> None:
    path = make_video("clip.ts", ["black", "red"] * 20)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    frames = list(opened(path).frames())
    assert 5 < len(frames) < 40


def test_a_file_without_a_frame_is_named(make_video: Callable[..., Path]) -> None:
    path = make_video("clip.avi", [])
    with pytest.raises(SourceError, match=r"clip\.avi: holds no frame"):
        list(opened(path).frames())


def test_an_empty_folder_and_a_broken_image_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no images"):
        opened(tmp_path)
    (tmp_path / "a.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(SourceError, match=r"a\.png: is not an image"):
        list(opened(tmp_path).frames())


def test_a_live_stream_is_taken_up_again_and_dated_by_the_wall_clock(camera_address: str) -> None:
    stop = threading.Event()
    again: list[int] = []
    source = open_source(camera_address, 10, START_US, stop, Patience(5, reconnected=lambda: again.append(1)))
    assert source.live
    frames = []
    before_us = time.time_ns() // 1000
    for frame in source.frames():
        frames.append(frame)
        if len(frames) == 5:  # more than one connection gives
            stop.set()
            break
    assert [frame.ordinal for frame in frames] == list(range(5))
    times = [frame.captured_us for frame in frames]
    assert again == [1]
    assert before_us <= times[0]
    assert times == sorted(set(times))


def test_an_address_that_never_answers_is_given_up_without_showing_its_password() -> None:
    source = opened("http://viewer:secret@127.0.0.1:1/stream", timeout_s=0.1)
    with pytest.raises(SourceError, match=r"http://viewer:\*\*\*@127\.0\.0\.1:1/stream: does not answer") as caught:
        list(source.frames())
    assert "secret" not in str(caught.value)


def test_a_device_starts_before_its_cameras_do(camera_address: str) -> None:
    stop = threading.Event()
    patience = Patience(0.1, keep_trying=True)
    threading.Timer(1.5, stop.set).start()
    assert list(open_source("http://127.0.0.1:1/stream", 10, START_US, stop, patience).frames()) == []  # and raises nothing


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://u:p@h/1", "rtsp://u:***@h/1"),
        ("rtsp://u:p:q/r@h/1", "rtsp://u:***@h/1"),
        ("rtsp://u:p@ss@h/1", "rtsp://u:***@h/1"),
        ("rtsp://h:554/1", "rtsp://h:554/1"),
        ("rtsp://h:554/1?mail=a@b", "rtsp://h:554/1?mail=a@b"),
        ("rtsp://h/1?user=u&password=p", "rtsp://h/1?user=u&password=***"),
    ],
)
def test_passwords_are_masked(address: str, shown: str) -> None:
    assert mask_password(address) == shown
