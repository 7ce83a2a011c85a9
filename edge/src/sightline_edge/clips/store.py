"""The ring on the disk: segments of each camera, an age limit and a size limit, and a ledger of what was deleted.

Invariants, whenever a method has returned:
- No file holds a frame that will be over the age limit ``PURGE_AHEAD_S`` from now; whoever owns the store purges as often.
  A frame's age is the larger of what the wall clock and the clock since boot tell, so no clock step lengthens it. An earlier
  boot's frame that is dated in the future has no age that can be known, and goes.
- The files' sizes, those still being written included, sum to no more than the size limit: room is made before a write.
- Every file that ever was is entered in the ledger or told in it as deleted.
- A file under its own name is whole; what was not complete at a power cut is deleted at the next start.

What a device cannot do: delete while it is off (it does so first when it starts), overwrite the cells of a flash disk (a disk's
encryption is for that), and know the time at boot without a clock of its own. One process owns a folder; one thread at a time.
"""

import fcntl
import logging
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import av
import numpy as np
import numpy.typing as npt

from sightline_contract.errors import StorageError
from sightline_edge.clips.blur import blur
from sightline_edge.clips.clock import Instant
from sightline_edge.clips.ledger import Deletion, Ledger, Reason, Segment
from sightline_edge.clips.segment import FILE_BYTES, SegmentWriter, size_of
from sightline_edge.config import ClipsConfig
from sightline_edge.disk import lock, sync_folder
from sightline_edge.frame import Pixels

logger = logging.getLogger(__name__)

PURGE_AHEAD_S = 5.0
# After an error of the disk frames are dropped for so long: each attempt costs the disk and the ledger a write.
RETRY_S = 10.0
# Exports in the making; cameras' names begin with a letter or a digit.
EXPORTS = ".exports"
_LOCK = ".lock"
_TRIM_US = 86_400 * 1_000_000
_DISK_ERRORS = (OSError, sqlite3.Error, av.error.FFmpegError)


@dataclass(frozen=True)
class Offered:
    """A frame for the ring, BGR, whose pixels nobody changes any more."""

    camera_id: str
    pixels: Pixels
    at_us: int  # capture time, UTC
    received_us: int  # wall clock when it reached the node
    boxes_to_blur: npt.NDArray[np.floating]  # (N, 4) corners in px
    now: Instant


@dataclass(slots=True)
class _Open:
    """A segment that is being written."""

    segment: Segment
    writer: SegmentWriter
    last_us: int
    frames: int = 0


