"""Peak memory of this process and all its children."""

import os
import threading
from types import TracebackType
from typing import Self

import psutil

_PERIOD_S = 1.0


class PeakMemory:
    """Samples the process tree once a second while the block lasts.

    Counts the proportional set size where the kernel tells it (pages that processes share count once, split among them),
    the resident set size elsewhere.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process(os.getpid())
        while not self._stop.wait(_PERIOD_S):
            self.peak_bytes = max(self.peak_bytes, sum(map(_bytes_of, [me, *me.children(recursive=True)])))


def _bytes_of(process: psutil.Process) -> int:
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
