"""The Spark driver as a child process: starting it, and reading what it says of itself."""

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sightline.java import find_java
from sightline.ports import LOOPBACK, require_free
from sightline.processes import Child, start
from sightline_contract.errors import StageError

DEFAULT_CONNECT_PORT = 15002


@dataclass(frozen=True)
class DriverConfig:
    """Where a driver keeps its files, what it reads, and where it serves SQL."""

    work: Path
    job: dict[str, Any]  # a JobConfig as its YAML file holds it
    connect_port: int = DEFAULT_CONNECT_PORT

    @property
    def remote(self) -> str:
        """Address of the SQL endpoint for Spark Connect clients."""
        return f"sc://{LOOPBACK}:{self.connect_port}"

    @property
    def status_path(self) -> Path:
        """The driver's status file."""
        return self.work / "status.json"

    @property
    def gate_folder(self) -> Path:
        """Where the quality gate's report goes."""
        return self.work / "gate"


class DriverProcess:
    """A running driver."""

    def __init__(self, config: DriverConfig, child: Child) -> None:
        self._config = config
        self.child = child

    @property
    def remote(self) -> str:
        """Address of the SQL endpoint."""
        return self._config.remote

    def status(self) -> dict[str, Any]:
        """The newest status; empty before the first."""
        try:
            status: dict[str, Any] = json.loads(self._config.status_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return status

    def wait_for(self, *states: str, timeout_s: float) -> str:
        """Wait until the driver reports one of ``states``; raises StageError with its own words when it ends before."""
        try:
            self.child.wait_until(lambda: self.status().get("state") in states, timeout_s, f"the driver is {states[0]}")
        except StageError as error:
            said = self.status().get("error")
            raise StageError(f"{said} (log: {self.child.log_path})" if said else str(error)) from error
        return str(self.status()["state"])

    def drain(self) -> None:
        """Tell the driver that the input has ended."""
        os.kill(self.child.pid, signal.SIGUSR1)


def launch_driver(config: DriverConfig, *, tied: bool) -> DriverProcess:
    """Start a driver and return at once; raises PortInUseError or ToolMissingError."""
    require_free(config.connect_port, "the SQL endpoint", "stop it, or choose another port with --sql-port")
    java = find_java()
    config.work.mkdir(parents=True, exist_ok=True)
    job = config.work / "job.yaml"
    job.write_text(yaml.safe_dump(config.job, sort_keys=False), encoding="utf-8")
    config.status_path.unlink(missing_ok=True)
    command: list[str | Path] = [sys.executable, "-m", "sightline.driver", "--config", job, "--status", config.status_path]
    command += ["--connect-port", str(config.connect_port), "--gate", config.gate_folder]
    # Spark looks for Java by itself otherwise, and may find another one.
    environment = {"JAVA_HOME": str(java.home)}
    child = start("driver", command, config.work / "driver.log", tied=tied, environment=environment, working_dir=config.work)
    return DriverProcess(config, child)
