"""The judge as a process, with a real broker, Spark and Delta; the fleet is messages."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from deltalake import DeltaTable
from model_messages import START_US, figures
from rollout_fleet import NAME, NEW, OLD, Does, SimulatedFleet, as_usual, plan_of

from sightline.broker import Broker, BrokerConfig
from sightline.jobs_process import job_settings
from sightline.ports import free_port
from sightline.processes import Child
from sightline.rollout.installation import Installation as RolloutInstallation
from sightline.rollout.installation import find_installation
from sightline.rollout.judge_service import JudgeConfig, JudgeService, launch_judge
from sightline.rollout.key_topic import read_keys
from sightline.rollout.plan_topic import read_plans, write_plan
from sightline.topic_content import read_topic
from sightline_contract.errors import TrustError
from sightline_contract.events import AuditKind, AuditRecord
from sightline_contract.rollout import Figures, Slot
from sightline_contract.topics import AUDIT
from sightline_edge.rollout.unsealing import public_pem, unwrap_key
from sightline_lakehouse.tables import MODEL_ROLLOUTS
from sightline_models.judge.rules import Rules
from sightline_models.rollout.keys import NodeKeys
from sightline_models.rollout.keys import waiting as waiting_in
from sightline_models.rollout.plan import Kind, RolloutPlan, SealedWith, Wanted
from sightline_models.sealing import content_key_digest, content_key_in
from sightline_streaming.config import JobConfig

pytestmark = [pytest.mark.spark, pytest.mark.kafka, pytest.mark.slow]

# Minutes are seconds here, so that a rollout takes a thousand of them.
RULES = Rules(
    window=10, observe=60, observe_last=60, swap=60, silent_after=60, patience=2000, min_windows=6, min_frames=100,
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
        self.judge: Child
        self.fleet = SimulatedFleet(broker.bootstrap, 8)
        self._rollouts = 0

    def start(self) -> None:
        self.judge = launch_judge(self.config, tied=True)
        JudgeService(self.config).wait_until_ready(self.judge)

    def kill(self) -> None:
        os.killpg(self.judge.pid, signal.SIGKILL)
        self.judge.wait(20)

    def rows(self, rollout_id: str) -> list[dict[str, Any]]:
        found = DeltaTable(f"{self.home}/tables/{MODEL_ROLLOUTS.path}").to_pyarrow_table().to_pylist()
        return sorted((row for row in found if row["rollout_id"] == rollout_id), key=lambda row: row["seq"])

    def steps(self, rollout_id: str) -> list[str]:
        return [row["step"] for row in self.rows(rollout_id)]

    def begin(self, rollout_id: str, does: Does = as_usual, **fields: Any) -> RolloutPlan:
        """A rollout from OLD to NEW on a fleet that serves OLD, newer than all before."""
        self._rollouts += 1
        self.fleet.reset(does)
        fields = {"started_us": START_US + self.fleet.second * 1_000_000, "rings": (0.25, 1.0), "shadow_s": 0.0} | fields
        return self.ask(plan_of(rollout_id, RULES, 10 * self._rollouts, **fields))

    def ask(self, plan: RolloutPlan) -> RolloutPlan:
        write_plan(plan, self.kafka)
        return plan

    def until(self, done: Callable[[], bool]) -> None:
        """Let the fleet's time pass until ``done()``."""
        deadline = time.monotonic() + WAIT_S
        while not done():
            assert time.monotonic() < deadline, self.config.status()
            assert self.judge.exit_code is None, self.judge.failure()
            self.fleet.step()
            time.sleep(0.1)

    @property
    def installation(self) -> RolloutInstallation:
        """As commands find it."""
        return find_installation(self.home, self.config.job_path, self.broker.config.port)

    def plan(self, rollout_id: str) -> RolloutPlan:
        return read_plans(self.kafka)[rollout_id]

    def keys(self, rollout_id: str) -> dict[str, NodeKeys]:
        return read_keys(self.kafka).get(rollout_id, {})

    def audits(self) -> list[AuditRecord]:
        return [AuditRecord.model_validate_json(m.value() or b"") for m in read_topic(self.broker.bootstrap, AUDIT.name)]


