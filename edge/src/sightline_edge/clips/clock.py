"""The clocks that a frame's age is told by: the wall clock, which steps, and the time since boot, which does not."""

import time
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Instant:
    """One moment on both clocks. ``boot_us`` of two instants compare where their ``boot_id`` is the same."""

    wall_us: int  # UTC
    boot_us: int  # since boot, counting suspended time; never steps
    boot_id: str


def read_clock() -> Instant:
    """Now."""
    # Where the system has no clock that counts suspended time, the wall clock alone tells of a suspension.
    steady = time.clock_gettime_ns(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns()
    return Instant(time.time_ns() // 1000, steady // 1000, _boot_id())


@cache
def _boot_id() -> str:
    # Without the kernel's word every process counts as a boot of its own, so that no stale count is believed.
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else uuid.uuid4().hex
