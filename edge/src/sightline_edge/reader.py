"""A camera's reader thread: reads, paces and prepares frames, and puts them into the inbox."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from sightline_edge.capture import Source
from sightline_edge.config import Pace
from sightline_edge.frame import Frame, Pixels
from sightline_edge.health.metrics import Metrics, Stage
from sightline_edge.inbox import Inbox, Waiting
from sightline_edge.preprocessing import Prepared

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How much of a source is read."""

    max_frames: int | None = None
    duration_s: float | None = None

    def total(self, source: Source, frame_rate: float) -> int | None:
        """Frames that will be read, as far as can be told."""
        by_time = round(self.duration_s * frame_rate) if self.duration_s else None
        known = [count for count in (source.total, self.max_frames, by_time) if count]
        return min(known, default=None)

    def reached(self, frame: Frame, first_us: int) -> bool:
        """Whether ``frame`` lies behind the limit."""
        too_many = self.max_frames is not None and frame.ordinal >= self.max_frames
        return too_many or (self.duration_s is not None and frame.captured_us - first_us >= self.duration_s * 1e6)


class Reader(threading.Thread):
    """Reads one camera until it ends, a limit is reached or the node stops; ``error`` says what went wrong, if anything."""

    def __init__(
        self,
        camera: int,
        camera_id: str,
        source: Source,
        prepare: Callable[[Pixels], Prepared],
        inbox: Inbox,
        pace: Pace,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        """``camera`` is its place in the inbox."""
        # A daemon: a network read that hangs must not keep a stopped node alive.
        super().__init__(name=f"reader-{camera}", daemon=True)
        self._camera = camera
        self._camera_id = camera_id
        self._metrics = metrics
        self._source = source
        self._prepare = prepare
        self._inbox = inbox
        self._paced = pace is Pace.REALTIME and not source.live
        self._limits = limits
        self._stopped = threading.Event()
        self.frames_read = 0
        self.error: Exception | None = None

    def run(self) -> None:
        """Thread body."""
        try:
            self._read()
        except Exception as error:  # noqa: BLE001 - a thread has nobody above it: the node raises it again
            self.error = error
        finally:
            self._inbox.close(self._camera)

    def stop(self) -> None:
        """Read no further frame."""
        self._stopped.set()
        self._inbox.close(self._camera)

    def _read(self) -> None:
        started_s = time.monotonic()
        first_us: int | None = None
        for frame in self._source.frames():
            first_us = frame.captured_us if first_us is None else first_us
            if self._stopped.is_set() or self._limits.reached(frame, first_us):
                return
            self.frames_read = frame.ordinal + 1
            if self._paced:
                due_s = started_s + (frame.captured_us - first_us) / 1e6
                self._stopped.wait(max(0.0, due_s - time.monotonic()))
                frame = replace(frame, received_us=time.time_ns() // 1000)  # noqa: PLW2901 - it reaches the node now
            began_s = time.monotonic()
            prepared = self._prepare(frame.pixels)
            ready_s = time.monotonic()
            self._metrics.frame(self._camera_id)
            self._metrics.stage(Stage.PREPARE, ready_s - began_s)
            self._inbox.put(self._camera, Waiting(frame, prepared, ready_s), live=self._source.live)
