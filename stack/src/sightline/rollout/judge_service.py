"""The judge as a child process: a service of the local stack, and what a command finds of it."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sightline.java import find_java
from sightline.processes import Child, start

_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class JudgeConfig:
    """Where a judge keeps its files, what it reads, and where the registry is; "" has aliases and tags wait."""

    work: Path
    job: dict[str, Any]  # a JobConfig as its YAML file holds it
    registry: str = ""
    look_s: float = 2.0
    audit: bool = False  # keeps the audit log, too, where no job archive does

    @property
    def job_path(self) -> Path:
        """The job's configuration."""
        return self.work / "job.yaml"

    @property
    def status_path(self) -> Path:
        """What the judge tells of itself."""
        return self.work / "judge.json"

    def status(self) -> dict[str, Any]:
        """The newest status; empty before the first."""
        return read_status(self.status_path)


@dataclass(frozen=True)
class JudgeService:
    """The judge, as ``sightline up`` starts it."""

    config: JudgeConfig
    name: str = "judge"
    port: int | None = None

    def launch(self, *, tied: bool) -> Child:
        """Start the driver."""
        return launch_judge(self.config, tied=tied)

    def wait_until_ready(self, child: Child) -> None:
        """Wait for its first look."""
        child.wait_until(lambda: self.config.status().get("state") == "ready", _TIMEOUT_S, "the judge's first look")


def read_status(path: Path) -> dict[str, Any]:
    """What a judge told last, and how long ago (``told_s_ago``); empty where none ever ran."""
    try:
        status: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {**status, "told_s_ago": time.time() - path.stat().st_mtime}
    except FileNotFoundError:
        return {}


def launch_judge(config: JudgeConfig, *, tied: bool) -> Child:
    """Start a judge and return at once; raises ToolMissingError."""
    config.work.mkdir(parents=True, exist_ok=True)
    config.job_path.write_text(yaml.safe_dump(config.job, sort_keys=False), encoding="utf-8")
    config.status_path.unlink(missing_ok=True)
    command: list[str | Path] = [sys.executable, "-m", "sightline.rollout.judge_process", "--config", config.job_path]
    command += ["--status", config.status_path, "--registry", config.registry, "--look-s", str(config.look_s)]
    command += ["--audit"] if config.audit else []
    # Spark looks for Java by itself otherwise, and may find another one.
    environment = {"JAVA_HOME": str(find_java().home)}
    log = config.work / "judge.log"
    return start("judge", command, log, tied=tied, environment=environment, working_dir=config.work)
