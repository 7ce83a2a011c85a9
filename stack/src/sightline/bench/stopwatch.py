"""Fair timings: CPU seconds on one core, the contestants taking turns, several times.

CPU time leaves out what other processes take of the core; taking turns spreads what they do to caches and clock rates over
all contestants alike.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

# A contestant runs at least this long at a time, as often as it takes.
_LEAST_S = 0.1


@dataclass(frozen=True)
class Rate:
    """Frames per CPU second in each repetition."""

    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.runs)

    def over(self, other: "Rate") -> "Rate":
        """How many times the other's rate, repetition by repetition."""
        return Rate(tuple(mine / theirs for mine, theirs in zip(self.runs, other.runs, strict=True)))


def race(contestants: Mapping[str, tuple[int, Callable[[], object]]], repeats: int) -> dict[str, Rate]:
    """Time each contestant, given as the frames of one call and the call; the first call of each is not counted."""
    with _one_core():
        loops = {}
        for name, (_, call) in contestants.items():
            call()
            loops[name] = 1 + int(_LEAST_S / max(_cpu_s(call, 1), 1e-6))
        runs: dict[str, list[float]] = {name: [] for name in contestants}
        names = list(contestants)
        for repetition in range(repeats):
            turn = repetition % len(names)
            for name in names[turn:] + names[:turn]:
                frames, call = contestants[name]
                runs[name].append(frames * loops[name] / _cpu_s(call, loops[name]))
    return {name: Rate(tuple(rates)) for name, rates in runs.items()}


def _cpu_s(call: Callable[[], object], loops: int) -> float:
    start = time.process_time()
    for _ in range(loops):
        call()
    return time.process_time() - start


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process on one core, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
