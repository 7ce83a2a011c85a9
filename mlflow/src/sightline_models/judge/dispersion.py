"""How many independent objects a count of detections stands for.

An object is detected in a hundred frames, and its scores are alike: a histogram of 10,000 detections may say no more than one
of a hundred. The design effect (Kish 1965; for tests on counts Rao & Scott, JASA 1981) is the factor by which counts vary more
than independent ones would. It is measured, from how much successive windows of the control differ: the control's, since a
bad version must not be able to make its own windows look uncertain.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sightline_contract.rollout import SCORE_BINS
from sightline_models.judge.distances import PSI_GROUPS, Counts, counts_of, grouped
from sightline_models.judge.figures import ArmWindow

# The median of a squared standard normal variable: a few windows in which the street itself changes must not count.
_MEDIAN_CHI2_1 = 0.4549


@dataclass(frozen=True)
class Dispersion:
    """Detections for each independent object: in score histograms, and in numbers of detections; at least 1."""

    scores: float = 1.0
    counts: float = 1.0

    @staticmethod
    def of(windows: Sequence[ArmWindow]) -> "Dispersion":
        """Of one arm's windows by time; of fewer than three, 1."""
        if len(windows) < 3:
            return Dispersion()
        scores, counts = list(_score_ratios(windows)), list(_count_ratios(windows))
        return Dispersion(
            scores=max(float(np.median(scores)), 1.0) if scores else 1.0,
            counts=max(float(np.median(counts)) / _MEDIAN_CHI2_1, 1.0) if counts else 1.0,
        )

    def psi_noise(self, first: Counts, second: Counts) -> float:
        """PSI that two samples of one distribution have on average (Yurdakul & Naranjo 2020), for so many objects."""
        groups = PSI_GROUPS - 1
        return groups * self.scores * (1 / max(float(first.sum()), 1.0) + 1 / max(float(second.sum()), 1.0))


def _score_ratios(windows: Sequence[ArmWindow]) -> Iterator[float]:
    """Chi-squared of homogeneity over its degrees of freedom, of each two successive windows."""
    histograms = [counts_of(window.score_counts, SCORE_BINS) for window in windows]
    total = np.sum(histograms, axis=0)
    if not total.sum():
        return
    held = [grouped(histogram, total)[0] for histogram in histograms]
    for a, b in pairwise(held):
        if a.sum() and b.sum():
            used = a + b > 0
            ratio = np.sqrt(b.sum() / a.sum())
            chi2 = np.sum((ratio * a[used] - b[used] / ratio) ** 2 / (a + b)[used])
            yield float(chi2 / max(used.sum() - 1, 1))


def _count_ratios(windows: Sequence[ArmWindow]) -> Iterator[float]:
    """Squared differences of successive rates over their variance, were detections independent."""
    for a, b in pairwise(windows):
        if a.frames and b.frames and a.detections + b.detections:
            rate = (a.detections + b.detections) / (a.frames + b.frames)
            variance = rate * (1 / a.frames + 1 / b.frames)
            yield (a.detections / a.frames - b.detections / b.frames) ** 2 / variance
