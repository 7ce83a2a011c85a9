"""One file of the ring: H.264 in Matroska, encoded as frames come.

H.264 by libx264, which PyAV's wheels carry: browsers and players show it, it joins without encoding again, and it takes less
than half the bytes of MPEG-4 part 2, the one other codec at its price in CPU; H.265, VP9 and AV1 cost a small device several
times as much. ``zerolatency`` keeps no frame back, so that a frame's bytes are known before they reach the disk. Matroska is
written front to back, holds times in ms, and needs no second pass.
"""

import errno
import logging
import os
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np

from sightline_edge.frame import Pixels

TICKS_PER_S = 1000  # Matroska's own
# An export begins at a key frame: with no more than this of what nobody asked for.
KEYFRAME_S = 2.0
# Heads, cues and tags of a file, and of a packet.
FILE_BYTES = 8192
PACKET_BYTES = 64
# One thread: the detector's cores are not the encoder's. A cluster a second, so that little waits in memory.
ENCODER = {"preset": "superfast", "tune": "zerolatency", "crf": "28", "threads": "1"}
MUXER = {"cluster_time_limit": "1000"}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

logger = logging.getLogger(__name__)

Packet: TypeAlias = "av.Packet[av.VideoStream]"


class _File:
    """A file for the muxer: an error of the disk comes up as it is, and the end can be made durable."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:  # a disk that fills up takes a part first
            if not (taken := os.write(self._fd, rest)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            rest = rest[taken:]
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self._fd, offset, whence)

    def tell(self) -> int:
        return os.lseek(self._fd, 0, os.SEEK_CUR)

    def sync(self) -> None:
        os.fsync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class SegmentWriter:
    """Encodes pictures of one size into a file. ``bytes`` is never less than what the file takes."""

    def __init__(self, path: Path, size: tuple[int, int], frames_per_s: float, first_us: int, tags: dict[str, str]) -> None:
        """Create the file; raises OSError. ``size`` is width and height, px; an odd last row or column is left out."""
        self.bytes = FILE_BYTES
        self._size = size
        self._first_us = first_us
        rate = Fraction(frames_per_s).limit_denominator(1000)
        self._file = _File(path)
        self._container = av.open(self._file, "w", format="matroska", options=MUXER)
        self._container.metadata.update({**tags, "creation_time": iso_time(first_us)})
        self._stream = self._container.add_stream("libx264", rate=rate, options=ENCODER)
        self._stream.width, self._stream.height, self._stream.pix_fmt = size[0] // 2 * 2, size[1] // 2 * 2, "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
        self._stream.codec_context.gop_size = max(1, round(KEYFRAME_S * frames_per_s))

    def fits(self, pixels: Pixels) -> bool:
        """Whether a picture has this file's size."""
        return (pixels.shape[1], pixels.shape[0]) == self._size

    def encode(self, pixels: Pixels, at_us: int) -> list[Packet]:
        """Packets of a BGR picture, not yet written."""
        even = np.ascontiguousarray(pixels[: self._stream.height, : self._stream.width])
        picture = av.VideoFrame.from_ndarray(even, format="bgr24")
        picture.pts = (at_us - self._first_us) * TICKS_PER_S // 1_000_000
        picture.time_base = Fraction(1, TICKS_PER_S)
        return list(self._stream.encode(picture))

    def write(self, packets: list[Packet]) -> None:
        """Write packets; raises OSError."""
        self.bytes += size_of(packets)
        for packet in packets:
            self._container.mux(packet)

    def finish(self) -> None:
        """Complete the file and make it durable; raises OSError."""
        try:
            self.write(list(self._stream.encode(None)))
            self._container.close()
            self._file.sync()
        finally:
            self._file.close()

    def abandon(self) -> None:
        """Let go of the file, whatever state it is in."""
        try:
            self._container.close()
        except (OSError, av.error.FFmpegError) as error:
            logger.debug("an unfinished segment was let go: %s", error)
        finally:
            self._file.close()


def size_of(packets: list[Packet]) -> int:
    """What packets take in a file, at most."""
    return sum(packet.size + PACKET_BYTES for packet in packets)


def iso_time(at_us: int) -> str:
    """UTC, ISO 8601 with microseconds."""
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="microseconds").replace("+00:00", "Z")
