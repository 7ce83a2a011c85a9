"""Guarantees of the tests that may be looked at after every window, by simulation with fixed seeds."""

import math

import numpy as np
import pytest

from sightline_models.judge.metrics import LABELS
from sightline_models.judge.sequential import log_wealth, log_wealth_of_nodes, log_wealth_path, median_interval, start_shares

P0 = 0.2
ALPHA = 0.05


def _ever(bad: np.ndarray, threshold: float, p0: float = P0) -> int | None:
    """The first window after which the wealth reaches the threshold; None if it never does."""
    hours = (np.arange(len(bad)) // 6) % 24
    path = log_wealth_path(bad.tolist(), hours.tolist(), p0, 144)
    reached = np.flatnonzero(path >= math.log(threshold))
    return int(reached[0]) + 1 if reached.size else None


def test_the_path_is_the_wealth_after_each_window() -> None:
    bad = (np.random.default_rng(7).random(40) < 0.4).tolist()
    hours = [index // 6 for index in range(40)]
    path = log_wealth_path(bad, hours, P0, 144)
    assert path.tolist() == pytest.approx([log_wealth(bad[:n], hours[:n], P0, 144) for n in range(1, 41)])


def test_a_version_at_the_edge_of_good_is_seldom_condemned_however_often_one_looks() -> None:
    rng = np.random.default_rng(1)
    runs = 2000
    alarms = sum(_ever(rng.random(144) < P0, 1 / ALPHA) is not None for _ in range(runs))
    # Three standard deviations of a binomial at alpha.
    assert alarms / runs <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)


def test_a_fixed_test_that_is_looked_at_often_fools_itself() -> None:
    """What the betting is for: the same looks with a binomial test of fixed size."""
    rng = np.random.default_rng(1)
    from scipy.stats import binom

    def ever(bad: np.ndarray) -> bool:
        seen = np.cumsum(bad)
        return bool(np.any(binom.sf(seen - 1, np.arange(1, len(bad) + 1), P0) < ALPHA))

    alarms = sum(ever(rng.random(72) < P0) for _ in range(200))
    assert alarms / 200 > 2 * ALPHA


@pytest.mark.parametrize("quiet", [0, 60, 130])
def test_a_version_that_turns_bad_is_found_within_two_hours_of_windows(quiet: int) -> None:
    bad = np.concatenate([np.zeros(quiet, dtype=bool), np.ones(12, dtype=bool)])
    number = _ever(bad, len(LABELS) * 4 / ALPHA)
    assert number is not None
    assert quiet < number <= quiet + 12


def test_one_bad_hour_of_every_day_adds_up_over_days() -> None:
    day = np.zeros(144, dtype=bool)
    day[60:66] = True
    once, thrice = day, np.tile(day, 3)
    hours = [(i // 6) % 24 for i in range(len(thrice))]
    assert log_wealth(thrice.tolist(), hours, P0, 144) > log_wealth(once.tolist(), hours[:144], P0, 144) + math.log(100)


def test_stakes_of_all_starts_never_exceed_what_the_gambler_has() -> None:
    assert start_shares(10, 10).sum() == pytest.approx(0.5)
    assert start_shares(100_000, 10).sum() < 1


def test_expected_wealth_of_a_good_version_is_at_most_one() -> None:
    """Exactly, over all outcomes of eight windows."""
    outcomes = [[bool(number >> i & 1) for i in range(8)] for number in range(256)]
    hours = [0, 0, 1, 1, 2, 2, 3, 3]
    mean = sum(P0 ** sum(bad) * (1 - P0) ** (8 - sum(bad)) * math.exp(log_wealth(bad, hours, P0, 8)) for bad in outcomes)
    assert mean == pytest.approx(1.0)


def test_nodes_that_fail_are_evidence_and_nodes_that_do_not_are_not() -> None:
    assert log_wealth_of_nodes(3, 5, 0.01) > math.log(1000)
    assert log_wealth_of_nodes(1, 50, 0.01) < math.log(20)
    assert log_wealth_of_nodes(0, 50, 0.01) <= 0


def test_the_interval_holds_the_median_at_all_times_at_once() -> None:
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(200):
        values = rng.standard_cauchy(60).tolist()
        bounds = [median_interval(values[:n], 0.1) for n in range(1, 61)]
        missed += any((low is not None and low > 0) or (high is not None and high < 0) for low, high in bounds)
    assert missed / 200 <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / 200)


def test_the_interval_of_too_few_values_is_open() -> None:
    assert median_interval([], 0.05) == (None, None)
    assert median_interval([1.0, 2.0], 0.05) == (None, None)
