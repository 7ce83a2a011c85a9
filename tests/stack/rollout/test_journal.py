"""The judge's journal on real Delta, Kafka and MLflow: what waits, what is done again, what does no harm twice."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable
from registered_blobs import register_blobs
from rollout_fleet import NAME, NEW, OLD, plan_of

from sightline.broker import Broker
from sightline.ports import free_port
from sightline.rollout.journal import Journal
from sightline.rollout.records import actions_from_text, actions_to_text, row_of, step_of
from sightline.rollout.registry_door import RegistryDoor
from sightline.topic_content import read_topic
from sightline_contract.errors import BrokerError
from sightline_contract.events import AuditRecord
from sightline_contract.rollout import DesiredModels
from sightline_contract.topics import AUDIT
from sightline_lakehouse.ddl import create_local_tables
from sightline_lakehouse.tables import MODEL_ROLLOUTS
from sightline_models.judge.rules import Rules
from sightline_models.judge.verdict import Decision, MetricVerdict
from sightline_models.registry import Registry
from sightline_models.rollout.steps import Action, Alias, Audit, Desire, Record, Step, StepName, Tag
from sightline_streaming.config import JobConfig, KafkaConfig

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.kafka]

METRIC = MetricVerdict("mean_score", 0.5, None, 0.1, 0.08, None, 0.2, Decision.ROLL_BACK, 9, 7, float("inf"))


def actions_of(rollout_id: str, seq: int = 0) -> tuple[Action, ...]:
    step = Step(rollout_id, seq, 1_760_000_000_000_000, StepName.COMPLETED, 1, ("fine",), ("a",), (METRIC,), {"told": 3})
    return (
        Record(step),
        Desire("a", DesiredModels(node_id="a", rollout_id=rollout_id, revision=3, issued_us=5)),
        Alias(NAME, "champion", NEW),
        Tag(NAME, NEW, "rollout", "completed"),
        Audit(f"{rollout_id}:{seq}", "rollout_completed", "judge", "fine", 5, {"nodes": 3}),
    )


def test_a_step_and_actions_come_back_as_they_were() -> None:
    actions = actions_of("r")
    assert actions_from_text(actions_to_text(actions)) == actions
    step = actions[0].step
    assert step_of(row_of(plan_of("r", Rules()), step)) == step


@pytest.fixture
def config(broker: Broker, tmp_path: Path) -> JobConfig:
    create_local_tables(str(tmp_path / "tables"), (MODEL_ROLLOUTS,))
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap)
    return JobConfig(
        kafka=kafka, table_root=str(tmp_path / "tables"), checkpoint_root=str(tmp_path / "checkpoints"), cameras=tmp_path
    )


def rows(config: JobConfig) -> list[dict[str, Any]]:
    return DeltaTable(f"{config.table_root}/{MODEL_ROLLOUTS.path}").to_pyarrow_table().to_pylist()


def audits(config: JobConfig, rollout_id: str) -> list[AuditRecord]:
    found = [AuditRecord.model_validate_json(m.value() or b"") for m in read_topic(config.kafka.bootstrap_servers, AUDIT.name)]
    return [record for record in found if record.record_id.startswith(f"{rollout_id}:")]


def test_what_was_written_down_is_done_by_the_next_judge_and_a_row_never_twice(
    spark: "SparkSession", config: JobConfig
) -> None:
    """Protection: Journal.take() writes before anything is done; without it the next judge knows nothing of it."""
    plans = {"killed": plan_of("killed", Rules())}
    first = Journal(spark, config, None)
    first.take("killed", actions_of("killed"))
    # Killed here, or after the row was written and before that was struck out.
    second = Journal(spark, config, None)
    second.carry_out(plans)
    assert not second.blocked
    first.carry_out(plans)
    assert [row["seq"] for row in rows(config)] == [0]
    assert {record.record_id for record in audits(config, "killed")} == {"killed:0"}


def test_nothing_is_lost_while_kafka_is_away(spark: "SparkSession", config: JobConfig, monkeypatch: Any) -> None:
    monkeypatch.setattr("sightline_streaming.publisher._FLUSH_TIMEOUT_S", 1.0)
    away = config.model_copy(update={"kafka": KafkaConfig(bootstrap_servers=f"127.0.0.1:{free_port()}")})
    plans = {"away": plan_of("away", Rules())}
    journal = Journal(spark, away, None)
    journal.take("away", actions_of("away"))
    with pytest.raises(BrokerError):
        journal.carry_out(plans)
    assert journal.blocked
    assert len(rows(config)) == 1  # the row came first
    later = Journal(spark, config, None)
    later.carry_out(plans)
    assert not later.blocked
    assert len(audits(config, "away")) == len(rows(config)) == 1


def test_a_registry_that_is_away_holds_nothing_up_and_gets_all_once_it_is_back(
    spark: "SparkSession", config: JobConfig, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    plans = {"unregistered": plan_of("unregistered", Rules())}
    journal = Journal(spark, config, RegistryDoor(f"http://127.0.0.1:{free_port()}", config.kafka))
    journal.take("unregistered", actions_of("unregistered"))
    journal.carry_out(plans)
    assert not journal.blocked
    assert journal.waiting == 2
    assert journal.registry_error
    assert len(rows(config)) == len(audits(config, "unregistered")) == 1

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    register_blobs(Registry(uri), tmp_path, NAME, "old", "new")
    Registry(uri).promote(NAME, int(OLD), "ada")
    back = Journal(spark, config, RegistryDoor(uri, config.kafka))
    back.carry_out(plans)
    assert back.waiting == 0
    version = Registry(uri).version(NAME, int(NEW))
    assert "champion" in version.aliases
    assert version.tags["rollout"] == "completed"
    assert Registry(uri).version(NAME, int(OLD)).aliases == ("previous",)
