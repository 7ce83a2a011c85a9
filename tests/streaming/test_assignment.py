import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from sightline_streaming.core.assignment import assign, match
from sightline_streaming.core.scratch import scratch_for


@settings(max_examples=200)
@given(st.integers(1, 12), st.integers(0, 6), st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 3]))
def test_an_assignment_costs_as_little_as_scipy_s(rows, more, seed, decimals):
    # Few decimals make ties, which is where augmenting paths go wrong.
    cost = np.round(np.random.default_rng(seed).normal(0, 2, (rows, rows + more)), decimals)
    chosen = assign(cost)
    best = linear_sum_assignment(cost)
    assert len(set(chosen)) == rows
    assert cost[np.arange(rows), chosen].sum() == pytest.approx(cost[best].sum())


@settings(max_examples=200)
@given(st.integers(0, 9), st.integers(0, 9), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_matching_sparse_pairs_is_worth_as_much_as_scipy_s(rows, columns, density, seed):
    random = np.random.default_rng(seed)
    value = np.where(random.random((rows, columns)) < density, random.random((rows, columns)), 0.0)
    column_of, row_of = np.full(rows, -1, np.int32), np.full(columns, -1, np.int32)
    pairs = match(value, column_of, row_of, scratch_for(*value.shape))
    matched = [(i, j) for i, j in enumerate(column_of) if j >= 0]
    assert len(matched) == pairs
    assert all(row_of[j] == i and value[i, j] > 0 for i, j in matched)
    assert np.count_nonzero(row_of >= 0) == pairs
    best = linear_sum_assignment(value, maximize=True)
    assert sum(value[i, j] for i, j in matched) == pytest.approx(value[best].sum())


def test_the_best_sum_beats_the_best_pair():
    value = np.array([[0.9, 0.8], [0.8, 0.0]])
    column_of, row_of = np.full(2, -1, np.int32), np.full(2, -1, np.int32)
    match(value, column_of, row_of, scratch_for(*value.shape))
    assert column_of.tolist() == [1, 0]


def test_a_pair_without_value_is_never_made():
    column_of, row_of = np.full(2, -1, np.int32), np.full(3, -1, np.int32)
    assert match(np.zeros((2, 3)), column_of, row_of, scratch_for(2, 3)) == 0
    assert column_of.tolist() == [-1, -1]
