"""Stages of a run: shown as progress bars while they last, kept as seconds afterwards. Stages may overlap."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


@dataclass(frozen=True)
class StageTime:
    """When a stage ran, in seconds since the run began."""

    name: str
    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """Length of the stage."""
        return self.end_s - self.start_s


@dataclass
class Stage:
    """A running stage; ``advance_to`` may be called from any thread."""

    name: str
    _progress: Progress
    _task: TaskID

    def advance_to(self, done: float, total: float | None = None) -> None:
        """Show ``done`` of ``total`` steps."""
        self._progress.update(self._task, completed=done, total=total)

    def advance(self) -> None:
        """Show one step more."""
        self._progress.advance(self._task)

    def say(self, text: str) -> None:
        """Show what the stage is at."""
        self._progress.update(self._task, note=text)


@dataclass
class Stages:
    """Progress display and stopwatch of a run."""

    console: Console
    times: list[StageTime] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._start = time.monotonic()
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<26}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self.console,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._start

    @contextmanager
    def stage(self, name: str, total: float | None = None) -> Iterator[Stage]:
        """Run a stage; it is ticked off when the block ends and marked when it fails."""
        task = self._progress.add_task(name, total=total, note="")
        start = self.elapsed_s
        try:
            yield Stage(name, self._progress, task)
        except BaseException:
            self._progress.update(task, description=f"[red]{name}", note="failed")
            raise
        finally:
            with self._lock:
                self.times.append(StageTime(name, start, self.elapsed_s))
        bar = next(t for t in self._progress.tasks if t.id == task)
        end = bar.total or 1
        self._progress.update(task, completed=end, total=end)
