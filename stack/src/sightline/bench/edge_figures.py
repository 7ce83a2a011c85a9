"""Figures of a process that was looked at over several lives: what grows, and how fast."""

from collections.abc import Callable, Sequence

import numpy as np

from sightline.bench.edge_node import Look

# What Python, its libraries and SQLite's cache take in a life's first seconds is no growth.
WARM_UP_S = 3.0


def growth_per_s(looks: Sequence[Look], of: Callable[[Look], float]) -> float:
    """Least squares slope a second, each life with a level of its own; NaN where no life was long enough."""
    at_s: list[float] = []
    values: list[float] = []
    for life in sorted({look.life for look in looks}):
        its = [look for look in looks if look.life == life]
        warm = [look for look in its if look.at_s - its[0].at_s >= WARM_UP_S]
        if len(warm) > 2:
            times, found = [look.at_s for look in warm], [of(look) for look in warm]
            at_s += (np.array(times) - np.mean(times)).tolist()
            values += (np.array(found) - np.mean(found)).tolist()
    return float(np.polyfit(at_s, values, 1)[0]) if len(at_s) > 2 else float("nan")