@pytest.fixture(scope="module")
def here(jars, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation and fleet for all: a test starts a rollout of its own on them."""
    home = tmp_path_factory.mktemp("judged")
    with Broker(BrokerConfig(home / "broker", free_port())) as broker:
        installation = Installation(home, broker)
        installation.start()
        yield installation
        installation.judge.stop()
        installation.fleet.close()


def bad(version: str, slot: Slot) -> Figures:
    """The new version misses six objects of ten."""
    return figures(NEW, name=NAME, detections=40) if version == NEW else as_usual(version, slot)


def test_a_version_that_sees_less_is_rolled_back_and_every_touched_node_gets_its_return_ticket(here: Installation) -> None:
    plan = here.begin("bad", bad)
    here.until(lambda: "restored" in here.steps("bad"))
    rows = {row["step"]: row for row in here.rows("bad")}
    assert any("detections" in reason for reason in rows["rolled_back"]["reasons"])
    assert set(here.fleet.live.values()) == {OLD}
    (touched,) = {frozenset(row["nodes"]) for row in rows.values() if row["nodes"]}
    told = [desired for desired in here.fleet.heard if desired.rollout_id == plan.rollout_id]
    back = [desired for desired in told if desired.revision == max(each.revision for each in told)]
    assert {desired.node_id for desired in back} == touched
    assert len(touched) == 2


def test_what_people_want_on_the_way_is_done(here: Installation) -> None:
    plan = here.begin("asked")
    here.until(lambda: "serving" in here.steps("asked"))
    here.ask(plan.model_copy(update={"wanted": Wanted.PAUSE, "edit": 1}))
    here.until(lambda: "paused" in here.steps("asked"))
    here.ask(plan.model_copy(update={"wanted": Wanted.ABORT, "edit": 2}))
    here.until(lambda: "restored" in here.steps("asked"))
    assert here.steps("asked")[-2:] == ["aborted", "restored"]
    assert set(here.fleet.live.values()) == {OLD}


def test_nodes_that_come_late_or_with_another_key_get_theirs_while_it_runs_and_after_its_end(
    here: Installation, tmp_path: Path
) -> None:
    """Protection: the judge's look when keys come; and the serial in revisions, without which a known node takes no new key."""
    content = [content_key_in(tmp_path / f"{NAME}-{version}.key") for version in (NEW, OLD)]
    sealed_with = SealedWith(candidate=content_key_digest(content[0]), baseline=content_key_digest(content[1]))
    private = {node: ec.generate_private_key(ec.SECP256R1()) for node in [*here.fleet.live, "late"]}
    here.fleet.public_keys = {node: public_pem(key) for node, key in private.items() if node != "node-1"}
    here.begin("sealed", sealed=True, sealed_with=sealed_with, rings=(1.0,))
    here.until(lambda: "started" in here.steps("sealed"))
    assert {desired.node_id for desired in here.fleet.heard if desired.rollout_id == "sealed"} == set()

    def opens(node: str) -> bool:
        """Whether the newest message for the node has its key."""
        desired = here.fleet.desired.get(node)
        if desired is None or desired.rollout_id != "sealed" or desired.serve is None:
            return False
        try:
            return unwrap_key(desired.serve.wrapped_key or "", private[node], node) == content[0]
        except TrustError:
            return False

    def waiting() -> int:
        """Nodes that the tables have, and that have no key yet."""
        return len(waiting_in(here.plan("sealed"), here.installation.history.statuses().values(), here.keys("sealed")))

    def give() -> list[str]:
        command = [sys.executable, "-m", "sightline", "models", "rollout", "keys", "--keys", str(tmp_path)]
        done = subprocess.run(
            [*command, "--config", str(here.config.job_path)], check=True, timeout=120, stdout=subprocess.PIPE, text=True
        )
        return sorted(line.partition(":")[0] for line in done.stdout.splitlines())

    here.until(lambda: waiting() == 7)
    assert give() == [f"node-{number}" for number in range(8) if number != 1]
    here.until(lambda: all(opens(node) for node in private if node not in ("node-1", "late")))
    here.until(lambda: "completed" in here.steps("sealed"))
    before = here.fleet.desired["node-3"].revision
    private["node-3"] = ec.generate_private_key(ec.SECP256R1())  # a new device
    here.fleet.public_keys["node-3"] = public_pem(private["node-3"])
    here.fleet.live["late"], here.fleet.shadow["late"] = "0", None
    here.until(lambda: waiting() == 2)
    assert give() == ["late", "node-3"]
    here.until(lambda: opens("late") and opens("node-3"))
    assert here.fleet.live["late"] == NEW
    assert here.fleet.desired["node-3"].revision > before
    given = [record.node_id for record in here.audits() if record.kind == AuditKind.KEY_GIVEN]
    assert sorted(given) == sorted([*(f"node-{number}" for number in range(8) if number != 1), "late", "node-3"])
    del here.fleet.live["late"], here.fleet.shadow["late"]
    here.fleet.public_keys.clear()


def test_a_comparison_ends_in_time_with_a_table_and_plots(here: Installation, tmp_path: Path) -> None:
    until_us = START_US + (here.fleet.second + 120) * 1_000_000
    here.begin("compared", bad, kind=Kind.AB, rings=(0.5,), until_us=until_us)
    here.until(lambda: "restored" in here.steps("compared"))
    assert here.steps("compared")[-2] in ("compared", "rolled_back")
    command = [sys.executable, "-m", "sightline", "models", "ab", "report", "compared", "--out", str(tmp_path)]
    subprocess.run([*command, "--config", str(here.config.job_path)], check=True, timeout=120)
    table = (tmp_path / "comparison.md").read_text()
    assert f"| metric | {NAME} {OLD} | {NAME} {NEW} |" in table
    (row,) = (line.split("|") for line in table.splitlines() if line.startswith("| detections a frame |"))
    assert (float(row[2]), float(row[3])) == (pytest.approx(2, rel=0.01), pytest.approx(0.8, rel=0.01))
    assert (tmp_path / "detections-a-frame.png").stat().st_size > 1000


def test_a_good_version_reaches_the_whole_fleet_though_the_judge_is_killed_on_the_way(here: Installation) -> None:
    """Protection: the rows that the judge goes on from; without Judge._steps() the rollout begins anew."""
    plan = here.begin("good", shadow_s=30.0)
    here.until(lambda: "serving" in here.steps("good"))
    here.kill()
    before = here.steps("good")
    here.fleet.step()  # the fleet goes on with what it was told
    here.start()
    here.until(lambda: "completed" in here.steps("good"))
    rows = here.rows("good")
    steps = [row["step"] for row in rows]
    assert steps[: len(before)] == before
    assert [row["seq"] for row in rows] == list(range(len(rows)))
    assert steps == [
        "started", "shadowing", "shadow_passed", "serving", "observing", "promoted", "serving", "observing", "completed",
    ]  # fmt: skip
    here.fleet.step()
    assert set(here.fleet.live.values()) == {NEW}
    assert set(here.fleet.shadow.values()) == {None}
    told = {(desired.node_id, desired.revision) for desired in here.fleet.heard if desired.rollout_id == plan.rollout_id}
    assert len(told) == len(here.fleet.live) + 2  # two nodes had the shadow first
    audited = {record.record_id for record in here.audits() if record.record_id.startswith("good:")}
    assert audited == {f"good:{seq}" for seq in range(len(rows))}
    assert here.config.status()["waiting"] > 0  # aliases and tags: no registry was named
