"""One outage for whatever carries the messages: the node's spool, or a Mosquitto bridge."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sightline.bench.edge_bridge import Bridge, Centre
from sightline.bench.edge_figures import growth_per_s
from sightline.bench.edge_judge import Verdict, judge, numbers, read_detections
from sightline.bench.edge_node import Carrier, Feed, Look
from sightline.broker import Broker
from sightline.sampling import Sampler

BEFORE_S = 60
_FINISH_S = 600.0
_LOOK_S = 0.5


@dataclass(frozen=True)
class OutagePlan:
    """Cameras that send a message a second; ``speed`` such seconds pass in one, and for ``away_s`` the centre is away."""

    cameras: int = 100
    away_s: int = 3600
    speed: float = 60.0
    kills: int = 6
    seed: int = 1

    @property
    def messages(self) -> int:
        """All of the run."""
        return (BEFORE_S + self.away_s) * self.cameras

    @property
    def moments(self) -> list[int]:
        """Numbers of the messages behind which the carrying process is killed, all of them while the centre is away."""
        first, away = BEFORE_S * self.cameras, self.away_s * self.cameras
        chance = random.Random(self.seed)  # noqa: S311 - no secret
        return sorted(chance.sample(range(first + away // 20, first + away * 4 // 5), self.kills))

    def feed(self, home: Path, bootstrap: str) -> Feed:
        """What the run sends."""
        start_us = (int(time.time()) - BEFORE_S - self.away_s - 60) * 1_000_000
        return Feed(
            state=home / "state", told=home / "told", bootstrap=bootstrap, cameras=self.cameras, start_us=start_us,
            last=self.messages, speed=self.speed, options={"reconnect.backoff.max.ms": 5000},
        )  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What one carrier made of it. Times are seconds; ``at_s`` counts from the start of the run."""

    name: str
    verdict: Verdict
    peak_memory_mb: float
    memory_growth_mb_an_hour: float
    drain_s: float  # from the centre's return to the last message
    most_disk_mb: float
    written_mb: float
    away_at_s: float
    back_at_s: float
    at_s: list[float]  # when messages arrived, and
    arrived: list[int]  # how many different ones had by then

    def as_json(self) -> dict[str, Any]:
        """For the document of all figures."""
        return vars(self) | {"verdict": vars(self.verdict) | {"lost_share": self.verdict.lost_share}}


class _Carries(Protocol):
    looks: list[Look]
    written_bytes: int

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def wait_for(self, number: int) -> None: ...
    def look(self) -> None: ...
    @property
    def handed(self) -> int: ...
    @property
    def promised(self) -> npt.NDArray[np.int64]: ...


@dataclass(frozen=True)
class _Times:
    began_s: float
    away_s: float
    back_s: float


def ours(plan: OutagePlan, home: Path, broker: Broker) -> Outcome:
    """The node's own delivery path and a Kafka that is really stopped."""
    carrier = Carrier(plan.feed(home, broker.bootstrap), home / "carrier")
    try:
        with Sampler(carrier.look, _LOOK_S):
            times = _have_outage(plan, carrier, broker.stop, broker.start)
            carrier.finish(_FINISH_S)
    finally:
        carrier.stop()
    found = read_detections(broker.bootstrap, plan.cameras)
    return _outcome("node with spool", plan, carrier, times, numbers(found), [each.at_s for each in found])


def bridge(name: str, plan: OutagePlan, home: Path, options: Sequence[str]) -> Outcome:
    """A plain Mosquitto bridge and a central Mosquitto that is really stopped."""
    centre = Centre(home / "centre", plan.cameras)
    carrier = Bridge(plan.feed(home, ""), home / "local", centre.broker.config.port, options)
    try:
        with Sampler(carrier.look, _LOOK_S):
            times = _have_outage(plan, carrier, centre.broker.stop, centre.broker.start)
            carrier.finish()
            centre.wait_for_quiet(_FINISH_S)
    finally:
        carrier.stop()
        centre.close()
    return _outcome(name, plan, carrier, times, np.array(centre.numbers, np.int64), centre.at_s)


def _have_outage(plan: OutagePlan, carrier: _Carries, leave: Callable[[], Any], come_back: Callable[[], Any]) -> _Times:
    began_s = time.time()
    carrier.start()
    carrier.wait_for(BEFORE_S * plan.cameras)
    leave()
    away_s = time.time()
    for moment in plan.moments:
        carrier.wait_for(moment)
        carrier.kill()
        carrier.start()
    carrier.wait_for(plan.messages)
    carrier.look()
    back_s = time.time()
    come_back()
    return _Times(began_s, away_s, back_s)


def _outcome(
    name: str, plan: OutagePlan, carrier: _Carries, times: _Times, arrived: npt.NDArray[np.int64], at_s: list[float]
) -> Outcome:
    verdict = judge(arrived, carrier.promised, carrier.handed, plan.cameras)
    _, first = np.unique(arrived, return_index=True)
    came_s = np.sort(np.array(at_s)[first]) - times.began_s
    # A few hundred points draw as well as all.
    steps = np.unique(np.linspace(0, max(0, len(came_s) - 1), 400).astype(int)) if len(came_s) else np.array([], int)
    return Outcome(
        name=name,
        verdict=verdict,
        peak_memory_mb=max(look.memory_bytes for look in carrier.looks) / 1e6,
        memory_growth_mb_an_hour=growth_per_s(carrier.looks, lambda look: look.memory_bytes) / 1e6 * 3600 / plan.speed,
        drain_s=max(0.0, float(max(at_s)) - times.back_s) if len(at_s) else 0.0,
        most_disk_mb=max(look.disk_bytes for look in carrier.looks) / 1e6,
        written_mb=carrier.written_bytes / 1e6,
        away_at_s=times.away_s - times.began_s,
        back_at_s=times.back_s - times.began_s,
        at_s=[round(float(came_s[step]), 2) for step in steps],
        arrived=[int(step) + 1 for step in steps],
    )
