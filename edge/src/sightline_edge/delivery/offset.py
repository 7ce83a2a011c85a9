"""How far the node's clock is from the central broker's.

The broker stamps a message when it appends it, some time between its sending and its answer: Cristian's algorithm
("Probabilistic clock synchronization", 1989). The shortest way of the last minutes tells best; half of it bounds the error.
"""

from collections import deque
from dataclasses import dataclass

# Samples are kept so long: a clock drifts by milliseconds in that time.
_WINDOW_S = 120.0
_SAMPLES = 512


@dataclass(frozen=True)
class Estimate:
    """Node's clock minus the broker's, seconds, right within ``error_s``."""

    offset_s: float
    error_s: float


class ClockOffset:
    """Keeps the newest answers; one thread observes, any may ask."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float, float]] = deque(maxlen=_SAMPLES)

    def observe(self, answered_at_s: float, latency_s: float, appended_at_s: float, monotonic_s: float) -> None:
        """Take an answer: node's time when it came, how long after sending, and the broker's stamp."""
        while self._samples and monotonic_s - self._samples[0][0] > _WINDOW_S:
            self._samples.popleft()
        self._samples.append((monotonic_s, latency_s, answered_at_s - latency_s / 2 - appended_at_s))

    def estimate(self) -> Estimate | None:
        """None until an answer came."""
        samples = list(self._samples)
        if not samples:
            return None
        _, latency_s, offset_s = min(samples, key=lambda sample: sample[1])
        return Estimate(offset_s, latency_s / 2)
