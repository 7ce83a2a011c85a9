"""Frames of a camera: a video file, a folder of images, or a live stream.

Event time is capture time. A recording's frames are dated from its start by their presentation times; a live stream's by
the wall clock at arrival, since cameras' own clocks disagree. Times never go back. Passwords never reach a message.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np

from sightline_contract.errors import SourceError
from sightline_edge.config import is_address
from sightline_edge.frame import Frame, Pixels
from sightline_edge.health.masking import mask_password

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
MAX_BACKOFF_S = 30.0
# A recording whose rate differs by more than this from its camera's is worth a word.
RATE_TOLERANCE = 0.05


class Source(Protocol):
    """What gives frames. A live source does not wait for the reader: what it cannot take is lost."""

    @property
    def live(self) -> bool:
        """Whether frames come at the camera's pace."""

    @property
    def total(self) -> int | None:
        """Frames that a recording holds, as far as can be told."""

    def frames(self) -> Iterator[Frame]:
        """All frames; raises SourceError."""


@dataclass(frozen=True)
class Patience:
    """How a live stream that does not answer is treated; ``reconnected`` is called when one that ended gives frames again."""

    timeout_s: float
    keep_trying: bool = False
    reconnected: Callable[[], None] = lambda: None


def open_source(source: str, frame_rate: float, start_us: int, stop: threading.Event, patience: Patience) -> Source:
    """The source that ``source`` names; raises SourceError where a recording cannot be opened."""
    if is_address(source):
        return LiveStream(source, stop, patience)
    path = Path(source)
    if path.is_dir():
        return ImageFolder(path, frame_rate, start_us)
    return VideoFile(path, frame_rate, start_us)


class VideoFile:
    """A recording: every frame counts, at the times that the file gives them."""

    live = False

    def __init__(self, path: Path, frame_rate: float, start_us: int) -> None:
        self._path = path
        self._frame_rate = frame_rate
        self._start_us = start_us
        with self._open() as container:
            stream = container.streams.video[0]
            own_rate = float(stream.average_rate or frame_rate)
            seconds = float(container.duration or 0) / av.time_base
            self.total = stream.frames or round(seconds * own_rate) or None
        if abs(own_rate - frame_rate) > RATE_TOLERANCE * frame_rate:
            logger.warning(
                "%s: has %.4g frames/s and its camera file says %.4g: completeness is judged by the camera file",
                path, own_rate, frame_rate,
            )  # fmt: skip

    def frames(self) -> Iterator[Frame]:
        """Every frame that can be decoded; raises SourceError where there is none."""
        ordinal = itertools.count()
        last_us = -1
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            first_s: float | None = None
            for picture in _decode(container, self._path.name):
                number = next(ordinal)
                shown_s = picture.time if picture.time is not None else number / self._frame_rate
                first_s = shown_s if first_s is None else first_s
                last_us = max(last_us + 1, round((shown_s - first_s) * 1e6))
                yield Frame(number, self._start_us + last_us, time.time_ns() // 1000, _pixels(picture))
        if last_us < 0:
            raise SourceError(f"{self._path}: holds no frame that can be decoded: give another recording")

    def _open(self) -> "av.container.InputContainer":
        if not self._path.exists():
            raise SourceError(f"{self._path}: does not exist: check the path of the video")
        try:
            container = av.open(str(self._path))
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(f"{self._path}: is not a video that can be read ({error.strerror}): check the file") from error
        if not container.streams.video:
            container.close()
            raise SourceError(f"{self._path}: has no video track: give another recording")
        return container


class ImageFolder:
    """Images in the order of their names, at the camera's frame rate."""

    live = False

    def __init__(self, folder: Path, frame_rate: float, start_us: int) -> None:
        self._files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if not self._files:
            raise SourceError(f"{folder}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}): check the folder")
        self._frame_rate = frame_rate
        self._start_us = start_us
        self.total = len(self._files)

    def frames(self) -> Iterator[Frame]:
        """Every image; raises SourceError at one that cannot be read."""
        for ordinal, path in enumerate(self._files):
            captured_us = self._start_us + round(ordinal / self._frame_rate * 1e6)
            yield Frame(ordinal, captured_us, time.time_ns() // 1000, _read_image(path))


class LiveStream:
    """A network camera. It is tried again, ever more seldom, for as long as the node runs.

    A stream that did not answer once within the patience's ``timeout_s`` raises SourceError, unless it is to keep trying: its
    address is more likely wrong than its network down. Session and ordinals go on over a reconnection; the gap shows in the
    frames' times.
    """

    live = True
    total = None

    def __init__(self, address: str, stop: threading.Event, patience: Patience) -> None:
        self._address = address
        self._name = mask_password(address)
        self._stop = stop
        self._patience = patience

    def frames(self) -> Iterator[Frame]:
        """Frames as they arrive, until the node stops; raises SourceError where the stream never answers."""
        started_s = time.monotonic()
        ordinal = itertools.count()
        backoff_s = 1.0
        last_us = 0
        connected = False
        while not self._stop.is_set():
            try:
                again = connected
                for pixels in self._connection():
                    if again:
                        again = False
                        self._patience.reconnected()
                    connected, backoff_s = True, 1.0
                    now_us = time.time_ns() // 1000
                    last_us = max(last_us + 1, now_us)
                    yield Frame(next(ordinal), last_us, now_us, pixels)
                reason = "the stream ended"
            except (av.error.FFmpegError, OSError) as error:
                reason = error.strerror or "no answer"
            if not connected and not self._patience.keep_trying and time.monotonic() - started_s > self._patience.timeout_s:
                raise SourceError(f"{self._name}: does not answer ({reason}): check address, user and password")
            if connected or self._patience.keep_trying:
                logger.warning("%s: %s; trying again in %.0f s", self._name, reason, backoff_s)
            self._stop.wait(backoff_s)
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    def _connection(self) -> Iterator[Pixels]:
        options = {"rtsp_transport": "tcp", "fflags": "nobuffer"} if self._address.startswith("rtsp") else {}
        with av.open(self._address, options=options, timeout=self._patience.timeout_s) as container:
            if not container.streams.video:
                raise SourceError(f"{self._name}: has no video: check the address")
            for picture in _decode(container, self._name):
                yield _pixels(picture)


def _decode(container: "av.container.InputContainer", name: str) -> Iterator["av.VideoFrame"]:
    """Decoded pictures; packets that are damaged are passed over, as a player does."""
    damaged = 0
    for packet in container.demux(video=0):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            damaged += 1
    if damaged:
        logger.warning("%s: %d damaged packets were passed over", name, damaged)


def _pixels(picture: "av.VideoFrame") -> Pixels:
    return np.asarray(picture.to_ndarray(format="bgr24"), np.uint8)


def _read_image(path: Path) -> Pixels:
    # Not cv2.imread: it prints its own complaint and gives no reason.
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if pixels is None:
        raise SourceError(f"{path}: is not an image that can be read: mend or remove it")
    return np.asarray(pixels, np.uint8)
