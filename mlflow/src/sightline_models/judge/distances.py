"""How far two histograms are apart, and what a histogram says: PSI, Kolmogorov-Smirnov, total variation, percentiles.

Nothing here is a test. Detections of one object in a hundred frames are one observation and not a hundred, so a p-value that
counts them as a hundred is wrong by orders of magnitude: distances are computed per window, and the windows are tested.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sightline_contract.rollout import LATENCY_EDGES_MS, SCORE_BINS

Counts = npt.NDArray[np.float64]

# The usual limits of a PSI (below 0.1 no change, above 0.25 a shift that asks for action) are meant for about ten bins that
# hold about as much each (Siddiqi, "Credit Risk Scorecards", 2006, ch. 9; Yurdakul & Naranjo, "Statistical properties of the
# population stability index", 2020).
PSI_GROUPS = 10
# Half a count in every bin (Krichevsky & Trofimov, 1981): an empty bin would make the logarithm infinite.
_SMOOTHING = 0.5

SCORE_CENTRES: Counts = (np.arange(SCORE_BINS) + 0.5) / SCORE_BINS


def counts_of(values: Sequence[float], bins: int) -> Counts:
    """Counts as an array of ``bins``; of an empty sequence, zeros."""
    return np.asarray(values, dtype=np.float64) if len(values) else np.zeros(bins)


def grouped(first: Counts, second: Counts, groups: int = PSI_GROUPS) -> tuple[Counts, Counts]:
    """Both histograms over at most ``groups`` runs of bins that hold about equal shares of ``second``, the reference."""
    shares = np.cumsum(second) / second.sum()
    # A bin belongs to the group in which its middle lies, so that a heavy bin stands alone.
    middles = shares - second / second.sum() / 2
    group = np.minimum((middles * groups).astype(np.int64), groups - 1)
    held = [np.bincount(group, counts, groups).astype(np.float64) for counts in (first, second)]
    return held[0], held[1]


def psi(first: Counts, second: Counts) -> float:
    """Population stability index: the sum of (p - q) ln(p / q) over bins, the symmetric Kullback-Leibler divergence."""
    used = (first + second) > 0
    p = first[used] + _SMOOTHING
    q = second[used] + _SMOOTHING
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((p - q) * np.log(p / q)))


def score_psi(first: Counts, second: Counts) -> float:
    """PSI of two score histograms over groups that hold equal shares of the second."""
    return psi(*grouped(first, second))


def ks_distance(first: Counts, second: Counts) -> float:
    """Largest difference of the cumulative shares at bins' edges: the Kolmogorov-Smirnov distance, as far as bins tell."""
    return float(np.max(np.abs(np.cumsum(first) / first.sum() - np.cumsum(second) / second.sum())))


def total_variation(first: Counts, second: Counts) -> float:
    """Share of the detections that would have to change their class for the mixes to be the same."""
    return float(np.abs(first / first.sum() - second / second.sum()).sum() / 2)


def mean_score(counts: Counts) -> float:
    """Mean of a score histogram, each bin counted at its middle."""
    return float(counts @ SCORE_CENTRES / counts.sum())


def class_counts(mixes: Sequence[Mapping[str, float]]) -> tuple[Counts, ...]:
    """Class mixes as arrays over the same classes, in the order of their names."""
    names = sorted({name for mix in mixes for name in mix})
    return tuple(np.array([mix.get(name, 0.0) for name in names], dtype=np.float64) for mix in mixes)


def latency_percentile(counts: Counts, percent: float) -> float:
    """The percentile in ms of a latency histogram (rollout.LATENCY_EDGES_MS), linear in the logarithm within a bin."""
    wanted = counts.sum() * percent / 100
    above = np.cumsum(counts)
    index = int(np.searchsorted(above, wanted))
    if index >= len(LATENCY_EDGES_MS):
        return LATENCY_EDGES_MS[-1]  # the open bin: at least that
    high = LATENCY_EDGES_MS[index]
    low = LATENCY_EDGES_MS[index - 1] if index else high * LATENCY_EDGES_MS[0] / LATENCY_EDGES_MS[1]
    inside = (wanted - (above[index] - counts[index])) / counts[index] if counts[index] else 1.0
    return float(low * (high / low) ** inside)
