"""A broker, tables and a judge as a process, which can be killed and started again; the fleet is messages."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from model_messages import START_US
from rollout_fleet import Does, SimulatedFleet, as_usual, plan_of

from sightline.broker import Broker
from sightline.jobs_process import job_settings
from sightline.processes import Child
from sightline.rollout.installation import Installation as RolloutInstallation
from sightline.rollout.installation import find_installation
from sightline.rollout.judge_service import JudgeConfig, JudgeService, launch_judge
from sightline.rollout.key_topic import read_keys
from sightline.rollout.plan_topic import read_plans, write_plan
from sightline.topic_content import read_topic
from sightline_contract.events import AuditRecord
from sightline_contract.topics import AUDIT
from sightline_lakehouse.tables import MODEL_ROLLOUTS
from sightline_models.judge.rules import Rules
from sightline_models.rollout.keys import NodeKeys
from sightline_models.rollout.plan import RolloutPlan
from sightline_streaming.config import JobConfig

# Minutes are seconds here, so that a rollout takes a thousand of them.
RULES = Rules(
    window=10, observe=60, observe_last=60, swap=60, silent_after=60, patience=2000, min_windows=6, min_frames=100,
    min_detections=100,
)  # fmt: skip
WAIT_S = 150


class JudgedFleet:
    """One installation and its fleet: rollouts come one after the other."""

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
