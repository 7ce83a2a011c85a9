"""The simulation through the real thing: a Kafka broker and the tracking and facts jobs in a Spark driver, all on loopback.

The jobs run while the city is simulated; when its last message is sent they are told to drain. Micro-batches are bounded, so
that memory is, and so that a message which is ten minutes late does not come in one batch with those of its own time.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from sightline.bench.accuracy_core import LATENESS_S
from sightline.broker import Broker, BrokerConfig
from sightline.demo.memory import PeakMemory
from sightline.demo.settings import write_camera
from sightline.jobs_process import await_ready, job_settings, start_jobs
from sightline.ports import free_port
from sightline.processes import Child
from sightline.simulate.city import City
from sightline.simulate.publish import publish

# Seconds of the city in a micro-batch, at most.
_BATCH_S = 100
_DRAIN_TIMEOUT_S = 3600.0
_MIB = 1024 * 1024


def run_jobs(city: City, home: Path, console: Console) -> dict[str, Any]:
    """Run the city through the jobs; its tables are below ``home``/tables then. Returns seconds and memory."""
    for config in city.configs:
        write_camera(config, home / "cameras")
    began = time.monotonic()
    with PeakMemory() as memory, Broker(BrokerConfig(home / "broker", free_port())) as broker:
        jobs = _start_jobs(city, home, broker.bootstrap)
        with jobs, console.status("simulating"):
            count = publish(city.messages(), broker.bootstrap)
            sent_s = time.monotonic() - began
            console.print(f"{count} messages sent in {sent_s:.0f} s")
            await_ready(jobs, home / "status.json")
            os.kill(jobs.pid, signal.SIGUSR1)
            jobs.check(_DRAIN_TIMEOUT_S)
        drained_s = time.monotonic() - began
    return {
        "messages": count,
        "sent_s": round(sent_s, 1),
        "drained_s": round(drained_s, 1),
        "peak_memory_mb": round(memory.peak_bytes / _MIB),
    }


def _start_jobs(city: City, home: Path, bootstrap: str) -> Child:
    job = job_settings(
        home,
        bootstrap,
        window_s=60,
        allowed_lateness_s=LATENESS_S,
        trigger_s={"tracking": 1.0, "facts": 20.0},
        max_offsets_per_trigger=_BATCH_S * len(city.configs),
    )
    return start_jobs("jobs", home, ("tracking", "facts"), job, home / "status.json")
