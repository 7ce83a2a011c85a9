"""The judge: looks at the fleet every few seconds, and does what the controllers of its rollouts decide.

A look: what is left in the journal is done first; then plans are read, and the newest one's controller is asked which windows
it needs, is given them, and says what to do. Everything that a controller knows is in its plan and its rows in
gold.model_rollouts, so a judge that was killed at any point goes on as if it had not been (journal.py).

One judge runs for an installation: it holds the checkpoint of its streaming queries, which a second one is refused.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark's users know

from sightline.rollout.answers import Windows
from sightline.rollout.fleet import Fleet, event_time_us
from sightline.rollout.journal import Journal
from sightline.rollout.plan_topic import PlanFollower
from sightline.rollout.records import step_of
from sightline_contract.errors import SightlineError
from sightline_contract.rollout import ModelStatus
from sightline_lakehouse.ddl import path_identifier, table_location
from sightline_lakehouse.tables import MODEL_ROLLOUTS
from sightline_models.rollout.controller import Controller
from sightline_models.rollout.plan import RolloutPlan
from sightline_models.rollout.steps import Record, Step
from sightline_streaming.failures import explain_failure

_KEPT_LOOKS: Final = 100


@dataclass
class Told:
    """What the judge tells of itself (judge.json)."""

    looks: int = 0
    look_ms: list[float] = field(default_factory=list)  # of the newest looks that read windows
    event_us: int | None = None
    nodes: int = 0
    heard_s_ago: float = 0.0
    waiting: int = 0
    error: str = ""
    registry_error: str = ""
    rollout_id: str = ""
    verdict: dict[str, Any] | None = None  # on it, of the last look that judged


class Judge:
    """The judge of one installation; ``look`` is called again and again by its process."""

    def __init__(
        self,
        spark: SparkSession,
        root: str,
        fleet: Fleet,
        plans: PlanFollower,
        journal: Journal,
        attested: Callable[[ModelStatus], str],
    ) -> None:
        self._spark = spark
        self._root = root
        self._fleet = fleet
        self._plans = plans
        self._journal = journal
        self._attested = attested
        self._windows = Windows(spark, root)
        self._controller: Controller | None = None
        self._last_us: int | None = None
        self.told = Told()

    def look(self) -> None:
        """One look. What cannot be written now is told and done by a later one."""
        started_s, queries = time.monotonic(), self._windows.queries
        try:
            self._look()
            self.told.error = ""
        except (SightlineError, PySparkException, Py4JError) as failure:
            error = failure if isinstance(failure, SightlineError) else explain_failure("judge", failure)
            if str(error) != self.told.error:
                print(f"judge: {error}", file=sys.stderr, flush=True)
            self.told.error = str(error)
        self.told.looks += 1
        self.told.heard_s_ago = round(self._fleet.heard_s_ago, 1)
        self.told.waiting, self.told.registry_error = self._journal.waiting, self._journal.registry_error
        if self._windows.queries > queries:
            self.told.look_ms = [*self.told.look_ms[-_KEPT_LOOKS:], round(1000 * (time.monotonic() - started_s), 1)]

    def _look(self) -> None:
        changed = self._plans.poll()
        self._journal.carry_out(self._plans.plans)
        statuses = self._fleet.statuses
        now_us = event_time_us(statuses)
        self.told.event_us, self.told.nodes = now_us, len(statuses)
        # An older plan's controller would publish over the newer one's messages.
        plan = self._plans.newest
        if plan is None or (now_us == self._last_us and plan.rollout_id not in changed):
            return
        self._step(plan, self._controller_of(plan), plan.started_us if now_us is None else now_us, statuses)
        self._last_us = now_us

    def _controller_of(self, plan: RolloutPlan) -> Controller:
        """The plan's controller, which knows the plan's newest edit."""
        if self._controller is None or self._controller.plan.rollout_id != plan.rollout_id:
            keys = self._plans.keys_of(plan.rollout_id)
            self._controller = Controller(plan, self._steps(plan.rollout_id), self._attested, keys)
        elif self._controller.plan.edit != plan.edit:
            self._controller.update(plan)
        return self._controller

    def _step(self, plan: RolloutPlan, controller: Controller, now_us: int, statuses: dict[str, ModelStatus]) -> None:
        question = controller.question(now_us, statuses)
        answer = None if question is None else self._windows.answer(plan, question, now_us, statuses)
        actions = controller.step(now_us, statuses, answer)
        self._journal.take(plan.rollout_id, actions)
        verdict = controller.verdict
        self.told.rollout_id, self.told.verdict = plan.rollout_id, None if verdict is None else asdict(verdict)
        for action in actions:
            if isinstance(action, Record):
                self._tell(action.step)
        self._journal.carry_out(self._plans.plans)

    def _tell(self, step: Step) -> None:
        said = "; ".join(step.reasons)
        print(f"{step.rollout_id}: {step.name.value}, ring {step.ring + 1}{': ' if said else ''}{said}", flush=True)

    def _steps(self, rollout_id: str) -> list[Step]:
        """The recorded steps of a rollout; steps that wait in the journal were written before the first question."""
        rows = self._spark.table(path_identifier(table_location(self._root, MODEL_ROLLOUTS)))
        found = rows.where(F.col("rollout_id") == rollout_id).orderBy("seq").toArrow().to_pylist()
        return [step_of(row) for row in found]

    def as_json(self) -> dict[str, Any]:
        """What the judge tells of itself."""
        return asdict(self.told)
