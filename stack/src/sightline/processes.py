"""Child processes of the local stack: each with a log file, a process group of its own, and a graceful end.

A child gets its own session, so that Ctrl-C in the terminal reaches only the parent, which then stops the children in
the right order. A child that is ``tied`` ends with the parent even if the parent is killed; one that is not outlives it
(``sightline up``).
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from sightline_contract.errors import StageError

_TIED = Path(__file__).with_name("tied.py")
_POLL_INTERVAL_S = 0.05
_LOG_TAIL_BYTES = 64 * 1024
_STACK_FRAME = re.compile(r"(at \S+\(|\.\.\. \d+ (more|common))")  # as a JVM prints it, below the exception's own line

# The kernel ends a tied child with the *thread* that started it: so one thread that lives as long as the process starts all.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="process-starter")


class Child:
    """A running child process."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._process = process

    @property
    def pid(self) -> int:
        """Process id, which is the process group's as well."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll()

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end; returns the exit code. Raises TimeoutError."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{self.name} still runs after {timeout_s} s") from error

    def check(self, timeout_s: float | None = None) -> None:
        """Wait for the end; raises StageError with the reason that the log gives when it ended with an error."""
        if self.wait(timeout_s) != 0:
            raise self.failure()

    def wait_until(self, ready: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait until ``ready()``; raises StageError if the child ends before that, or the time is over."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self.exit_code is not None:
                raise self.failure()
            if time.monotonic() > deadline:
                raise StageError(f"{self.name}: {what} not within {timeout_s:.0f} s: see {self.log_path}")
            time.sleep(_POLL_INTERVAL_S)

    def stop(self, grace_s: float = 20) -> int:
        """SIGTERM, then after ``grace_s`` SIGKILL for the whole process group; returns the exit code. Safe to repeat."""
        if self.exit_code is None:
            self._process.terminate()
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                kill_group(self.pid)
                self._process.wait()
        kill_group(self.pid)  # what the child itself has started and left behind
        return self._process.wait()

    def failure(self) -> StageError:
        """The error of a child that ended too early or badly."""
        why = reason(self.log_path)
        because = f": {why}" if why else ""
        return StageError(f"{self.name} ended with exit code {self.exit_code}{because} (log: {self.log_path})")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def start(
    name: str,
    command: Sequence[str | Path],
    log_path: Path,
    *,
    tied: bool = True,
    environment: Mapping[str, str] | None = None,
    working_dir: Path | None = None,
) -> Child:
    """Start ``command`` with both outputs going to ``log_path`` (begun anew); ``environment`` is added to this process's."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    words = [str(word) for word in command]
    if tied:
        words = [sys.executable, "-I", "-S", str(_TIED), str(os.getpid()), *words]

    def spawn() -> "subprocess.Popen[bytes]":
        with log_path.open("wb") as log:
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=working_dir,
                start_new_session=True,
            )

    return Child(name, _starter.submit(spawn).result(), log_path)


def kill_group(group_id: int) -> None:
    """SIGKILL every process that is left in the group; nothing happens when none is."""
    try:
        os.killpg(group_id, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def last_line(log_path: Path) -> str:
    """The newest line of a log that is not blank; "" if there is none."""
    return next(iter(_newest_lines(log_path)), "")


def reason(log_path: Path) -> str:
    """The line of a log that tells best why the process ended: the newest that is no stack frame; "" if there is none."""
    told = (line for line in _newest_lines(log_path) if not _STACK_FRAME.match(line))
    return next(told, "").removeprefix("error: ")


def _newest_lines(log_path: Path) -> list[str]:
    """The lines at the end of a log, newest first, without blank ones."""
    try:
        with log_path.open("rb") as log:
            log.seek(max(0, log_path.stat().st_size - _LOG_TAIL_BYTES))
            tail = log.read().decode(errors="replace")
    except OSError:
        return []
    return [line.strip() for line in reversed(tail.splitlines()) if line.strip()]
