"""The judge as a process, with a real broker, Spark and Delta; the fleet is messages."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from model_messages import figures
from rollout_fleet import NAME, NEW, OLD, SimulatedFleet, as_usual, plan_of

from sightline.broker import Broker, BrokerConfig
from sightline.jobs_process import job_settings
from sightline.ports import free_port
from sightline.processes import Child
from sightline.rollout.judge_service import JudgeConfig, JudgeService, launch_judge
from sightline.rollout.plan_topic import write_plan
from sightline.topic_content import read_topic
from sightline_contract.events import AuditRecord
from sightline_contract.rollout import Figures, Slot
from sightline_contract.topics import AUDIT
from sightline_lakehouse.tables import MODEL_ROLLOUTS
from sightline_models.judge.rules import Rules
from sightline_models.rollout.plan import RolloutPlan, Wanted
from sightline_streaming.config import JobConfig

pytestmark = [pytest.mark.spark, pytest.mark.kafka]

# Minutes are seconds here, so that a rollout takes a thousand of them.
RULES = Rules(
    window=10, observe=120, observe_last=60, swap=60, silent_after=60, patience=2000, min_windows=6, min_frames=100,
    min_detections=100,
)  # fmt: skip
WAIT_S = 150


class Installation:
    """A broker, tables and a judge that can be killed and started again."""

    def __init__(self, home: Path, broker: Broker) -> None:
        self.home, self.broker = home, broker
        job = job_settings(home, broker.bootstrap, trigger_s={"models": 0.3})
        self.config = JudgeConfig(home / "judge", job, look_s=0.3)
        self.kafka = JobConfig(**job).kafka
        self.judge: Child | None = None

    def start(self) -> None:
        self.judge = launch_judge(self.config, tied=True)
        JudgeService(self.config).wait_until_ready(self.judge)

    def kill(self) -> None:
        assert self.judge is not None
        os.killpg(self.judge.pid, signal.SIGKILL)
        self.judge.wait(20)

    def rows(self) -> list[dict[str, Any]]:
        found = DeltaTable(f"{self.home}/tables/{MODEL_ROLLOUTS.path}").to_pyarrow_table().to_pylist()
        return sorted(found, key=lambda row: (row["rollout_id"], row["seq"]))

    def steps(self, rollout_id: str) -> list[str]:
        return [row["step"] for row in self.rows() if row["rollout_id"] == rollout_id]

    def ask(self, plan: RolloutPlan) -> RolloutPlan:
        write_plan(plan, self.kafka)
        return plan

    def until(self, fleet: SimulatedFleet, done: Callable[[], bool]) -> None:
        """Let the fleet's time pass until ``done()``."""
        deadline = time.monotonic() + WAIT_S
        while not done():
            assert time.monotonic() < deadline, (self.rows(), self.config.status())
            assert self.judge is not None
            assert self.judge.exit_code is None, self.judge.failure()
            fleet.step()
            time.sleep(0.1)

    def audits(self) -> list[AuditRecord]:
        return [AuditRecord.model_validate_json(m.value() or b"") for m in read_topic(self.broker.bootstrap, AUDIT.name)]


@pytest.fixture
def here(jars, tmp_path: Path) -> Iterator[Installation]:
    with Broker(BrokerConfig(tmp_path / "broker", free_port())) as broker:
        installation = Installation(tmp_path, broker)
        yield installation
        if installation.judge is not None:
            installation.judge.stop()


def test_a_good_version_reaches_the_whole_fleet_though_the_judge_is_killed_on_the_way(here: Installation) -> None:
    """Protection: the journal and the rows; without them a killed judge begins the rollout anew."""
    fleet = SimulatedFleet(here.broker.bootstrap, 8)
    here.start()
    fleet.step()
    here.ask(plan_of("good", RULES, rings=(0.25, 1.0), shadow_s=60.0))
    here.until(fleet, lambda: "serving" in here.steps("good"))
    here.kill()
    before = here.steps("good")
    fleet.step()  # the fleet goes on with what it was told
    here.start()
    here.until(fleet, lambda: "completed" in here.steps("good"))

    rows = here.rows()
    steps = [row["step"] for row in rows]
    assert steps[: len(before)] == before
    assert [row["seq"] for row in rows] == list(range(len(rows)))
    assert steps == [
        "started", "shadowing", "shadow_passed", "serving", "observing", "promoted", "serving", "observing", "completed",
    ]  # fmt: skip
    fleet.step()
    assert set(fleet.live.values()) == {NEW}
    assert set(fleet.shadow.values()) == {None}
    told = {(desired.node_id, desired.revision) for desired in fleet.heard}
    assert len(told) == 8 + 2  # two nodes had the shadow first
    assert {record.record_id for record in here.audits()} == {f"good:{seq}" for seq in range(len(rows))}
    assert here.config.status()["waiting"] > 0  # aliases and tags: no registry was named


def bad(version: str, slot: Slot) -> Figures:
    """The new version misses six objects of ten, which its shadow did not show."""
    if version == NEW and slot is Slot.LIVE:
        return figures(NEW, name=NAME, detections=40)
    return as_usual(version, slot)


def test_a_version_that_sees_less_is_rolled_back_and_every_touched_node_gets_its_return_ticket(here: Installation) -> None:
    fleet = SimulatedFleet(here.broker.bootstrap, 8, bad)
    here.start()
    fleet.step()
    here.ask(plan_of("bad", RULES, rings=(0.25, 1.0), shadow_s=0.0))
    here.until(fleet, lambda: "restored" in here.steps("bad"))
    rows = {row["step"]: row for row in here.rows()}
    assert any("detections" in reason for reason in rows["rolled_back"]["reasons"])
    assert set(fleet.live.values()) == {OLD}
    (touched,) = {frozenset(row["nodes"]) for row in rows.values() if row["nodes"]}
    back = [desired for desired in fleet.heard if desired.revision == max(d.revision for d in fleet.heard)]
    assert {desired.node_id for desired in back} == touched
    assert len(touched) == 2


def test_what_people_want_on_the_way_is_done(here: Installation) -> None:
    fleet = SimulatedFleet(here.broker.bootstrap, 4)
    here.start()
    fleet.step()
    plan = here.ask(plan_of("asked", RULES, rings=(0.25, 1.0), shadow_s=0.0))
    here.until(fleet, lambda: "serving" in here.steps("asked"))
    here.ask(plan.model_copy(update={"wanted": Wanted.PAUSE, "edit": 1}))
    here.until(fleet, lambda: "paused" in here.steps("asked"))
    here.ask(plan.model_copy(update={"wanted": Wanted.ABORT, "edit": 2}))
    here.until(fleet, lambda: "restored" in here.steps("asked"))
    assert here.steps("asked")[-2:] == ["aborted", "restored"]
    assert set(fleet.live.values()) == {OLD}
