"""Where commands find an installation: its broker, its tables, its judge."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.broker import BrokerConfig
from sightline.rollout.history import History
from sightline.rollout.judge_service import JudgeConfig, read_status
from sightline.services import default_home
from sightline_streaming.config import JobConfig, load_job_config


@dataclass(frozen=True)
class Installation:
    """The local stack's below a home folder, or the one of a job configuration."""

    config: JobConfig
    judge: JudgeConfig

    @property
    def history(self) -> History:
        """Its tables."""
        return History(self.config.table_root)

    def judge_status(self) -> dict[str, Any]:
        """What its judge told last, where it runs on this machine."""
        return read_status(self.judge.status_path)


def judge_config(home: Path, broker_port: int, registry: str = "") -> JudgeConfig:
    """The judge of the local stack."""
    job = {
        "kafka": {"bootstrap_servers": BrokerConfig(home / "broker", broker_port).bootstrap},
        "table_root": str(home / "tables"),
        "checkpoint_root": str(home / "checkpoints"),
        "cameras": str(home / "cameras"),  # the judge reads none
    }
    return JudgeConfig(home / "judge", job, registry)


def find_installation(home: Path | None, config: Path | None, broker_port: int) -> Installation:
    """The installation that a command's options name; raises ConfigError."""
    folder = (home or default_home()).absolute()
    judge = judge_config(folder, broker_port)
    if config is not None:
        return Installation(load_job_config(config, os.environ), judge)
    return Installation(JobConfig.model_validate(judge.job), judge)
