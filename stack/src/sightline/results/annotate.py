"""The annotated video: the clip once more, with what the tables say drawn on it, as an MP4 that browsers play.

Every frame is written at its own time, so that picture and tables stay together in clips of varying frame rate too. The file
appears under its name only when it is complete.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np

from sightline.results.lettering import Picture
from sightline.results.overlay import Overlay
from sightline.results.reading import Results
from sightline.results.replay import Replay
from sightline.results.whole_file import whole_file
from sightline_contract.camera import CameraConfig
from sightline_edge.capture import ImageFolder, VideoFile

MAX_WIDTH = 1920
STILLS = 3
STILL_WIDTH = 960
STILL_QUALITY = 82
# MPEG's clock: every usual frame time is a whole number of its ticks.
TICKS_PER_S = 90_000


@dataclass(frozen=True)
class Still:
    """A frame as JPEG; time in microseconds since the clip's first frame."""

    time_us: int
    jpeg: bytes


@dataclass(frozen=True)
class AnnotatedVideo:
    """What was written, and pictures of it: the first frame bare, and the fullest frames annotated."""

    path: Path
    frames: int
    size: tuple[int, int]
    scene: Still
    stills: tuple[Still, ...]


def annotate_video(
    clip: Path,
    out: Path,
    results: Results,
    camera: CameraConfig,
    start_us: int,
    *,
    limit_frames: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> AnnotatedVideo:
    """Write ``clip`` with its results drawn on it to ``out``.

    ``start_us`` is the capture time that the node gave to the first frame; ``progress`` is called with the number of frames
    done. Raises SourceError where the clip cannot be decoded, StorageError where ``out`` cannot be written.
    """
    # The node's own reader: each frame gets the time here that its detections got there, but counted from zero.
    source = ImageFolder(clip, camera.frame_rate, 0) if clip.is_dir() else VideoFile(clip, camera.frame_rate, 0)
    frames = itertools.islice(source.frames(), limit_frames)
    first = next(frames)
    size = _output_size(first.pixels)
    replay = Replay(results, start_us, round(1e6 / camera.frame_rate))
    overlay = Overlay(camera, size)
    scene = _still(0, _fitted(first.pixels, size))
    due = replay.busy_moments(STILLS)
    stills: list[Still] = []
    done = 0
    with whole_file(out, (OSError, av.FFmpegError)) as partial, _Mp4(partial, size, camera.frame_rate) as mp4:
        for frame in itertools.chain([first], frames):
            picture = _fitted(frame.pixels, size)
            overlay.draw(picture, replay.at(frame.captured_us))
            mp4.write(picture, frame.captured_us)
            if len(stills) < len(due) and frame.captured_us >= due[len(stills)]:
                stills.append(_still(frame.captured_us, picture))
            done += 1
            if progress:
                progress(done)
    return AnnotatedVideo(out, done, size, scene, tuple(stills))


class _Mp4:
    """H.264 in 4:2:0, the header at the front: what every browser plays, also while it still loads."""

    def __init__(self, path: Path, size: tuple[int, int], frame_rate: float) -> None:
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        rate = Fraction(frame_rate).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "24"})
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, TICKS_PER_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def write(self, picture: Picture, time_us: int) -> None:
        frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
        frame.pts = round(time_us * TICKS_PER_S / 1e6)
        frame.time_base = Fraction(1, TICKS_PER_S)
        self._container.mux(self._stream.encode(frame))


def _output_size(picture: Picture) -> tuple[int, int]:
    """Width and height of the video: the clip's, at most MAX_WIDTH wide, and even as 4:2:0 asks for."""
    height, width = picture.shape[:2]
    shrink = min(1.0, MAX_WIDTH / width)
    return max(2, round(width * shrink) // 2 * 2), max(2, round(height * shrink) // 2 * 2)


def _fitted(picture: Picture, size: tuple[int, int]) -> Picture:
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _still(time_us: int, picture: Picture) -> Still:
    if picture.shape[1] > STILL_WIDTH:
        picture = _fitted(picture, (STILL_WIDTH, round(picture.shape[0] * STILL_WIDTH / picture.shape[1])))
    _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, STILL_QUALITY])
    return Still(time_us, jpeg.tobytes())
