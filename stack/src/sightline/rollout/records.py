"""The controller's words as rows and as text: steps in gold.model_rollouts, actions in the judge's journal.

Both come back as they were, infinite numbers included: a controller that is made from rows must go on exactly where they end.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import TypeAdapter

from sightline_models.judge.verdict import MetricVerdict
from sightline_models.rollout.plan import RolloutPlan
from sightline_models.rollout.steps import Action, Alias, Audit, Desire, Record, Step, StepName, Tag

Row = dict[str, Any]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_METRICS: Final = TypeAdapter(tuple[MetricVerdict, ...])
_KINDS: Final[Mapping[str, TypeAdapter[Any]]] = {
    kind.__name__: TypeAdapter(kind) for kind in (Record, Desire, Alias, Tag, Audit)
}


def row_of(plan: RolloutPlan, step: Step) -> Row:
    """The row of gold.model_rollouts for a step."""
    at = _EPOCH + timedelta(microseconds=step.at_us)
    return {
        "rollout_id": step.rollout_id,
        "seq": step.seq,
        "kind": plan.kind.value,
        "model_name": plan.model_name,
        "version": plan.version,
        "baseline": plan.baseline_version,
        "decided_at": at,
        "step": step.name.value,
        "ring": step.ring,
        "share": plan.rings[min(step.ring, len(plan.rings) - 1)],
        "reasons": list(step.reasons),
        "nodes": list(step.nodes),
        "counts": json.dumps(dict(step.counts), sort_keys=True),
        "metrics": json.dumps([asdict(metric) for metric in step.metrics]),
        "actor": plan.actor,
        "event_date": at.date(),
    }


def step_of(row: Mapping[str, Any]) -> Step:
    """The step behind a row."""
    return Step(
        rollout_id=row["rollout_id"],
        seq=row["seq"],
        at_us=(row["decided_at"] - _EPOCH) // timedelta(microseconds=1),
        name=StepName(row["step"]),
        ring=row["ring"],
        reasons=tuple(row["reasons"]),
        nodes=tuple(row["nodes"]),
        metrics=_METRICS.validate_python(json.loads(row["metrics"])),
        counts=json.loads(row["counts"]),
    )


def actions_to_text(actions: Iterable[Action]) -> str:
    """Actions as JSON."""
    return json.dumps([[type(each).__name__, _KINDS[type(each).__name__].dump_python(each, mode="json")] for each in actions])


def actions_from_text(text: str | bytes) -> tuple[Action, ...]:
    """Actions from JSON; raises ValueError."""
    return tuple(_KINDS[kind].validate_python(fields) for kind, fields in json.loads(text))
