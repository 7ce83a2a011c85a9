"""A simulated week through the node's way out: what grows, if anything."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from sightline.bench.edge_figures import growth_per_s
from sightline.bench.edge_judge import each_detection, judge, numbers
from sightline.bench.edge_node import Carrier, Feed, Look
from sightline.broker import Broker
from sightline.sampling import Sampler

DAY_S = 86_400
# An outage a day, in its first third, so that the rest of the day catches up.
_OUTAGE_AT = 0.2
_OUTAGE_S = 8.0
_FINISH_S = 600.0

_MEASURES: dict[str, Callable[[Look], float]] = {
    "memory_mb": lambda look: look.memory_bytes / 1e6,
    "open_files": lambda look: look.files,
    "threads": lambda look: look.threads,
    "spool_mb": lambda look: look.disk_bytes / 1e6,
}


def soak(days: float, cameras: int, speed: float, home: Path, broker: Broker, console: Console) -> dict[str, Any]:
    """Feed ``days`` at ``speed`` seconds of the city a second, the broker away once a day; raises SightlineError."""
    seconds = round(days * DAY_S)
    # In the past, so that nothing is ahead of its arrival.
    start_us = (int(time.time()) - seconds - 60) * 1_000_000
    feed = Feed(
        state=home / "state", told=home / "told", bootstrap=broker.bootstrap, cameras=cameras, start_us=start_us,
        last=seconds * cameras, speed=speed, options={"reconnect.backoff.max.ms": 500},
    )  # fmt: skip
    carrier, began_s = Carrier(feed, home / "carrier"), time.monotonic()
    outages = [round((day + _OUTAGE_AT) * DAY_S) * cameras for day in range(int(np.ceil(days)))]
    try:
        with Sampler(carrier.look, 1.0), console.status("soaking"):
            carrier.start()
            for moment in outages:
                if moment < feed.last:
                    carrier.wait_for(moment, _FINISH_S)
                    broker.stop()
                    time.sleep(_OUTAGE_S)
                    broker.start()
            carrier.wait_for(feed.last, _FINISH_S)
            fed_s = time.monotonic() - began_s
            carrier.finish(_FINISH_S)
    finally:
        carrier.stop()
    took_s = time.monotonic() - began_s
    verdict = judge(numbers(each_detection(broker.bootstrap, cameras)), carrier.promised, carrier.handed, cameras)
    day_s = DAY_S / speed if speed else fed_s / days
    return {
        "days": days,
        "cameras": cameras,
        "messages": feed.last,
        "outages": len(outages),
        "took_s": took_s,
        "messages_per_s": feed.last / took_s,
        "verdict": vars(verdict),
        "measures": {name: _figures(carrier.looks, of, day_s) for name, of in _MEASURES.items()},
    }


def _figures(looks: list[Look], of: Callable[[Look], float], day_s: float) -> dict[str, float]:
    half = looks[len(looks) // 2 :]
    values = [of(look) for look in looks]
    return {
        "least": min(values),
        "median": float(np.median(values)),
        "most": max(values),
        "last": values[-1],
        "growth_a_day": growth_per_s(looks, of) * day_s,
        "growth_a_day_of_the_second_half": growth_per_s(half, of) * day_s,
    }
