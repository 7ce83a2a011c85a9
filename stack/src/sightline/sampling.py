"""Looking at something again and again while a block lasts, and how much memory a process takes."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import psutil


class Sampler:
    """Calls ``look`` every ``period_s`` seconds, in a thread of its own: use it as a context manager."""

    def __init__(self, look: Callable[[], None], period_s: float) -> None:
        self._look = look
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._period_s):
            self._look()


def memory_of(process: psutil.Process) -> int:
    """Bytes that a process takes, 0 where it has ended.

    The proportional set size where the kernel tells it (pages that processes share count once, split among them), the resident
    set size elsewhere.
    """
    try:
        with open(f"/proc/{process.pid}/smaps_rollup", encoding="ascii") as rollup:  # noqa: PTH123  # a pseudo-file
            for line in rollup:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
