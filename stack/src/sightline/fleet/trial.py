"""One rollout over a simulated fleet, from its start to its end, and what it did to the fleet."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sightline.fleet.fleet import Fleet
from sightline.fleet.picture import Mark
from sightline.fleet.site import MODEL, Site
from sightline.rollout.history import OVER
from sightline.rollout.start import Request
from sightline_contract.errors import StageError
from sightline_models.judge.rules import Rules
from sightline_models.registry import Version
from sightline_models.rollout.state import fold
from sightline_models.rollout.steps import Step, StepName

_HOUR_US = 3_600_000_000
_HOUR_S = 3600.0
_LONGEST_MARK = 40
# Nodes report every quarter of an hour and see a few frames in it: windows are as long as it takes to see enough of them.
RULES = Rules(
    window=_HOUR_S,
    observe=24 * _HOUR_S,
    observe_last=2 * _HOUR_S,
    swap=2 * _HOUR_S,
    silent_after=46 * 60.0,
    min_frames=200,
    min_detections=200,
    min_windows=5,
    min_shadow_windows=2,
)
_SHOWN = {
    StepName.SHADOWING: "shadow", StepName.SERVING: "serves", StepName.COMPLETED: "completed",
    StepName.ROLLED_BACK: "rolled back", StepName.PAUSED: "paused", StepName.ABORTED: "aborted",
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a rollout ended. Hours are the simulation's."""

    version: str
    steps: tuple[Step, ...]
    nodes: int
    served: int  # nodes that ever served it
    unserved_frames: int  # of the whole simulation so far: frames for which a node had no model
    detect_h: float | None  # from the first node that was told of it to the decision to go back
    restore_h: float | None  # from there until every node that was there had its model back
    wall_s: float

    @property
    def end(self) -> StepName:
        """The step that ended it."""
        return self.steps[-1].name

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was completed or rolled back."""
        decisive = (StepName.ROLLED_BACK, StepName.PROMOTED, StepName.PAUSED)
        return next((step.reasons for step in reversed(self.steps) if step.name in decisive), ())


def request_for(site: Site, version: Version, rules: Rules = RULES, shadow_h: float = 2.0) -> Request:
    """A rollout of ``version`` over the champion."""
    return Request(
        model_name=MODEL, version=str(version.number), baseline="champion", actor="fleet", store=site.store,
        sources=(site.source,), shadow_s=shadow_h * _HOUR_S, rules=rules,
    )  # fmt: skip


def let_pass(site: Site, fleet: Fleet, until: Callable[[], bool], limit_h: float = 24 * 14) -> None:
    """Tick until ``until()``; raises StageError after ``limit_h`` simulated hours."""
    ends_us = fleet.now_us + limit_h * _HOUR_US
    while not until():
        if fleet.now_us > ends_us:
            raise StageError(f"the fleet: nothing came of it within {limit_h:.0f} simulated hours")
        fleet.tick()
        site.keep_pace(fleet)


def roll_out(site: Site, fleet: Fleet, request: Request, each: Callable[[Sequence[Step]], None] = lambda _: None) -> Outcome:
    """Begin a rollout and let time pass until it is completed, or undone everywhere; ``each`` is shown its steps so far."""
    began_s = time.monotonic()
    plan = site.begin(request, fleet.now_us)
    steps: list[Step] = []

    def over() -> bool:
        steps[:] = site.history.steps(plan.rollout_id)
        each(steps)
        return fold(steps).at in OVER

    let_pass(site, fleet, over)
    detect_h, restore_h = _durations(steps)
    return Outcome(
        version=plan.version,
        steps=tuple(steps),
        nodes=len(fleet.nodes),
        served=fleet.touched(plan.version),
        unserved_frames=fleet.unserved,
        detect_h=detect_h,
        restore_h=restore_h,
        wall_s=time.monotonic() - began_s,
    )


def marks_of(outcome: Outcome) -> list[Mark]:
    """The rollout's steps for the picture."""
    marks = []
    for step in outcome.steps:
        if word := _SHOWN.get(step.name):
            why = f": {step.reasons[0].partition(':')[0]}" if step.name is StepName.ROLLED_BACK and step.reasons else ""
            text = f"{outcome.version}: {word} {len(step.nodes)} nodes" if step.nodes else f"{outcome.version}: {word}{why}"
            marks.append(Mark(step.at_us, text[:_LONGEST_MARK], bad=step.name in (StepName.ROLLED_BACK, StepName.ABORTED)))
    return marks


def _durations(steps: Sequence[Step]) -> tuple[float | None, float | None]:
    at = {step.name: step.at_us for step in reversed(steps)}
    back = at.get(StepName.ROLLED_BACK)
    if back is None:
        return None, None
    first = min(at[name] for name in (StepName.SHADOWING, StepName.SERVING) if name in at)
    restored = at.get(StepName.RESTORED)
    return (back - first) / _HOUR_US, (restored - back) / _HOUR_US if restored is not None else None
