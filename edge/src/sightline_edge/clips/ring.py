"""Audit clips as the node calls them: frames in, and a thread that thins, blurs, writes and purges.

``offer`` never waits: a frame that finds the queue full is dropped and counted, so that no encoder slows the detector. The same
thread purges every second, by the clock it was given, whether frames come or not. Memory is flat: a few frames wait, and a
row a segment is held.
"""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sightline_edge.clips.clock import Instant, read_clock
from sightline_edge.clips.ledger import Reason
from sightline_edge.clips.store import Offered, Store
from sightline_edge.config import ClipsConfig, NodeConfig
from sightline_edge.frame import Pixels

logger = logging.getLogger(__name__)

# 1080p frames of 50 MB.
QUEUE_FRAMES = 8
PURGE_S = 1.0
CLIPS_FOLDER = "clips"


@dataclass(slots=True)
class Thinner:
    """Which of a camera's frames are kept, and when they were.

    Where the wall clock was set back a source holds its times, a microsecond a frame, until the clock has caught up: such
    frames are thinned, and dated onwards, by when they reached the node.
    """

    step_us: int
    due_us: int | None = None
    captured_us: int = 0
    received_us: int = 0
    at_us: int = 0

    def keep(self, captured_us: int, received_us: int) -> int | None:
        """Time of a frame that is kept, UTC; None for one that comes too soon after the last."""
        held = self.due_us is not None and captured_us - self.captured_us in (0, 1)
        at_us = self.at_us + max(1, received_us - self.received_us) if held else captured_us
        went_back = at_us < self.at_us
        self.captured_us, self.received_us, self.at_us = captured_us, received_us, at_us
        if self.due_us is not None and at_us < self.due_us and not went_back:
            return None
        late = self.due_us is None or went_back or at_us - self.due_us >= self.step_us
        self.due_us = at_us + self.step_us if late or self.due_us is None else self.due_us + self.step_us
        return at_us


class ClipRing:
    """The node's ring. ``offer`` is for one thread; figures may be read by any."""

    def __init__(self, config: ClipsConfig, folder: Path, node_id: str, clock: Callable[[], Instant] = read_clock) -> None:
        """Purge what is too old, then start to write; raises StorageError."""
        self._clock = clock
        self._step_us = round(1e6 / config.frames_per_s)
        self._thinners: dict[str, Thinner] = {}
        self._queue: queue.Queue[Offered | None] = queue.Queue(QUEUE_FRAMES)
        self._overflowed = self._failed = 0  # counted by the caller's thread and by the writer's
        self._store = Store(config, folder, node_id, clock())
        # A daemon: a node that ends by an error must end. What it had not completed is then deleted at the next start.
        self._thread = threading.Thread(target=self._run, name="clips", daemon=True)
        self._thread.start()

    def offer(
        self, camera_id: str, pixels: Pixels, captured_us: int, received_us: int, boxes_to_blur: npt.NDArray[np.floating]
    ) -> None:
        """Keep a BGR frame if its camera's rate has room for it; ``boxes_to_blur`` are (N, 4) corners in px.

        The pixels must not be changed afterwards.
        """
        thinner = self._thinners.setdefault(camera_id, Thinner(self._step_us))
        at_us = thinner.keep(captured_us, received_us)
        if at_us is None:
            return
        try:
            self._queue.put_nowait(Offered(camera_id, pixels, at_us, received_us, boxes_to_blur, self._clock()))
        except queue.Full:
            self._overflowed += 1

    @property
    def bytes(self) -> int:
        """Bytes of all cameras' segments, never above the limit."""
        return self._store.bytes

    @property
    def frames_stored(self) -> int:
        """Frames written since the start."""
        return self._store.frames_stored

    @property
    def frames_dropped(self) -> int:
        """Frames that were due and not kept since the start: the queue or the disk was full, or the encoder failed."""
        return self._overflowed + self._failed + self._store.frames_dropped

    def oldest_frame_age_s(self) -> float:
        """Age of the oldest frame on the disk; 0 where there is none."""
        return self._store.oldest_frame_age_s(self._clock())

    def close(self) -> None:
        """Write what waits, complete the open segments, end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        purged_us = self._clock().boot_us
        running = True
        while running:
            # The age limit must hold and the node must live, whatever a frame or the disk does.
            try:
                running = self._write_next()
            except Exception:
                self._failed += 1
                logger.exception("clips: a frame could not be kept")
            try:
                if (now := self._clock()).boot_us - purged_us >= PURGE_S * 1e6:
                    purged_us = now.boot_us
                    self._store.purge(now)
            except Exception:
                logger.exception("clips: could not be purged; tried again in a second")
        self._store.close(self._clock())

    def _write_next(self) -> bool:
        """Write a frame if one comes in time for the next purge; False at the end."""
        try:
            offered = self._queue.get(timeout=PURGE_S)
        except queue.Empty:
            return True
        if offered is not None:
            self._store.append(offered)
        return offered is not None


def clips_folder(config: NodeConfig) -> Path:
    """Where a node keeps its clips."""
    return config.state / CLIPS_FOLDER


def open_clips(config: NodeConfig, clock: Callable[[], Instant] = read_clock) -> ClipRing | None:
    """The node's ring, or None where it keeps no clips: those of an earlier setting are then deleted. Raises StorageError."""
    folder = clips_folder(config)
    if config.clips is not None:
        return ClipRing(config.clips, folder, config.node_id, clock)
    if folder.exists():
        now = clock()
        left = Store(ClipsConfig(), folder, config.node_id, now)
        left.clear(Reason.OFF, now)
        left.close(now)
    return None
