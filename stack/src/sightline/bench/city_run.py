"""One run of a city through the real jobs: a Kafka broker, the load, and the jobs in a Spark driver, all on loopback.

A *backlog* lies in the topic before the jobs start, so that they are never short of input. A *live* city sends each message
when its last frame was captured, while the jobs run. What is kept below the home folder (progress, tables) is what figures are
made of: ``city_figures``.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import yaml
from rich.console import Console

from sightline.bench.city_load import Load
from sightline.broker import Broker, BrokerConfig
from sightline.cluster import StandaloneCluster
from sightline.demo.settings import write_camera
from sightline.jars import fetch_jars
from sightline.java import find_java
from sightline.ports import free_port
from sightline.processes import Child, start
from sightline.simulate.steady import SteadyCity
from sightline_contract.errors import StageError

_READY_TIMEOUT_S = 300.0
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
    facts_s: float = 5.0
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
    city = SteadyCity(plan.cameras, plan.fps, plan.objects, plan.seed, start_us)
    home.mkdir(parents=True, exist_ok=True)
    for config in city.configs:
        write_camera(config, home / "cameras")
    with Broker(BrokerConfig(home / "broker", free_port())) as broker:
        load = Load(city, broker.bootstrap)
        if not plan.live:
            with console.status("filling the topic"):
                load.send(plan.seconds)
        began_s = time.time()
        with ExitStack() as running:
            jobs = _start_jobs(plan, home, broker.bootstrap, running)
            watch = running.enter_context(_Watch(broker.pid, jobs.pid))
            with console.status("tracking"):
                if plan.live:
                    jobs.wait_until(lambda: _is_ready(home), _READY_TIMEOUT_S, "being ready")
                    began_s = time.time() + _HEAD_START_S
                    city = load.city = city.beginning(int(began_s * 1e6))
                    load.send_live(plan.seconds, lambda: _require_alive(jobs))
                    load.flush()
                    os.kill(jobs.pid, signal.SIGUSR1)
                jobs.check(_DRAIN_TIMEOUT_S)
        ended_s = time.time()
    return Run(plan, city, home, watch.samples, began_s, ended_s, load.worst_delay_s)


def _start_jobs(plan: Plan, home: Path, bootstrap: str, running: ExitStack) -> Child:
    job = {
        "kafka": {"bootstrap_servers": bootstrap},
        "table_root": str(home / "tables"),
        "checkpoint_root": str(home / "checkpoints"),
        "cameras": str(home / "cameras"),
        "shards": plan.shards,
        "shuffle_partitions": plan.partitions,
        "trigger_s": {"tracking": plan.tracking_s, "facts": plan.facts_s},
        "spark": {**(_SPARK if not plan.workers else {}), **plan.spark},
    }
    if not plan.live:
        job["max_offsets_per_trigger"] = plan.batch_s * plan.cameras
    file = home / "job.yaml"
    file.write_text(yaml.safe_dump(job, sort_keys=False), encoding="utf-8")
    options: list[str | Path] = ["--config", file, "--status", home / "status.json", "--progress", home / "progress.jsonl"]
    if plan.workers:
        script = home / "tracking.py"
        lines = ("import sys", "from sightline_streaming.cli import main", "sys.exit(main(['tracking']))", "")
        script.write_text("\n".join(lines), encoding="utf-8")
        cluster = running.enter_context(StandaloneCluster(home / "cluster", plan.workers, cores=1, memory_mb=2048))
        settings = {"spark.cores.max": str(plan.workers), "spark.executor.cores": "1"}
        return running.enter_context(
            cluster.submit("tracking", script, [*options, "--drain"], settings=settings, executor_memory_mb=2048)
        )
    jars = os.pathsep.join(str(jar) for jar in fetch_jars("spark"))
    command: list[str | Path] = [sys.executable, "-m", "sightline_streaming.cli", "--jobs", ",".join(plan.jobs), *options]
    command += ["--master", "local[2]", "--jars", jars, *([] if plan.live else ["--drain"])]
    child = start("jobs", command, home / "jobs.log", environment={"JAVA_HOME": str(find_java().home)}, working_dir=home)
    return running.enter_context(child)


def _is_ready(home: Path) -> bool:
    status = home / "status.json"
    return status.exists() and '"ready"' in status.read_text(encoding="utf-8")


def _require_alive(jobs: Child) -> None:
    if jobs.exit_code is not None:
        raise jobs.failure()


class _Watch:
    """Samples memory and processor time of the broker, the load (this process) and the jobs' processes by kind."""

    def __init__(self, broker_pid: int, jobs_pid: int) -> None:
        self.samples: list[Sample] = []
        self._roots = {"broker": broker_pid, "jobs": jobs_pid, "load": os.getpid()}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_all, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _sample_all(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            at_s = time.time()
            sums: dict[str, list[float]] = {}
            for what, process in self._processes():
                try:
                    times, memory = process.cpu_times(), process.memory_full_info().pss
                except (psutil.Error, OSError):
                    continue
                total = sums.setdefault(what, [0.0, 0.0])
                total[0] += memory / 1e6
                total[1] += times.user + times.system
            self.samples += [Sample(at_s, what, memory_mb, cpu_s) for what, (memory_mb, cpu_s) in sums.items()]

    def _processes(self) -> list[tuple[str, psutil.Process]]:
        found = []
        for what, pid in self._roots.items():
            try:
                root = psutil.Process(pid)
                found.append((what if what != "jobs" else "driver's Python", root))
                if what == "jobs":
                    found += [(_kind(child), child) for child in root.children(recursive=True)]
            except psutil.NoSuchProcess as error:
                if what == "broker":
                    raise StageError("the broker ended while the city was running: see its log") from error
        return found


def _kind(process: psutil.Process) -> str:
    try:
        return "JVM" if process.name() == "java" else "Python workers"
    except psutil.Error:
        return "Python workers"
