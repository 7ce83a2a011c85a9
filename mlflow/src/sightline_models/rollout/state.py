"""What a rollout's recorded rows add up to. Folding the same rows gives the same state; nothing else is remembered."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from sightline_models.rollout.steps import Step, StepName


class Told(IntEnum):
    """The last thing that a node was told; the numbers grow as a rollout goes on, and revisions with them."""

    SHADOW = 1
    BASELINE = 2  # the other arm of an A/B comparison
    SERVE = 3
    BACK = 4


_INTERRUPTS = frozenset({StepName.PAUSED, StepName.RESUMED, StepName.JOINED})
_BACK = frozenset({StepName.ROLLED_BACK, StepName.ABORTED, StepName.COMPARED})


@dataclass(frozen=True)
class State:
    """``told``: what each node was told last, and when (UTC us). ``ring_nodes``: those that the current ring added."""

    at: StepName | None = None
    ring: int = 0
    seq: int = 0  # of the next row
    since_us: int = 0  # of the last step that was no interruption
    first_told_us: int | None = None
    serving_us: int = 0  # of the current ring
    observing_us: int | None = None
    back_us: int = 0
    paused_by: str = ""  # "", "person" or "judge"
    paused_edit: int = 0
    resumed_us: int | None = None
    ring_nodes: frozenset[str] = frozenset()
    told: Mapping[str, tuple[Told, int]] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Completed, or on the way back: no ring is open."""
        return self.at in _BACK or self.at in (StepName.COMPLETED, StepName.RESTORED)

    @property
    def going_back(self) -> bool:
        """Nodes were sent their return tickets, and not all are known to be back."""
        return self.at in _BACK


def fold(steps: Iterable[Step]) -> State:
    """The state after the rows, in the order of ``seq``; a row that comes twice changes nothing."""
    state = State()
    for step in sorted(steps, key=lambda row: row.seq):
        state = after(state, step)
    return state


def after(state: State, step: Step) -> State:
    """The state after one more row."""
    state = replace(state, seq=step.seq + 1, told=_told_after(state, step))
    if step.name in _INTERRUPTS:
        return _interrupted(state, step)
    changed = replace(state, at=step.name, ring=step.ring, since_us=step.at_us)
    if step.name in (StepName.SHADOWING, StepName.SERVING):
        first = state.first_told_us if state.first_told_us is not None else step.at_us
        changed = replace(changed, ring_nodes=frozenset(step.nodes), first_told_us=first, resumed_us=None)
    if step.name is StepName.SERVING:
        changed = replace(changed, serving_us=step.at_us, observing_us=None)
    if step.name is StepName.OBSERVING:
        changed = replace(changed, observing_us=step.at_us)
    if step.name in _BACK:
        changed = replace(changed, back_us=step.at_us, paused_by="")
    return changed


def _interrupted(state: State, step: Step) -> State:
    if step.name is StepName.PAUSED:
        by = "person" if step.counts.get("by_person") else "judge"
        return replace(state, paused_by=by, paused_edit=step.counts.get("edit", 0))
    if step.name is StepName.RESUMED:
        return replace(state, paused_by="", resumed_us=step.at_us)
    return state


def _told_after(state: State, step: Step) -> Mapping[str, tuple[Told, int]]:
    if step.name in _BACK:
        return dict.fromkeys(state.told, (Told.BACK, step.at_us))
    if step.name is StepName.SHADOWING:
        return {**state.told, **dict.fromkeys(step.nodes, (Told.SHADOW, step.at_us))}
    if step.name in (StepName.SERVING, StepName.JOINED):
        told = Told.BASELINE if step.counts.get("baseline") else Told.BACK if step.counts.get("back") else Told.SERVE
        return {**state.told, **dict.fromkeys(step.nodes, (told, step.at_us))}
    return state.told
