"""Tests that may be looked at after every window: e-processes by betting, and intervals that hold at all times at once.

The replicate is a pair of windows, not a frame: what is counted is whether the canary left its margin in a window. A good
version does so in at most a share ``p0`` of the windows, whatever came before (that conditional form, and not independence,
is all that is assumed). Against it a gambler bets: staking on "bad" at odds that are fair at p0, his wealth is a non-negative
supermartingale under every good version, so it ever reaches 1/alpha with probability at most alpha (Ville 1939), however
often it is looked at. Wealth under mixtures of stakes is again such a wealth.

Sources: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS-B 2024; Howard, Ramdas,
McAuliffe & Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 2021; Ramdas,
Grünwald, Vovk & Shafer, "Game-theoretic statistics and safe anytime-valid inference", Statistical Science 2023; for starts
at unknown times Shin, Ramdas & Rinaldo, "E-detectors", 2023; for quantiles Howard & Ramdas, Bernoulli 2022.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import betaln

Floats = npt.NDArray[np.float64]

_STAKES = 8  # alternatives that are betted on at once, from just above p0 to nearly always


def _alternatives(p0: float) -> Floats:
    """Shares of bad windows that are betted on: log-spaced in what they leave of the good ones."""
    return 1 - (1 - p0) * np.geomspace(0.75, 0.01, _STAKES)


def _log_payoffs(bad: npt.NDArray[np.bool_], p0: float) -> Floats:
    """(windows, stakes): logarithm of what each stake is multiplied by; its expectation is at most 1 for shares up to p0."""
    p1 = _alternatives(p0)
    return np.where(bad[:, None], np.log(p1 / p0), np.log((1 - p1) / (1 - p0)))


def log_wealth(bad: Sequence[bool], blocks: Sequence[int], p0: float, horizon: int) -> float:
    """Logarithm of the gambler's wealth after all windows; see ``log_wealth_path``."""
    return float(log_wealth_path(bad, blocks, p0, horizon)[-1]) if bad else 0.0


def log_wealth_path(bad: Sequence[bool], blocks: Sequence[int], p0: float, horizon: int) -> Floats:
    """Logarithm of the gambler's wealth after each window: a third each on three ways of being bad.

    Always; from some window on (all starts at once, whose shares of the stake sum to one over all time; ``horizon`` is the
    number of windows that share half of it); at some hours of the day only (``blocks``: each window's hour, each hour's
    stake waits for its own windows). So a version that misbehaves at night is found within the night.
    """
    payoffs = _log_payoffs(np.asarray(bad, dtype=np.bool_), p0)
    hours = np.asarray(blocks)
    parts = [_mean(payoffs.cumsum(axis=0)), _from_some_window_on(payoffs, horizon), _by_hour(payoffs, hours)]
    return np.asarray(np.logaddexp.reduce(parts) - math.log(len(parts)))


def _mean(log_values: Floats) -> Floats:
    """Logarithm of the mean over the last axis."""
    return np.asarray(np.logaddexp.reduce(log_values, axis=-1) - math.log(log_values.shape[-1]))


def _from_some_window_on(payoffs: Floats, horizon: int) -> Floats:
    """Wealth of stakes that start at every window; what has not started yet is still held."""
    shares = start_shares(len(payoffs), horizon)
    started = np.full(payoffs.shape[1], -np.inf)
    path = np.empty_like(payoffs)
    for index, (share, payoff) in enumerate(zip(np.log(shares), payoffs, strict=True)):
        started = np.logaddexp(started, share) + payoff
        path[index] = started
    held = np.maximum(1 - shares.cumsum(), 1e-12)
    return np.asarray(np.logaddexp(_mean(path), np.log(held)))


def _by_hour(payoffs: Floats, hours: npt.NDArray[np.int64]) -> Floats:
    """Wealth with a 24th of the stake on each hour of the day."""
    own = hours[None, :, None] == np.arange(24)[:, None, None]
    return _mean(_mean(np.where(own, payoffs, 0.0).cumsum(axis=1)).T)


def start_shares(windows: int, horizon: int) -> Floats:
    """Shares of the stake by the window at which they start; they sum to one over infinitely many windows."""
    number = np.arange(1, windows + 1, dtype=np.float64)
    later = horizon / np.maximum(number * (number - 1), 1)
    return np.where(number <= horizon, 1 / horizon, later) / 2


def log_wealth_of_nodes(bad: int, nodes: int, p0: float) -> float:
    """The same with nodes as replicates: ``bad`` of ``nodes`` failed so far.

    Failures only add up and each raises the wealth, so looking on the way gains nothing over the end: it holds at all times.
    """
    if not nodes or p0 >= 1:
        return 0.0
    p1 = _alternatives(p0)
    return float(_mean(bad * np.log(p1 / p0) + (nodes - bad) * np.log((1 - p1) / (1 - p0))))


def median_interval(values: Sequence[float], alpha: float) -> tuple[float | None, float | None]:
    """Bounds of the median that hold at all times at once with probability 1 - alpha; None where values are too few.

    Each value is above the median or not, like a coin's side: the counts that a uniform mixture of coins does not beat the fair
    one by 1/alpha remain (Robbins 1970). No limit or shape of the values is assumed.
    """
    n = len(values)
    below = np.arange(n + 1)
    log_evidence = betaln(below + 1, n - below + 1) + n * math.log(2)
    possible = below[log_evidence < math.log(1 / alpha)]
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    # The median lies at or above the k-th value unless fewer than k values lie below it.
    low = float(ordered[possible[0] - 1]) if n and possible[0] >= 1 else None
    high = float(ordered[possible[-1]]) if n and possible[-1] < n else None
    return low, high
