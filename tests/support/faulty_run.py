"""The tracking and facts jobs as a real driver of their own, which a test kills, starves and starts again.

A run keeps its tables, checkpoints, logs and status in one folder. How long a recovery took is told to ``recoveries``, which
the run's summary and ``build/faults.json`` show.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from deltalake import DeltaTable
from faulty_city import LATENESS_S, WINDOW_S

from sightline.demo.settings import write_camera
from sightline.jobs_process import await_ready, job_settings, start_jobs
from sightline.processes import Child
from sightline_contract.camera import CameraConfig
from sightline_lakehouse.tables import TRACKER_FACTS, Table

_START_TIMEOUT_S = 240.0

notes: list[str] = []
"""What a run has measured besides, a line each, for the summary."""

recoveries: list[tuple[str, float]] = []
"""(fault, seconds from the restart, or from the fault where the driver lives on, to the next commit of facts)."""


@dataclass
class FaultyRun:
    """One installation and its driver."""

    home: Path
    bootstrap: str
    cameras: Sequence[CameraConfig]
    # 60 messages in a micro-batch are ten seconds of a SmallCity.
    settings: dict[str, Any] = field(default_factory=dict)
    root: Path | None = None  # of tables and checkpoints, where they are not to lie in home
    _child: Child | None = None
    _starts: int = 0

    def __post_init__(self) -> None:
        for camera in self.cameras:
            write_camera(camera, self.home / "cameras")

    @property
    def tables(self) -> Path:
        return (self.root or self.home) / "tables"

    @property
    def checkpoints(self) -> Path:
        return (self.root or self.home) / "checkpoints"

    @property
    def driver(self) -> Child:
        assert self._child is not None, "no driver was started"
        return self._child

    def start(self, *options: str, jobs: str = "tracking,facts", ready: bool = False) -> Child:
        """Start the driver; with ``ready``, wait until it takes input."""
        self._starts += 1
        status = self.home / "status.json"
        status.unlink(missing_ok=True)
        self._child = self.spawn(f"driver-{self._starts}", status, *options, jobs=jobs)
        if ready:
            await_ready(self._child, status)
        return self._child

    def spawn(self, name: str, status: Path, *options: str, jobs: str = "tracking,facts") -> Child:
        """Start a driver beside the run's own."""
        job = job_settings(
            self.home,
            self.bootstrap,
            window_s=WINDOW_S,
            allowed_lateness_s=LATENESS_S,
            trigger_s={"tracking": 0.1, "facts": 0.1},
            max_offsets_per_trigger=60,
        )
        places = {"table_root": str(self.tables), "checkpoint_root": str(self.checkpoints)}
        return start_jobs(name, self.home, jobs.split(","), job | places | self.settings, status, options)

    def kill(self) -> None:
        """SIGKILL for the driver: its Python, its JVM and its Python workers at once."""
        parent = psutil.Process(self.driver.pid)
        family = [parent, *parent.children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):  # a worker whose JVM is gone ends by itself
                process.kill()
        psutil.wait_procs(family[1:], timeout=20)
        assert self.driver.wait(20) == -signal.SIGKILL

    def kill_workers(self) -> int:
        """SIGKILL for the Python workers and the process that forks them; returns how many there were."""
        killed = 0
        for process in psutil.Process(self.driver.pid).children(recursive=True):
            with suppress(psutil.Error):  # it ended by itself meanwhile
                if "pyspark.daemon" in process.cmdline():
                    process.kill()
                    killed += 1
        return killed

    def commits(self, table: Table = TRACKER_FACTS) -> int:
        """How often the table was written to."""
        return len(list((self.tables / table.path / "_delta_log").glob("0*.json"))) - 1

    def wait_for_commits(self, count: int, table: Table = TRACKER_FACTS, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Wait until the table was written to ``count`` times; raises StageError where the driver ends before."""
        self.driver.wait_until(lambda: self.commits(table) >= count, timeout_s, f"{count} commits of {table.full_name}")

    def finish(self, fault: str | None = None, *, jobs: str = "tracking,facts") -> None:
        """Start again, take all that is there, end; measures the recovery from ``fault``."""
        before = self.commits()
        with self.recovery(fault) if fault else _nothing():
            self.start("--drain", jobs=jobs)
            if fault:
                self.wait_for_commits(before + 1)
        self.driver.check(_START_TIMEOUT_S)

    def drain(self) -> None:
        """Let the running driver take all that is there and end."""
        os.kill(self.driver.pid, signal.SIGUSR1)
        self.driver.check(_START_TIMEOUT_S)

    @contextmanager
    def recovery(self, fault: str) -> Iterator[None]:
        """Measures how long the block takes to bring the next commit of facts."""
        began = time.monotonic()
        yield
        recoveries.append((fault, time.monotonic() - began))

    def last_words(self) -> str:
        """What the driver, which has ended with an error, says: exactly one line of ours."""
        assert self.driver.wait(_START_TIMEOUT_S) == 1
        return last_words(self.driver)

    def stop(self) -> None:
        """End whatever still runs."""
        if self._child is not None:
            self._child.stop(5)


def last_words(child: Child) -> str:
    """The one line of ours in a log."""
    (line,) = [line for line in child.log_path.read_text(encoding="utf-8").splitlines() if line.startswith("error: ")]
    return line


def leave_between_commits(checkpoint: Path, tables: Sequence[Path]) -> None:
    """Make of a killed driver one that was killed after a sink's commit to ``tables`` and before Spark's own."""
    last = max(int(path.name) for path in (checkpoint / "commits").iterdir() if path.name.isdigit())
    query_id = json.loads((checkpoint / "metadata").read_text(encoding="utf-8"))["id"]
    if any((DeltaTable(str(table)).transaction_version(query_id) or 0) > last for table in tables):
        return  # it was killed there by itself; Spark never forgets which messages such a batch has
    # Spark may have begun the next batch already: it had not, when it was killed in between.
    for log in (checkpoint / "commits", checkpoint / "offsets"):
        for path in log.iterdir():
            number = path.name.removeprefix(".").removesuffix(".crc")
            if number.isdigit() and int(number) >= last + (log.name == "offsets"):
                path.unlink()


def save(recovered: Sequence[tuple[str, float]], path: Path) -> None:
    """Add what was measured to a JSON file of all measurements so far, by fault."""
    known: dict[str, list[float]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for fault, seconds in recovered:
        known.setdefault(fault, []).append(round(seconds, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


def damage(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a file's bytes, as a bad disk does: what stands beside it does not follow."""
    path.write_bytes(change(path.read_bytes()))


def copy_of(folder: Path, to: Path) -> Path:
    """A copy of a folder."""
    return Path(shutil.copytree(folder, to))


@contextmanager
def _nothing() -> Iterator[None]:
    yield
