"""Engines that simulated nodes share: a model's file is loaded once, however many nodes run it.

It is the one thing in which a simulated node is lighter than a real one. Every call goes through the real detector, and each
node has its own record of what its model did.
"""

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sightline_contract.model_card import ModelCard, load_card
from sightline_contract.model_files import ModelFiles
from sightline_contract.targets import Target
from sightline_edge.detector import Detector
from sightline_edge.frame import Pixels
from sightline_edge.postprocessing import Detections
from sightline_edge.preprocessing import Prepared

_MIN_SCORE = 0.1
MAX_BATCH = 4


class SharedEngine:
    """A node's view of a detector that others use, too: its own timings, and nothing to close."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.card: ModelCard = detector.card
        self.digest: bytes = detector.digest
        self.max_batch = detector.max_batch
        self.inference_ms: deque[float] = deque(maxlen=8)

    def prepare(self, pixels: Pixels) -> Prepared:
        """The tensor of a picture."""
        return self._detector.prepare(pixels)

    def detect(self, pictures: Sequence[Prepared]) -> list[Detections]:
        """Detections of pictures; raises ModelError where the model fails."""
        found = self._detector.detect(pictures)
        self.inference_ms.append(self._detector.inference_ms[-1])
        return found

    def inference_percentile_ms(self, percent: float) -> float:
        """Time of one call, of all nodes' latest calls."""
        return self._detector.inference_percentile_ms(percent)

    def warm(self) -> None:
        """Run once for nobody: what the processor's caches know of a version shall not depend on how many nodes have it."""
        width, height = self.card.input.size
        blank = self._detector.prepare(np.zeros((height, width, 3), np.uint8))
        self._detector.detect([blank] * self.max_batch)

    def close(self) -> None:
        """Nothing: others use it."""


class Engines:
    """Detectors by the digest of their model's file."""

    def __init__(self) -> None:
        self._detectors: dict[str, Detector] = {}

    def load(self, files: Path | ModelFiles, target: Target | None = None) -> SharedEngine:
        """An engine of a model, as a node's agent asks for it; raises ModelError or ConfigError."""
        del target  # of either kind of hardware: this machine runs it
        digest = load_card(files).digest
        if digest not in self._detectors:
            # A thread's own time: all nodes share this machine, and what else it does is no version's fault.
            self._detectors[digest] = Detector(files, _MIN_SCORE, 1, MAX_BATCH, clock_s=time.thread_time)
        return SharedEngine(self._detectors[digest])
