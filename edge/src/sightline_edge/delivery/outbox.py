"""The thread between the pipeline and the spool: many messages, one write.

A message is promised once it is in the spool: ``stored`` is called then. The pipeline never waits for a disk: what comes while
a write is under way goes with the next one. Where the disk is full, what waits here is tried again until it fits; of a
recording the reader waits, and a live camera's further batches are refused and counted, since its alerts must go on.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from sightline_contract.errors import StorageError
from sightline_edge.delivery.records import Lane, Record
from sightline_edge.delivery.spool import Spool

logger = logging.getLogger(__name__)

# Bytes in memory before they are on the disk: seconds of a hundred cameras, and little beside a detector.
ROOM_BYTES = 16 * 1024**2
# At most so much in one write, and one record more: the spool's log has room for it, on a full disk, too.
WRITE_BYTES = 1024**2
_RETRY_S = 0.5
_TRIM_S = 10.0
# A full disk is told of so often.
_TELL_S = 60.0

_Waiting = tuple[Record, Callable[[], None] | None]


class Outbox(threading.Thread):
    """Writes what it is given into the spool; ``put`` may be called from any thread."""

    def __init__(self, spool: Spool, commit_s: float, on_commit: Callable[[int], None]) -> None:
        """``on_commit`` is told, after each write, how many records it held."""
        super().__init__(name="outbox", daemon=True)
        self._spool = spool
        self._commit_s = commit_s
        self._on_commit = on_commit
        self._changed = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._hurry = False
        self._closing = False
        self._trimmed_s = 0.0
        self._told_s = -_TELL_S
        self.refused = 0
        self.error: Exception | None = None

    def put(self, record: Record, *, wait: bool = True, stored: Callable[[], None] | None = None) -> bool:
        """Hand a record over; False where there is no room and it shall not ``wait``, which is counted in ``refused``.

        Raises StorageError once the thread has given up, and where nobody will make room any more.
        """
        with self._changed:
            while self._bytes >= ROOM_BYTES and self.error is None and not self._closing:
                if not wait:
                    self.refused += 1
                    return False
                self._changed.wait(_RETRY_S)
            if self.error is not None or self._closing:
                raise StorageError(f"{self._spool.path}: the spool takes nothing any more ({self.error or 'it is closed'})")
            self._queue.append((record, stored))
            self._bytes += len(record.value)
            # An event is late in milliseconds, and an audit record is waited for.
            self._hurry = self._hurry or record.lane in (Lane.EVENTS, Lane.AUDIT)
            self._changed.notify_all()
            return True

    def run(self) -> None:
        """Thread body."""
        try:
            while self._step():
                pass
        except Exception as error:  # noqa: BLE001 - a thread has nobody above it: put and close tell of it
            with self._changed:
                self.error = error
                self._changed.notify_all()

    def close(self) -> None:
        """Write what waits, once more if the disk is full; raises StorageError for what is not written."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.join()
        if self.error is not None:
            raise self.error if isinstance(self.error, StorageError) else StorageError(f"{self._spool.path}: {self.error}")

    def _step(self) -> bool:
        waiting = self._gathered()
        if waiting:
            self._write(waiting)
        if time.monotonic() - self._trimmed_s > _TRIM_S:
            self._trimmed_s = time.monotonic()
            self._trim()
        with self._changed:
            return bool(self._queue) or not self._closing

    def _gathered(self) -> list[_Waiting]:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._queue) or self._closing, _TRIM_S)
            if self._queue and not self._hurry:
                self._changed.wait_for(lambda: self._hurry or self._closing or self._bytes >= ROOM_BYTES // 4, self._commit_s)
            waiting, size = [], 0
            while self._queue and size < WRITE_BYTES:
                waiting.append(self._queue.popleft())
                size += len(waiting[-1][0].value)
            self._hurry = bool(self._queue)  # what is left has waited long enough
            return waiting

    def _write(self, waiting: list[_Waiting]) -> None:
        while True:
            try:
                self._spool.append([record for record, _ in waiting])
                break
            except StorageError as error:
                self._tell(error)
                if self._closing:
                    raise
                time.sleep(_RETRY_S)
        with self._changed:
            self._bytes -= sum(len(record.value) for record, _ in waiting)
            self._changed.notify_all()
        for _, stored in waiting:
            if stored is not None:
                stored()
        self._on_commit(len(waiting))

    def _trim(self) -> None:
        try:
            self._spool.trim()
        except StorageError as error:
            self._tell(error)

    def _tell(self, error: StorageError) -> None:
        if time.monotonic() - self._told_s >= _TELL_S:
            self._told_s = time.monotonic()
            logger.error("%s; it is tried again", error)
