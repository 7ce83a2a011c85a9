"""Peak memory of this process and all its children."""

import os

import psutil

from sightline.sampling import Sampler, memory_of

_PERIOD_S = 1.0


class PeakMemory(Sampler):
    """Samples the process tree once a second while the block lasts."""

    def __init__(self) -> None:
        super().__init__(self._sample, _PERIOD_S)
        self.peak_bytes = 0

    def _sample(self) -> None:
        me = psutil.Process(os.getpid())
        self.peak_bytes = max(self.peak_bytes, sum(map(memory_of, [me, *me.children(recursive=True)])))
