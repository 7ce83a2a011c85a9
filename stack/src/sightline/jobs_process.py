"""Streaming jobs in a Spark driver of their own, as a child process on this machine: for benchmarks, and tests of faults."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sightline.jars import fetch_jars
from sightline.java import find_java
from sightline.processes import Child, start

_READY_TIMEOUT_S = 300.0


def job_settings(home: Path, bootstrap: str, **settings: Any) -> dict[str, Any]:
    """A job configuration whose tables, checkpoints and camera files lie below ``home``; ``settings`` stand above it."""
    return {
        "kafka": {"bootstrap_servers": bootstrap},
        "table_root": str(home / "tables"),
        "checkpoint_root": str(home / "checkpoints"),
        "cameras": str(home / "cameras"),
        **settings,
    }


def write_job(file: Path, job: Mapping[str, Any]) -> Path:
    """Write a job's configuration."""
    file.write_text(yaml.safe_dump(dict(job), sort_keys=False), encoding="utf-8")
    return file


def start_jobs(
    name: str, home: Path, jobs: Sequence[str], job: Mapping[str, Any], status: Path, options: Sequence[str | Path] = ()
) -> Child:
    """Start ``jobs`` with two task slots and return at once; ``NAME.yaml`` and ``NAME.log`` lie in ``home``."""
    jars = os.pathsep.join(str(jar) for jar in fetch_jars("spark"))
    command: list[str | Path] = [sys.executable, "-m", "sightline_streaming.cli", "--jobs", ",".join(jobs)]
    command += ["--config", write_job(home / f"{name}.yaml", job), "--status", status]
    command += ["--master", "local[2]", "--jars", jars, *options]
    # Spark looks for Java by itself otherwise, and may find another one.
    environment = {"JAVA_HOME": str(find_java().home)}
    return start(name, command, home / f"{name}.log", environment=environment, working_dir=home)


def await_ready(jobs: Child, status: Path) -> None:
    """Wait until the jobs take input: a signal before that would end them. Raises StageError."""

    def is_ready() -> bool:
        return status.exists() and '"ready"' in status.read_text(encoding="utf-8")

    jobs.wait_until(is_ready, _READY_TIMEOUT_S, "being ready")
