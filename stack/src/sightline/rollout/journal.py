"""Carrying out what the controller decided: each action at least once, whatever ends in between.

What is to be done is written down before anything is done, and struck out when it is done; a judge that starts again goes on
with what is left. Done twice, an action does no harm: a step's row is written once (Delta knows its number), a message to a
node holds by its revision, an audit record by its id, an alias and a tag are what they are.

Order: a step's row comes before all that follows from it. Nothing is decided while a row or a message waits. The registry alone
may be away for as long as it likes: what is meant for it waits, and the rollout goes on.
"""

import json
import time
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import pyarrow as pa
from pyspark.sql import SparkSession

from sightline.rollout.records import actions_from_text, actions_to_text, row_of
from sightline_contract.errors import SightlineError, StateError
from sightline_contract.events import AuditRecord
from sightline_contract.topics import AUDIT, MODEL_ROLLOUT, ROLLOUT_PLANS
from sightline_lakehouse.arrow import arrow_schema
from sightline_lakehouse.ddl import is_local, table_location
from sightline_lakehouse.tables import MODEL_ROLLOUTS
from sightline_models.rollout.plan import RolloutPlan
from sightline_models.rollout.steps import Action, Alias, Audit, Desire, Record, Tag
from sightline_streaming.config import JobConfig
from sightline_streaming.delta_sink import append_to_folder, append_with_spark
from sightline_streaming.publisher import publish
from sightline_streaming.small_files import SmallFiles

JUDGE: Final = "judge"
_FILE: Final = "journal.json"
_RETRY_S: Final = 10.0


class Registry(Protocol):
    """Where aliases and tags are; raises SightlineError."""

    def carry_out(self, action: Alias | Tag) -> None:
        """Set it; the same again does no harm."""


class Journal:
    """Actions that are still to be done, in their order, kept in the folder of ``files``."""

    def __init__(self, spark: SparkSession, config: JobConfig, registry: Registry | None) -> None:
        self._spark = spark
        self._config = config
        self._registry = registry
        self._files = SmallFiles(spark, f"{config.checkpoint_root.rstrip('/')}/{JUDGE}")
        self._waiting: list[tuple[str, Action]] = []
        for entry in json.loads(self._files.read(_FILE) or b"[]"):
            self._waiting += [(entry["rollout_id"], action) for action in actions_from_text(entry["actions"])]
        self._retry_at = 0.0
        self.registry_error = ""

    @property
    def blocked(self) -> bool:
        """Whether something other than the registry's waits."""
        return any(not isinstance(action, Alias | Tag) for _, action in self._waiting)

    @property
    def waiting(self) -> int:
        """How many actions wait."""
        return len(self._waiting)

    def take(self, rollout_id: str, actions: Iterable[Action]) -> None:
        """Write down what is to be done."""
        taken = [(rollout_id, action) for action in actions]
        if taken:
            self._waiting += taken
            self._save()

    def carry_out(self, plans: Mapping[str, RolloutPlan]) -> None:
        """Do what waits; raises SightlineError where a row or a message cannot be written, which then goes on waiting."""
        before = len(self._waiting)
        try:
            self._to_centre(plans)
            self._to_registry()
        finally:
            if len(self._waiting) != before:
                self._save()

    def _to_centre(self, plans: Mapping[str, RolloutPlan]) -> None:
        """Rows and messages in their order; neighbours of one kind go together."""
        while (first := next((item for item in self._waiting if not isinstance(item[1], Alias | Tag)), None)) is not None:
            kind = type(first[1])
            start = self._waiting.index(first)
            run = [first]
            for item in self._waiting[start + 1 :]:
                if type(item[1]) is not kind:
                    break
                run.append(item)
            self._do(run, plans)
            del self._waiting[start : start + len(run)]

    def _do(self, run: list[tuple[str, Action]], plans: Mapping[str, RolloutPlan]) -> None:
        kafka = self._config.kafka
        desires = [action for _, action in run if isinstance(action, Desire)]
        audits = [action for _, action in run if isinstance(action, Audit)]
        for rollout_id, action in run:
            if isinstance(action, Record):
                if rollout_id not in plans:
                    raise StateError(
                        f"{self._files.folder}/{_FILE}: is about {rollout_id}, which {ROLLOUT_PLANS.name} does not have: "
                        "restore the topic, or move the file away"
                    )
                self._write_row(plans[rollout_id], action)
        if desires:
            publish(((each.node_id, each.desired.model_dump_json().encode(), []) for each in desires), MODEL_ROLLOUT, kafka)
        if audits:
            publish(((JUDGE, _audit_record(each).model_dump_json().encode(), []) for each in audits), AUDIT, kafka)

    def _write_row(self, plan: RolloutPlan, record: Record) -> None:
        step = record.step
        rows = pa.Table.from_pylist([row_of(plan, step)], arrow_schema(MODEL_ROLLOUTS))
        location, mark = table_location(self._config.table_root, MODEL_ROLLOUTS), f"rollout/{step.rollout_id}"
        if is_local(self._config.table_root):
            append_to_folder(rows, location, mark, step.seq)
        else:
            append_with_spark(self._spark, rows, location, mark, step.seq)

    def _to_registry(self) -> None:
        if self._registry is None or time.monotonic() < self._retry_at:
            return
        while (item := next((each for each in self._waiting if isinstance(each[1], Alias | Tag)), None)) is not None:
            try:
                self._registry.carry_out(item[1])  # type: ignore[arg-type]  # the generator's condition
            except SightlineError as error:
                self.registry_error, self._retry_at = str(error), time.monotonic() + _RETRY_S
                return
            self._waiting.remove(item)
        self.registry_error = ""

    def _save(self) -> None:
        entries = [{"rollout_id": rollout_id, "actions": actions_to_text([action])} for rollout_id, action in self._waiting]
        self._files.write(_FILE, json.dumps(entries).encode())


def _audit_record(audit: Audit) -> AuditRecord:
    return AuditRecord(
        record_id=audit.record_id,
        kind=audit.kind,
        node_id=JUDGE,
        actor=audit.actor,
        reason=audit.reason,
        at_us=audit.at_us,
        details=dict(audit.details),
    )