class Store:
    """The ring. ``now`` is given by the caller everywhere; pixels of a region to blur reach no encoder."""

    def __init__(self, config: ClipsConfig, folder: Path, node_id: str, now: Instant) -> None:
        """Take the folder, clear up after the last run, and purge; raises StorageError."""
        self._config = config
        self._folder = folder
        self._node_id = node_id
        self._limit_us = round(config.max_age_h * 3600e6)
        self._length_us = round(config.segment_s * 1e6)
        self._held: dict[int, Segment] = {}
        self._open: dict[str, _Open] = {}
        self._bytes = 0
        self._retry_us = self._trimmed_us = 0
        self.frames_stored = 0
        self.frames_dropped = 0
        self._lock = _take(folder)
        try:
            self._ledger = Ledger(folder)
        except StorageError:
            self._lock.close()
            raise
        try:
            self._recover(now)
            self.purge(now, starting=True)
        except _DISK_ERRORS as error:
            self._ledger.close()
            self._lock.close()
            raise StorageError(f"{folder}: clips cannot be kept there ({error}): free or mend the disk") from error

    @property
    def bytes(self) -> int:
        """Sizes of all files; those that are being written count with what they take at most."""
        return self._bytes

    def oldest_frame_age_s(self, now: Instant) -> float:
        """Age of the oldest frame on the disk; 0 where there is none."""
        return max((segment.age_us(now) for segment in list(self._held.values())), default=0) / 1e6

    def append(self, frame: Offered) -> bool:
        """Blur, encode and write a frame; whether it is kept. A frame that the disk does not take is dropped and counted."""
        camera_id, now = frame.camera_id, frame.now
        try:
            kept = now.boot_us >= self._retry_us and self._append(frame)
        except _DISK_ERRORS as error:
            logger.warning("camera %s: frames cannot be kept, tried again in %.0f s: %s", camera_id, RETRY_S, error)
            self._retry_us = now.boot_us + round(RETRY_S * 1e6)
            self._discard(camera_id, Reason.TORN, now)
            kept = False
        except ValueError as error:
            logger.warning("camera %s: a frame is not kept: %s", camera_id, error)
            kept = False
        self.frames_stored += kept
        self.frames_dropped += not kept
        return kept

    def purge(self, now: Instant, *, starting: bool = False) -> None:
        """Delete what is or will at once be too old; complete segments that no frame follows. To be called every second."""
        self._redate(now)
        silent = [name for name, taken in self._open.items() if now.boot_us - taken.segment.boot_us >= self._length_us]
        for camera_id in silent:
            self._finish(camera_id, now)
        for segment in list(self._held.values()):
            if reason := self._overdue(segment, now):
                self._delete(segment, Reason.START if starting and reason is Reason.AGE else reason, now)
        self._make_room(0, now)  # the limit may be smaller than in the last run
        self._clear_exports(now)
        if starting or now.boot_us - self._trimmed_us >= _TRIM_US:
            self._trimmed_us = now.boot_us
            self._ledger.trim(now)

    def clear(self, reason: Reason, now: Instant) -> None:
        """Delete everything."""
        for segment in list(self._held.values()):
            self._delete(segment, reason, now)

    def close(self, now: Instant) -> None:
        """Complete the open segments and let go of the folder."""
        for camera_id in list(self._open):
            self._finish(camera_id, now)
        self._ledger.close()
        self._lock.close()

    def _append(self, frame: Offered) -> bool:
        camera_id, at_us, now = frame.camera_id, frame.at_us, frame.now
        pixels = blur(frame.pixels, frame.boxes_to_blur) if len(frame.boxes_to_blur) else frame.pixels
        taken = self._open.get(camera_id)
        if taken is not None and not (
            taken.writer.fits(pixels) and taken.last_us < at_us < taken.segment.first_us + self._length_us
        ):
            self._finish(camera_id, now)
            taken = None
        if taken is None and (taken := self._begin(frame)) is None:
            return False
        packets = taken.writer.encode(pixels, at_us)
        if not self._make_room(size_of(packets), now) or self._open.get(camera_id) is not taken:
            return False
        self._count(taken.segment, taken.writer.bytes + size_of(packets))
        taken.writer.write(packets)
        taken.last_us = at_us
        taken.frames += 1
        return True

    def _begin(self, frame: Offered) -> _Open | None:
        camera_id, at_us = frame.camera_id, frame.at_us
        if not self._make_room(FILE_BYTES, frame.now):
            return None
        segment = self._ledger.enter(camera_id, at_us, frame.received_us, frame.now, ",".join(self._config.blur))
        self._held[segment.id] = segment
        part = self._folder / segment.part_file
        part.parent.mkdir(mode=0o700, exist_ok=True)
        size = frame.pixels.shape[1], frame.pixels.shape[0]
        tags = {"camera_id": camera_id, "node_id": self._node_id}
        writer = SegmentWriter(part, size, self._config.frames_per_s, at_us, tags)
        self._count(segment, writer.bytes)
        taken = self._open[camera_id] = _Open(segment, writer, at_us - 1)
        return taken

    def _finish(self, camera_id: str, now: Instant) -> None:
        """Complete a camera's open segment; where the disk does not take the end of it, it is deleted."""
        taken = self._open[camera_id]
        segment, part = taken.segment, self._folder / taken.segment.part_file
        try:
            taken.writer.finish()
            self._count(segment, part.stat().st_size)
            segment.last_us, segment.frames = taken.last_us, taken.frames
            self._ledger.complete(segment)
            part.rename(self._folder / segment.file)
            sync_folder(part.parent)
        except _DISK_ERRORS as error:
            logger.warning("camera %s: a segment of %d frames could not be completed: %s", camera_id, taken.frames, error)
            self._discard(camera_id, Reason.TORN, now)
            return
        segment.whole = True
        del self._open[camera_id]

    def _count(self, segment: Segment, size: int) -> None:
        self._bytes += size - (segment.bytes or 0)
        segment.bytes = size

    def _discard(self, camera_id: str, reason: Reason, now: Instant) -> None:
        """Delete a camera's open segment, or the entry of one that could not be opened."""
        for segment in [s for s in self._held.values() if s.camera_id == camera_id and not s.whole]:
            self._delete(segment, reason, now)

    def _delete(self, segment: Segment, reason: Reason, now: Instant) -> bool:
        """Delete a file and tell it; whether both are done. What is not is tried again by the next purge."""
        if (taken := self._open.get(segment.camera_id)) is not None and taken.segment is segment:
            del self._open[segment.camera_id]
            taken.writer.abandon()
            part = self._folder / segment.part_file
            self._count(segment, part.stat().st_size if part.exists() else 0)
            segment.last_us, segment.frames = taken.last_us, taken.frames
            if reason is Reason.TORN:
                self.frames_stored -= taken.frames
                self.frames_dropped += taken.frames
        try:
            for file in (self._folder / segment.file, self._folder / segment.part_file):
                file.unlink(missing_ok=True)
            # The ledger must not be on the disk before what it tells is.
            if (parent := (self._folder / segment.file).parent).exists():
                sync_folder(parent)
            self._ledger.tell(_deletion(segment, reason, now), segment)
        except _DISK_ERRORS as error:
            logger.warning("%s: could not be deleted: %s", segment.file, error)
            return False
        del self._held[segment.id]
        self._bytes -= segment.bytes or 0
        return True

    def _make_room(self, wanted: int, now: Instant) -> bool:
        """Delete the oldest segments until so many bytes fit; whether they do."""
        for segment in list(self._held.values()):
            if self._bytes + wanted <= self._config.max_bytes:
                break
            if not self._delete(segment, Reason.SIZE, now):
                return False
        return self._bytes + wanted <= self._config.max_bytes

    def _overdue(self, segment: Segment, now: Instant) -> Reason | None:
        age_us = segment.age_us(now)
        if age_us + PURGE_AHEAD_S * 1e6 >= self._limit_us:
            return Reason.AGE
        if age_us < 0 and segment.boot_id != now.boot_id:
            return Reason.CLOCK
        if not segment.whole and all(taken.segment is not segment for taken in self._open.values()):
            return Reason.TORN  # an earlier attempt to delete it failed
        return None

    def _redate(self, now: Instant) -> None:
        boot_time_us = now.wall_us - now.boot_us
        stale = [
            s for s in self._held.values() if s.boot_id == now.boot_id and s.oldest_us > boot_time_us + s.boot_us + 1_000_000
        ]
        for segment in stale:
            segment.oldest_us = boot_time_us + segment.boot_us
        if stale:
            self._ledger.redate(now)

    def _recover(self, now: Instant) -> None:
        """After a power cut: what is whole is held, the rest deleted and told."""
        for segment in self._ledger.segments():
            whole, part = self._folder / segment.file, self._folder / segment.part_file
            found = next((file for file in (part, whole) if file.exists()), None)
            self._held[segment.id] = segment
            self._bytes += segment.bytes or 0
            if found is None:
                self._delete(segment, Reason.MISSING, now)
                continue
            self._count(segment, found.stat().st_size)
            if found == part or not segment.whole:
                self._delete(segment, Reason.TORN, now)
        held = {self._folder / segment.file for segment in self._held.values()}
        for stray in [path for path in self._folder.glob("[!.]*/*") if path not in held and path.is_file()]:
            self._delete_unentered(stray, Reason.STRAY, now)

    def _clear_exports(self, now: Instant) -> None:
        """Delete what an export left behind that was killed: nobody holds its lock."""
        for left in (self._folder / EXPORTS).glob("*"):
            try:
                with left.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._delete_unentered(left, Reason.TORN, now)
            except (BlockingIOError, FileNotFoundError):
                continue

    def _delete_unentered(self, path: Path, reason: Reason, now: Instant) -> None:
        size = path.stat().st_size
        path.unlink()
        sync_folder(path.parent)
        file = str(path.relative_to(self._folder))
        camera_id = path.parent.name if path.parent.name != EXPORTS else path.name.rsplit("~", 1)[0]
        self._ledger.tell(Deletion(file, camera_id, None, None, size, None, now.wall_us, reason))


def _deletion(segment: Segment, reason: Reason, now: Instant) -> Deletion:
    times = segment.first_us, segment.last_us
    return Deletion(segment.file, segment.camera_id, *times, segment.bytes, segment.frames, now.wall_us, reason)


def _take(folder: Path) -> IO[bytes]:
    """The folder's lock; raises StorageError where it cannot be had."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = lock(folder / _LOCK)
    except OSError as error:
        raise StorageError(f"{folder}: clips cannot be kept there ({error.strerror}): check path and rights") from error
    if taken is None:
        raise StorageError(f"{folder}: another node keeps its clips there: stop it, or give this one a state of its own")
    return taken
