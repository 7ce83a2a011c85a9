"""The simulation through the real thing: a Kafka broker and the tracking and facts jobs in a Spark driver, all on loopback.

The jobs run while the city is simulated; when its last message is sent they are told to drain. Micro-batches are bounded, so
that memory is, and so that a message which is ten minutes late does not come in one batch with those of its own time.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from sightline.bench.accuracy_core import LATENESS_S
from sightline.broker import Broker, BrokerConfig
from sightline.demo.memory import PeakMemory
from sightline.demo.settings import write_camera
from sightline.jars import fetch_jars
from sightline.java import find_java
from sightline.ports import free_port
from sightline.processes import Child, start
from sightline.simulate.city import City
from sightline.simulate.publish import publish

# Seconds of the city in a micro-batch, at most.
_BATCH_S = 100
_READY_TIMEOUT_S = 300.0
_DRAIN_TIMEOUT_S = 3600.0
_MIB = 1024 * 1024


def run_jobs(city: City, home: Path, console: Console) -> dict[str, Any]:
    """Run the city through the jobs; its tables are below ``home``/tables then. Returns seconds and memory."""
    cameras = home / "cameras"
    for config in city.configs:
        write_camera(config, cameras)
    began = time.monotonic()
    with PeakMemory() as memory, Broker(BrokerConfig(home / "broker", free_port())) as broker:
        jobs = _start_jobs(city, home, cameras, broker.bootstrap)
        with jobs, console.status("simulating"):
            count = publish(city.messages(), broker.bootstrap)
            sent_s = time.monotonic() - began
            console.print(f"{count} messages sent in {sent_s:.0f} s")
            _await_ready(jobs, home)
            os.kill(jobs.pid, signal.SIGUSR1)
            jobs.check(_DRAIN_TIMEOUT_S)
        drained_s = time.monotonic() - began
    return {
        "messages": count,
        "sent_s": round(sent_s, 1),
        "drained_s": round(drained_s, 1),
        "peak_memory_mb": round(memory.peak_bytes / _MIB),
    }


def _start_jobs(city: City, home: Path, cameras: Path, bootstrap: str) -> Child:
    job = {
        "kafka": {"bootstrap_servers": bootstrap},
        "table_root": str(home / "tables"),
        "checkpoint_root": str(home / "checkpoints"),
        "cameras": str(cameras),
        "window_s": 60,
        "allowed_lateness_s": LATENESS_S,
        "trigger_s": {"tracking": 1.0, "facts": 20.0},
        "max_offsets_per_trigger": _BATCH_S * len(city.configs),
    }
    file = home / "job.yaml"
    file.write_text(yaml.safe_dump(job, sort_keys=False), encoding="utf-8")
    jars = os.pathsep.join(str(jar) for jar in fetch_jars("spark"))
    command: list[str | Path] = [sys.executable, "-m", "sightline_streaming.cli", "--jobs", "tracking,facts", "--config", file]
    command += ["--status", home / "status.json", "--master", "local[2]", "--jars", jars]
    return start("jobs", command, home / "jobs.log", environment={"JAVA_HOME": str(find_java().home)}, working_dir=home)


def _await_ready(jobs: Child, home: Path) -> None:
    """Before that, a signal would end the jobs."""
    status = home / "status.json"

    def is_ready() -> bool:
        return status.exists() and '"ready"' in status.read_text(encoding="utf-8")

    jobs.wait_until(is_ready, _READY_TIMEOUT_S, "being ready")
