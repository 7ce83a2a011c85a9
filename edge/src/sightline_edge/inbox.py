"""Where the cameras' frames wait for the detector: fair between cameras, bounded, and never a queue of stale pictures.

A recording's reader waits for room, so that every frame is analysed. A live camera's newest frame replaces the one that
waits: a slow detector then skips frames instead of falling behind.
"""

import threading
from collections import deque
from dataclasses import dataclass

from sightline_edge.frame import Frame
from sightline_edge.preprocessing import Prepared

# One frame waits while the next is being prepared: more would only make events late.
RECORDING_DEPTH = 2


@dataclass(frozen=True)
class Waiting:
    """A frame and its tensor, since it was ready."""

    frame: Frame
    prepared: Prepared
    since_s: float  # on the monotonic clock


class Inbox:
    """Frames of several cameras; cameras are known by their index."""

    def __init__(self, cameras: int) -> None:
        self._queues: list[deque[Waiting]] = [deque() for _ in range(cameras)]
        self._open = [True] * cameras
        self._changed = threading.Condition()
        self._next = 0

    def put(self, camera: int, waiting: Waiting, *, live: bool) -> None:
        """Add a frame: at once for a live camera, else when there is room. Does nothing once the camera is closed."""
        with self._changed:
            queue = self._queues[camera]
            if live:
                queue.clear()
            else:
                self._changed.wait_for(lambda: len(queue) < RECORDING_DEPTH or not self._open[camera])
            if self._open[camera]:
                queue.append(waiting)
                self._changed.notify_all()

    def take(self, most: int, timeout_s: float) -> list[tuple[int, Waiting]]:
        """Up to ``most`` frames, one of each camera in turn; empty when none came within the timeout or all are closed."""
        with self._changed:
            self._changed.wait_for(lambda: any(self._queues) or not any(self._open), timeout_s)
            taken: list[tuple[int, Waiting]] = []
            while len(taken) < most and any(self._queues):
                camera = self._next % len(self._queues)
                self._next += 1
                if self._queues[camera]:
                    taken.append((camera, self._queues[camera].popleft()))
            self._changed.notify_all()
            return taken

    @property
    def frames(self) -> int:
        """Frames that wait, of all cameras."""
        return sum(len(queue) for queue in self._queues)

    def close(self, camera: int) -> None:
        """No frame of this camera follows; those that wait are still given out."""
        with self._changed:
            self._open[camera] = False
            self._changed.notify_all()

    def finished(self, camera: int) -> bool:
        """Whether the camera is closed and all its frames were taken."""
        with self._changed:
            return not self._open[camera] and not self._queues[camera]
