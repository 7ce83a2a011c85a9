"""Building the marts: one dbt run in a process of its own, over Spark Connect.

dbt is a client there: it needs no JVM and no environment variable of the Spark driver whose server it talks to.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sightline_contract.errors import ConfigError, StageError, StorageError, ToolMissingError

PASSED: Final = frozenset({"success", "pass", "warn", "no-op"})
TABLE_ROOT_VARIABLE: Final = "SIGHTLINE_TABLE_ROOT"


@dataclass(frozen=True)
class DbtNode:
    """One model or test that dbt ran."""

    name: str
    kind: str  # model, test, unit_test
    status: str
    seconds: float
    message: str


@dataclass(frozen=True)
class DbtReport:
    """A run in which everything passed."""

    nodes: tuple[DbtNode, ...]
    seconds: float

    def count(self, kind: str) -> int:
        """How many nodes of a kind ran."""
        return sum(node.kind == kind for node in self.nodes)


def project_dir() -> Path:
    """The dbt project of the checkout that this package is installed from; raises ConfigError where there is none."""
    folder = Path(__file__).parents[3] / "dbt"
    if not (folder / "dbt_project.yml").is_file():
        raise ConfigError(f"{folder}: holds no dbt project: install Sightline from a checkout (make setup), or name the folder")
    return folder


def run_dbt(
    project: Path,
    remote: str,
    table_root: str,
    target_path: Path,
    log_path: Path,
    select: str | None = None,
    unit_tests: bool = False,
) -> DbtReport:
    """Build and test the marts below ``table_root``/marts through the Spark Connect server ``remote``.

    ``target_path`` keeps what dbt compiles, which makes the next run start faster. Unit tests check the SQL and not the data:
    they run on request. Raises StageError naming the first model or test that failed.
    """
    started = time.monotonic()
    for folder in (target_path, log_path):
        folder.mkdir(parents=True, exist_ok=True)
    results = target_path / "run_results.json"
    results.unlink(missing_ok=True)
    # Run elsewhere than in the repository: there its folder dbt/ would stand before the package dbt.
    finished = subprocess.run(
        _command(project, target_path, log_path, select, unit_tests),
        cwd=target_path,
        env=_environment(remote, table_root),
        capture_output=True,
        text=True,
        check=False,
    )
    nodes = _read_nodes(results) if results.is_file() else ()
    for node in nodes:
        if node.status not in PASSED:
            raise StageError(f"dbt: {node.kind} {node.name} failed ({node.message}): see {log_path / 'dbt.log'}")
    if finished.returncode or not nodes:
        raise _did_not_run(finished, log_path)
    return DbtReport(nodes, time.monotonic() - started)


def _command(project: Path, target_path: Path, log_path: Path, select: str | None, unit_tests: bool) -> list[str]:
    command = [sys.executable, "-m", "dbt.cli.main", "build", "--no-use-colors", "--no-version-check"]
    command += ["--project-dir", str(project.absolute()), "--profiles-dir", str(project.absolute())]
    command += ["--target-path", str(target_path.absolute()), "--log-path", str(log_path.absolute())]
    if select:
        command += ["--select", select]
    return command if unit_tests else [*command, "--exclude-resource-type", "unit_test"]


def _environment(remote: str, table_root: str) -> dict[str, str]:
    """This process's environment without what a Spark driver set in it: with that, dbt would start a JVM of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYSPARK_", "SPARK_", "DBT_"))}
    return kept | {
        "SPARK_REMOTE": remote,
        TABLE_ROOT_VARIABLE: table_root,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
    }


def _read_nodes(results: Path) -> tuple[DbtNode, ...]:
    document = json.loads(results.read_text(encoding="utf-8"))
    return tuple(_node(result) for result in document["results"])


def _node(result: dict[str, Any]) -> DbtNode:
    kind, _, *names = result["unique_id"].split(".")
    message = " ".join((result.get("message") or "").split())
    return DbtNode(names[0], kind, result["status"], float(result["execution_time"]), message[:300])


def _did_not_run(finished: subprocess.CompletedProcess[str], log_path: Path) -> StageError | StorageError | ToolMissingError:
    if "No module named" in finished.stderr and "dbt" in finished.stderr:
        return ToolMissingError("dbt is not installed: install sightline with its extra 'marts'")
    said = finished.stdout + finished.stderr
    if os.strerror(errno.ENOSPC) in said:
        return StorageError(f"disk full: dbt could not write to {log_path} or the tables: free some space, then run again")
    wrong = " ".join(said.rpartition("Encountered an error:")[2].split())
    return StageError(f"dbt ended with {finished.returncode} ({wrong[:300]}): see {log_path / 'dbt.log'}")
