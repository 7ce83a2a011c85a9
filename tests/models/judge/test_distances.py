"""Distances between histograms against closed forms and SciPy."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from sightline_contract.rollout import LATENCY_EDGES_MS, SCORE_BINS
from sightline_models.judge import distances
from sightline_models.judge.dispersion import Dispersion
from sightline_models.judge.figures import Arm, ArmWindow
from sightline_models.judge.rules import Rules

histograms = st.lists(st.integers(0, 1000), min_size=SCORE_BINS, max_size=SCORE_BINS).filter(lambda counts: sum(counts) > 0)


@given(histograms, histograms)
def test_distances_are_not_negative_and_nothing_is_away_from_itself(first: list[int], second: list[int]) -> None:
    a, b = np.array(first, dtype=float), np.array(second, dtype=float)
    for distance in (distances.psi, distances.score_psi, distances.ks_distance, distances.total_variation):
        assert distance(a, b) >= 0
        assert np.isfinite(distance(a, b))
        assert distance(a, a) == pytest.approx(0, abs=1e-12)


def test_psi_is_the_sum_that_the_books_have() -> None:
    a, b = np.array([3000.0, 7000.0]), np.array([5000.0, 5000.0])
    assert distances.psi(a, b) == pytest.approx((0.3 - 0.5) * np.log(0.3 / 0.5) + (0.7 - 0.5) * np.log(0.7 / 0.5), rel=1e-3)


def test_the_kolmogorov_smirnov_distance_is_scipys() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, SCORE_BINS, 500), rng.integers(4, SCORE_BINS, 700)
    counts = [np.bincount(values, minlength=SCORE_BINS).astype(float) for values in (first, second)]
    assert distances.ks_distance(*counts) == pytest.approx(ks_2samp(first, second).statistic)


def test_a_latency_percentile_is_within_a_bin_of_the_real_one() -> None:
    latencies = np.random.default_rng(4).lognormal(3, 0.4, 20_000)
    counts = np.bincount(np.searchsorted(LATENCY_EDGES_MS, latencies), minlength=len(LATENCY_EDGES_MS) + 1).astype(float)
    for percent in (50, 95, 99):
        assert distances.latency_percentile(counts, percent) == pytest.approx(np.percentile(latencies, percent), rel=0.03)


def test_objects_seen_in_many_frames_count_as_one_each() -> None:
    rng = np.random.default_rng(5)
    windows = [_window(rng, index, objects=60, frames_each=40) for index in range(60)]
    measured = Dispersion.of(windows)
    assert 20 < measured.scores < 60
    independent = [_window(rng, index, objects=2400, frames_each=1) for index in range(60)]
    assert Dispersion.of(independent).scores < 2


def test_psi_of_a_few_objects_is_large_by_chance_and_known_to_be() -> None:
    rng = np.random.default_rng(6)
    windows = [_window(rng, index, objects=60, frames_each=40) for index in range(61)]
    dispersion = Dispersion.of(windows)
    counts = [np.array(window.score_counts, dtype=float) for window in windows]
    psis = [distances.score_psi(a, b) for a, b in pairwise(counts)]
    assert np.mean(psis) > Rules().margins.score_psi
    assert np.mean(psis) == pytest.approx(dispersion.psi_noise(counts[0], counts[1]), rel=0.5)


def _window(rng: np.random.Generator, index: int, objects: int, frames_each: int) -> ArmWindow:
    scores = rng.integers(0, SCORE_BINS, objects)
    counts = np.bincount(scores, minlength=SCORE_BINS) * frames_each
    return ArmWindow(index * 600_000_000, 600.0, Arm.CONTROL, 10, 30_000, 0, int(counts.sum()), tuple(counts.tolist()), {}, ())
