"""What a model did on this node since the last report: cheap to count on every frame, taken by whoever reports.

Frames are counted in the frame loop's thread, the shadow's in its own, and both are taken in a third: each has a lock.
"""

import threading
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from sightline_contract.agreement import Agreement
from sightline_contract.rollout import LATENCY_EDGES_MS, SCORE_BINS, Figures, ModelRef, Slot
from sightline_edge.postprocessing import Detections


class SlotFigures:
    """Counts of one model in one slot."""

    def __init__(self, ref: ModelRef, slot: Slot, labels: Sequence[str]) -> None:
        """``labels`` are the model's."""
        self.ref = ref
        self.slot = slot
        self._labels = tuple(labels)
        self._lock = threading.Lock()
        self._clear()

    def add(self, found: Detections, latency_ms: float | None = None) -> None:
        """One frame's detections; ``latency_ms`` of the inference, once where it took several frames."""
        bins = np.minimum((found.scores * SCORE_BINS).astype(np.int64), SCORE_BINS - 1) if len(found) else None
        with self._lock:
            self._frames += 1
            if bins is not None:
                self._scores += np.bincount(bins, minlength=SCORE_BINS)
                self._classes += np.bincount(found.labels, minlength=len(self._classes))
            if latency_ms is not None:
                place = bisect_left(LATENCY_EDGES_MS, latency_ms)
                self._latencies[place] = self._latencies.get(place, 0) + 1

    def add_agreement(self, agreement: Agreement) -> None:
        """One frame's agreement of the live model (first) with this one (second)."""
        with self._lock:
            self._agreement += agreement

    def add_errors(self, frames: int) -> None:
        """Frames on which the model failed; they are not among those that ``add`` counts."""
        with self._lock:
            self._errors += frames

    def take(self) -> Figures | None:
        """What was counted since the last call; None where nothing was."""
        with self._lock:
            figures = self._figures() if self._frames or self._errors else None
            if figures is not None:
                self._clear()
        return figures

    def _clear(self) -> None:
        self._frames = 0
        self._errors = 0
        self._scores = np.zeros(SCORE_BINS, np.int64)
        self._classes = np.zeros(max(1, len(self._labels)), np.int64)
        # By place: few of the 242 are ever used, and a fleet's simulator has a thousand of these.
        self._latencies: dict[int, int] = {}
        self._agreement = Agreement()

    def _figures(self) -> Figures:
        latencies = [0] * (len(LATENCY_EDGES_MS) + 1)
        for place, count in self._latencies.items():
            latencies[place] = count
        agreement = self._agreement
        return Figures(
            model_name=self.ref.model_name,
            model_version=self.ref.model_version,
            slot=self.slot,
            frames=self._frames,
            errors=self._errors,
            detections=int(self._scores.sum()),
            score_counts=tuple(self._scores.tolist()),
            class_counts={self._labels[i]: int(self._classes[i]) for i in np.flatnonzero(self._classes)},
            latency_counts=tuple(latencies),
            matched=agreement.matched,
            only_live=agreement.only_first,
            only_shadow=agreement.only_second,
            iou_sum=agreement.iou_sum,
            score_gap_sum=agreement.score_gap_sum,
        )
