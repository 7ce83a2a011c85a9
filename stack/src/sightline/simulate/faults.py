"""What goes wrong between a camera and the broker: one kind a camera, each as real nodes show it.

Frames go missing before the message is made; messages are delivered late, twice, or never; clocks are wrong. The first and the
last seconds of a session are spared, so that what is expected can be told exactly: nobody can miss what was never announced.
"""

from enum import StrEnum

import numpy as np
import numpy.typing as npt


class Fault(StrEnum):
    """What is wrong with a camera."""

    NONE = "none"
    LOST_FRAMES = "lost_frames"  # single ones, not analysed
    LOST_BURSTS = "lost_bursts"  # messages of 1 to 4 s
    RATE_CHANGE = "rate_change"  # half the rate from the middle on
    DUPLICATES = "duplicates"  # messages come twice
    REORDERED = "reordered"  # messages come behind the next one
    LATE = "late"  # messages come seconds later
    TOO_LATE = "too_late"  # a few messages come ten minutes later
    CLOCK_OFF = "clock_off"  # the node's clock is minutes behind
    FAR_FUTURE = "far_future"  # now and then a message is dated a year ahead
    RESTART = "restart"  # the pipeline crashes and starts anew
    ENDS = "ends"  # the pipeline ends in good order and starts anew


ALL_FAULTS = tuple(fault for fault in Fault if fault is not Fault.NONE)

_DELIVERY = (Fault.DUPLICATES, Fault.REORDERED, Fault.LATE, Fault.TOO_LATE)
_SPARED_S = 5
_CLOCK_BEHIND_US = -240_000_000
_YEAR_US = 366 * 86_400_000_000
DOWN_S = 12  # after a crash or an end
SESSION_S = 420  # of a camera that starts anew again and again
_TOO_LATE_US = 600_000_000


class Faults:
    """The faults of one camera, second by second."""

    def __init__(self, fault: Fault, seconds: int, rng: np.random.Generator) -> None:
        self.fault = fault
        self._seconds = seconds
        self._rng = rng
        self._burst_until = -1

    @property
    def clock_us(self) -> int:
        """What the node's clock is ahead."""
        return _CLOCK_BEHIND_US if self.fault is Fault.CLOCK_OFF else 0

    def starts_session(self, second: int) -> bool:
        """Whether a session begins with this second."""
        if second == 0:
            return True
        return self.fault in (Fault.RESTART, Fault.ENDS) and second % SESSION_S == 0 and second + SESSION_S // 2 < self._seconds

    def is_down(self, second: int) -> bool:
        """Whether the pipeline is not running."""
        if self.fault not in (Fault.RESTART, Fault.ENDS):
            return False
        return any(self.starts_session(later) for later in range(second + 1, second + 1 + DOWN_S) if later > 0)

    def ends_session(self, second: int) -> bool:
        """Whether the session's last message is that of this second and says so."""
        last = second + 1 == self._seconds
        return last or (self.fault is Fault.ENDS and not self.is_down(second) and self.is_down(second + 1))

    def halves_rate(self, second: int) -> bool:
        """Whether the camera gives half its frames by now."""
        return self.fault is Fault.RATE_CHANGE and second >= self._seconds // 2

    def keeps(self, second: int, frames: int) -> npt.NDArray[np.bool_] | None:
        """Which of the second's frames are analysed; None: all."""
        if self.fault is not Fault.LOST_FRAMES or self._is_spared(second):
            return None
        return self._rng.random(frames) >= 0.1

    def is_lost(self, second: int) -> bool:
        """Whether the second's message never arrives."""
        if self.fault is not Fault.LOST_BURSTS or self._is_spared(second):
            return False
        if second > self._burst_until and self._rng.random() < 1 / 90:
            self._burst_until = second + int(self._rng.integers(0, 4))
        return second <= self._burst_until

    def is_far_future(self, second: int) -> bool:
        """Whether the second's message is dated so that it must be refused."""
        return self.fault is Fault.FAR_FUTURE and not self._is_spared(second) and bool(self._rng.random() < 1 / 60)

    @property
    def far_us(self) -> int:
        """How far ahead such a message is dated."""
        return _YEAR_US

    def delays_us(self, second: int) -> tuple[int, ...]:
        """When the second's message arrives after it was sent: once, or twice."""
        if self.fault not in _DELIVERY or self._is_spared(second):
            return (0,)
        luck = float(self._rng.random())
        if self.fault is Fault.DUPLICATES and luck < 0.1:
            return (0, int(self._rng.integers(0, 3_000_000)))
        if self.fault is Fault.REORDERED and luck < 0.2:
            return (1_500_000,)
        if self.fault is Fault.LATE and luck < 0.05:
            return (int(self._rng.integers(2_000_000, 8_000_000)),)
        if self.fault is Fault.TOO_LATE and luck < 0.01:
            return (_TOO_LATE_US,)
        return (0,)

    def _is_spared(self, second: int) -> bool:
        """Also the seconds around a restart; and a message that is too late must arrive before the end."""
        margin = _SPARED_S
        last = self._seconds - margin - (_TOO_LATE_US // 1_000_000 if self.fault is Fault.TOO_LATE else 0)
        return not margin <= second < last
