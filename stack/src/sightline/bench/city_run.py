"""One run of a city through the real jobs: a Kafka broker, the load, and the jobs in a Spark driver, all on loopback.

A *backlog* lies in the topic before the jobs start, so that they are never short of input. A *live* city sends each message
when its last frame was captured, while the jobs run. What is kept below the home folder (progress, tables) is what figures are
made of: ``city_figures``.
"""

import os
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from sightline.bench.city_load import LiveMessages
from sightline.broker import Broker, BrokerConfig
from sightline.cluster import StandaloneCluster
from sightline.demo.settings import write_camera
from sightline.jobs_process import await_ready, job_settings, start_jobs, write_job
from sightline.ports import free_port
from sightline.processes import Child
from sightline.sampling import Sampler, memory_of
from sightline.simulate.publish import publish
from sightline.simulate.steady import SteadyCity

_DRAIN_TIMEOUT_S = 1800.0
_SAMPLE_S = 2.0
# A city starts so long after its jobs take input.
_HEAD_START_S = 2

# What a driver of a whole city has above the defaults: room for two micro-batches of everybody's messages, most of it for what
# lives no longer than a micro-batch.
_SPARK = {"spark.driver.memory": "4g", "spark.driver.extraJavaOptions": "-Xmn1536m"}


@dataclass(frozen=True)
class Plan:
    """One run."""

    cameras: int = 5000
    fps: int = 30
    objects: int = 6
    seconds: int = 120
    seed: int = 1
    live: bool = False
    jobs: tuple[str, ...] = ("tracking", "facts")
    shards: int = 4
    partitions: int = 2
    batch_s: int = 15  # of a backlog: seconds of the city in a micro-batch, at most
    tracking_s: float = 0.5  # a live city's triggers
    facts_s: float = 1.0
    workers: int = 0  # of a standalone cluster, one core each; 0: one process with two
    spark: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """Memory and processor time of one kind of process at one moment."""

    at_s: float  # UTC
    what: str
    memory_mb: float
    cpu_s: float


@dataclass
class Run:
    """What a run left."""

    plan: Plan
    city: SteadyCity
    home: Path
    samples: list[Sample]
    began_s: float  # UTC, when the jobs were started, or a live city's first message was captured
    ended_s: float
    worst_delay_s: float = 0.0


def run_city(plan: Plan, home: Path, console: Console) -> Run:
    """Run it; raises SightlineError."""
    start_us = (int(time.time()) - plan.seconds - 10) * 1_000_000
    city, worst_delay_s = SteadyCity(plan.cameras, plan.fps, plan.objects, plan.seed, start_us), 0.0
    home.mkdir(parents=True, exist_ok=True)
    for config in city.configs:
        write_camera(config, home / "cameras")
    with Broker(BrokerConfig(home / "broker", free_port())) as broker:
        if not plan.live:
            with console.status("filling the topic"):
                publish((message for number in range(plan.seconds) for message in city.second(number)), broker.bootstrap)
        began_s = time.time()
        with ExitStack() as running:
            jobs = running.enter_context(_start_jobs(plan, home, broker.bootstrap, running))
            watch = running.enter_context(_Watch(broker.pid, jobs.pid))
            with console.status("tracking"):
                if plan.live:
                    await_ready(jobs, _status(home))
                    began_s = time.time() + _HEAD_START_S
                    city = city.beginning(int(began_s * 1e6))
                    messages = LiveMessages(city, plan.seconds, lambda: _require_alive(jobs))
                    publish(messages, broker.bootstrap)
                    worst_delay_s = messages.worst_delay_s
                    os.kill(jobs.pid, signal.SIGUSR1)
                jobs.check(_DRAIN_TIMEOUT_S)
        ended_s = time.time()
    return Run(plan, city, home, watch.samples, began_s, ended_s, worst_delay_s)


def _start_jobs(plan: Plan, home: Path, bootstrap: str, running: ExitStack) -> Child:
    job = job_settings(
        home,
        bootstrap,
        shards=plan.shards,
        shuffle_partitions=plan.partitions,
        trigger_s={"tracking": plan.tracking_s, "facts": plan.facts_s},
        spark={**(_SPARK if not plan.workers else {}), **plan.spark},
    )
    if not plan.live:
        job["max_offsets_per_trigger"] = plan.batch_s * plan.cameras
    options: list[str | Path] = ["--progress", home / "progress.jsonl", *([] if plan.live else ["--drain"])]
    if plan.workers:
        return _submit(plan, home, job, options, running)
    return start_jobs("jobs", home, plan.jobs, job, _status(home), options)


def _submit(plan: Plan, home: Path, job: dict[str, Any], options: list[str | Path], running: ExitStack) -> Child:
    """Start the tracking job on a standalone cluster, which ``running`` keeps up."""
    script = home / "tracking.py"
    lines = ("import sys", "from sightline_streaming.cli import main", "sys.exit(main(['tracking']))", "")
    script.write_text("\n".join(lines), encoding="utf-8")
    cluster = running.enter_context(StandaloneCluster(home / "cluster", plan.workers, cores=1, memory_mb=2048))
    settings = {"spark.cores.max": str(plan.workers), "spark.executor.cores": "1"}
    words = ["--config", write_job(home / "job.yaml", job), "--status", _status(home), *options]
    return cluster.submit("tracking", script, words, settings=settings, executor_memory_mb=2048)


def _status(home: Path) -> Path:
    return home / "status.json"


def _require_alive(jobs: Child) -> None:
    if jobs.exit_code is not None:
        raise jobs.failure()


class _Watch(Sampler):
    """Samples memory and processor time of the broker, the load (this process) and the jobs' processes by kind."""

    def __init__(self, broker_pid: int, jobs_pid: int) -> None:
        super().__init__(self._sample, _SAMPLE_S)
        self.samples: list[Sample] = []
        self._roots = {"broker": broker_pid, "driver's Python": jobs_pid, "load": os.getpid()}

    def _sample(self) -> None:
        at_s = time.time()
        sums: dict[str, list[float]] = {}
        for what, process in self._processes():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total = sums.setdefault(what, [0.0, 0.0])
                total[0] += memory_of(process) / 1e6
                total[1] += times.user + times.system
        self.samples += [Sample(at_s, what, memory_mb, cpu_s) for what, (memory_mb, cpu_s) in sums.items()]

    def _processes(self) -> list[tuple[str, psutil.Process]]:
        found = []
        for what, pid in self._roots.items():
            with suppress(psutil.NoSuchProcess):  # it has just ended
                root = psutil.Process(pid)
                found.append((what, root))
                if what == "driver's Python":
                    found += [(_kind(child), child) for child in root.children(recursive=True)]
        return found


def _kind(process: psutil.Process) -> str:
    try:
        return "JVM" if process.name() == "java" else "Python workers"
    except psutil.Error:
        return "Python workers"
