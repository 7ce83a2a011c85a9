"""Answers to the controller's questions: closed windows of both sides, read by Spark and kept once they are settled.

A window is closed when every node that it is asked of has reported past its end, or is silent. What reached the centre and the
tracker comes later than reports, so the newest windows are read again with each that closes; older ones are kept. A judge that
starts again reads the same from the tables.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pyspark.sql import SparkSession

from sightline_contract.rollout import ModelStatus
from sightline_models.judge.figures import Arm, ArmWindow, ShadowWindow
from sightline_models.rollout.plan import RolloutPlan
from sightline_models.rollout.steps import Answer, Question
from sightline_streaming.model_windows import Side, Span, Version, arm_windows, shadow_windows

_US: Final = 1_000_000
_UNSETTLED: Final = 3  # windows that are read again


@dataclass
class _Kept:
    """Rows of one question's windows."""

    question: Question
    until_us: int  # end of the newest closed window
    settled_us: int  # what is before this is not read again
    rows: list[dict[str, Any]] = field(default_factory=list)


class Windows:
    """Windows below a table root. ``queries`` counts looks at the tables."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self._spark = spark
        self._root = root
        self._kept: dict[tuple[str, str], _Kept] = {}
        self.queries = 0

    def answer(self, plan: RolloutPlan, question: Question, now_us: int, statuses: Mapping[str, ModelStatus]) -> Answer:
        """All closed windows that the question asks for; of those before the version was served, those that have something."""
        horizon_us = closed_until_us(question, now_us, statuses, plan.rules.silent_after)
        if question.shadow:
            shadow = self._rows("shadow", plan, question, question.since_us, horizon_us)
            return Answer(shadow=tuple(ShadowWindow(**row) for row in shadow))
        arms = self._rows("arms", plan, question, question.since_us, horizon_us)
        window_us = round(plan.rules.window * _US)
        first_us = question.since_us - (question.since_us - question.before_us) // window_us * window_us
        before = self._rows("before", plan, question, first_us, min(horizon_us, question.since_us))
        return Answer(arms=_arm_windows(arms), before=_arm_windows(row for row in before if row["nodes"]))

    def _rows(self, what: str, plan: RolloutPlan, question: Question, from_us: int, horizon_us: int) -> list[dict[str, Any]]:
        window_us = round(plan.rules.window * _US)
        until_us = from_us + max(0, horizon_us - from_us) // window_us * window_us
        kept = self._kept.get((plan.rollout_id, what))
        if kept is None or kept.question != question:
            # A rollout that is over is asked about no more, and only one runs at a time.
            self._kept = {key: old for key, old in self._kept.items() if key[0] == plan.rollout_id}
            kept = self._kept[plan.rollout_id, what] = _Kept(question, from_us, from_us)
        if until_us > kept.until_us:
            span = Span(kept.settled_us, until_us, plan.rules.window)
            old = [row for row in kept.rows if row["start_us"] < kept.settled_us]
            kept.rows = old + self._read(what, plan, question, span)
            kept.until_us = until_us
            kept.settled_us = max(kept.settled_us, until_us - _UNSETTLED * window_us)
        return kept.rows

    def _read(self, what: str, plan: RolloutPlan, question: Question, span: Span) -> list[dict[str, Any]]:
        self.queries += 1
        candidate = Version(plan.model_name, plan.version)
        baseline = Version(plan.model_name, plan.baseline_version)
        if what == "shadow":
            return shadow_windows(self._spark, self._root, Side(candidate, question.canary), span)
        canary = Side(candidate if what == "arms" else baseline, question.canary)
        return arm_windows(self._spark, self._root, canary, Side(baseline, question.control), span)


def closed_until_us(question: Question, now_us: int, statuses: Mapping[str, ModelStatus], silent_after_s: float) -> int:
    """Up to when every node that the question is about has told everything, or is silent."""
    silent_us = now_us - round(silent_after_s * _US)
    nodes = question.canary | question.control
    reported = (statuses[node].reported_us for node in nodes if node in statuses)
    return min((max(each, silent_us) for each in reported), default=silent_us)


def _arm_windows(rows: Iterable[dict[str, Any]]) -> tuple[ArmWindow, ...]:
    return tuple(ArmWindow(**row | {"arm": Arm(row["arm"])}) for row in rows)
