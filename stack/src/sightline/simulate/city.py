"""All cameras together: who looks at what, and their messages in the order in which they arrive.

Memory is bounded: cameras run side by side in stretches of ``STRETCH_S`` seconds, and what arrives later waits in a heap.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sightline.simulate.camera import RATES, Plan, SimulatedCamera, Tally
from sightline.simulate.encoding import Message
from sightline.simulate.faults import ALL_FAULTS, Fault
from sightline.simulate.kernel import Records
from sightline.simulate.layouts import Layout, SceneKind, Traffic, road_across, road_along, shelf, walkway_across, walkway_along
from sightline.simulate.truth import ROW
from sightline_contract.camera import CameraConfig
from sightline_contract.errors import ConfigError

STRETCH_S = 10
# Every so many cameras one has a fault.
FAULTY_EVERY = 5

# Frame rates in turn: mostly 10 and 15, some 5, 25, 30.
_RATES = (10, 15, 10, 15, 5, 10, 15, 25, 10, 15, 30, 10, 15)
_LAYOUTS: tuple[Layout, ...] = (
    road_along(queue=False), walkway_across(), road_across(queue=True), shelf(), road_across(queue=False), walkway_along(),
    road_along(queue=True),
)  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """What happened: truth.ROW records of all cameras, and what each camera sent in each session."""

    plans: tuple[Plan, ...]
    configs: tuple[CameraConfig, ...]
    start_us: int
    seconds: int
    rows: Records
    tallies: tuple[tuple[Tally, ...], ...]


def city_plans(
    cameras: int, traffic: str = "mixed", scene: str = "all", faults: str = "some", frame_rate: int | None = None
) -> tuple[Plan, ...]:
    """What each camera looks at; raises ConfigError where a word is not known.

    Scenes, rates, traffic and faults take turns in steps that have no common divisor, so that they mix.
    """
    layouts = [layout for layout in _LAYOUTS if scene in ("all", layout.kind, layout.name)]
    if not layouts:
        known = ", ".join(["all", *SceneKind, *sorted({layout.name for layout in _LAYOUTS})])
        raise ConfigError(f"scene {scene!r}: is not one of {known}")
    if traffic not in ("mixed", *Traffic):
        raise ConfigError(f"traffic {traffic!r}: is not one of light, dense, mixed")
    if faults not in ("none", "some", "all", *Fault):
        raise ConfigError(f"faults {faults!r}: give none, some, all, or one of {', '.join(ALL_FAULTS)}")
    if frame_rate is not None and frame_rate not in RATES:
        raise ConfigError(f"frame rate {frame_rate}: is not one of {', '.join(map(str, RATES))}")
    plans = []
    for k in range(cameras):
        busy = Traffic(traffic) if traffic != "mixed" else (Traffic.DENSE if (k // len(layouts)) % 2 else Traffic.LIGHT)
        rate = frame_rate or _RATES[(k // 2) % len(_RATES)]
        plans.append(Plan(f"sim-{k:04d}", layouts[k % len(layouts)], busy, rate, _fault(k, faults)))
    return tuple(plans)


def _fault(k: int, faults: str) -> Fault:
    if faults == "none":
        return Fault.NONE
    if faults == "some":
        return ALL_FAULTS[(k // FAULTY_EVERY) % len(ALL_FAULTS)] if k % FAULTY_EVERY == FAULTY_EVERY - 1 else Fault.NONE
    return ALL_FAULTS[k % len(ALL_FAULTS)] if faults == "all" else Fault(faults)


class City:
    """A simulation of several cameras; run it once."""

    def __init__(self, plans: Sequence[Plan], seconds: int, seed: int, start_us: int) -> None:
        self._plans = tuple(plans)
        self._seconds = seconds
        self._start_us = start_us
        self._cameras = [SimulatedCamera(k, plan, seconds, start_us, seed) for k, plan in enumerate(plans)]

    @property
    def configs(self) -> tuple[CameraConfig, ...]:
        """The camera files."""
        return tuple(camera.config for camera in self._cameras)

    @property
    def seconds(self) -> int:
        """How long the simulation is."""
        return self._seconds

    def messages(self) -> Iterator[Message]:
        """All messages in order of arrival."""
        waiting: list[tuple[int, int, int, int, Message]] = []
        made = 0
        for first in range(0, self._seconds, STRETCH_S):
            stretch = min(STRETCH_S, self._seconds - first)
            for camera in self._cameras:
                for message in camera.advance(first, stretch):
                    heapq.heappush(waiting, (message.arrives_us, message.camera, message.seq, made, message))
                    made += 1
            horizon_us = self._start_us + (first + stretch) * 1_000_000
            while waiting and waiting[0][0] <= horizon_us:
                yield heapq.heappop(waiting)[-1]
        while waiting:
            yield heapq.heappop(waiting)[-1]
        for camera in self._cameras:
            camera.end()

    def truth(self) -> Truth:
        """What happened, once all messages were taken."""
        rows = [part for camera in self._cameras for part in camera.rows]
        tallies = tuple(tuple(camera.tallies) for camera in self._cameras)
        joined = np.concatenate(rows) if rows else np.zeros(0, ROW)
        return Truth(self._plans, self.configs, self._start_us, self._seconds, joined, tallies)
