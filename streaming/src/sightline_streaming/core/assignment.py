"""Optimal assignment: which pairs to choose so that the sum of their values is largest.

``assign`` solves the dense rectangular problem by shortest augmenting paths (Jonker and Volgenant 1987, as laid out for
rectangles by Crouse 2016). ``match`` is what trackers need: pairs of value 0 are never made, and pairs that compete with
nobody, the usual case, are taken without solving anything.
"""

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.kernel import inner, kernel, leaf, leaf_kernel
from sightline_streaming.core.scratch import Scratch


@kernel
def assign(cost: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """Column of each row in an assignment of least total cost; needs rows <= columns and finite costs."""
    rows, columns = cost.shape
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    column_of, row_of = np.full(rows, -1, np.int32), np.full(columns, -1, np.int32)
    distance, came_from = np.empty(columns), np.empty(columns, np.int32)
    open_columns = np.empty(columns, np.int32)
    for start in range(rows):
        distance[:] = np.inf
        open_columns[:] = np.arange(columns)
        n_open, row, reached, sink = columns, start, 0.0, -1
        while sink < 0:
            nearest, nearest_at = np.inf, 0
            for k in range(n_open):
                column = open_columns[k]
                through = reached + cost[row, column] - row_price[row] - column_price[column]
                if through < distance[column]:
                    distance[column] = through
                    came_from[column] = row
                d = distance[column]
                if d < nearest or (d == nearest and row_of[column] < 0 <= row_of[open_columns[nearest_at]]):
                    nearest, nearest_at = d, k
            column = open_columns[nearest_at]
            n_open -= 1
            # Closed columns gather behind the open ones.
            open_columns[nearest_at], open_columns[n_open] = open_columns[n_open], column
            reached = nearest
            if row_of[column] < 0:
                sink = column
            else:
                row = row_of[column]
        row_price[start] += reached
        for k in range(n_open, columns):
            column = open_columns[k]
            if column != sink:
                row_price[row_of[column]] += reached - distance[column]
            column_price[column] -= reached - distance[column]
        column = sink
        while True:
            row = came_from[column]
            row_of[column] = row
            column_of[row], column = column, column_of[row]
            if row == start:
                break
    return column_of


@leaf_kernel
def match(
    value: npt.NDArray[np.float64], column_of: npt.NDArray[np.int32], row_of: npt.NDArray[np.int32], scratch: Scratch
) -> int:
    """Add to ``column_of`` and ``row_of`` (-1: none) the pairs with the largest sum of ``value``; returns how many.

    Values are >= 0, and 0 where a pair must not be made: so in every row and column that is already taken. Rows are the slots
    of ``scratch``, columns its detections.
    """
    rows, columns = value.shape
    row_count, column_count = scratch.row_count[:rows], scratch.column_count[:columns]
    column_count[:] = 0
    for i in range(rows):
        row_count[i] = _count_possible(value[i], column_count)
    pairs, contested = 0, False
    for i in range(rows):
        j = _first_possible(value[i]) if row_count[i] == 1 else -1
        if j >= 0 and column_count[j] == 1:
            column_of[i], row_of[j] = j, i
            row_count[i] = column_count[j] = 0
            pairs += 1
        elif row_count[i] > 0:
            contested = True
    if contested:
        pairs += _match_contested(value, column_of, row_of, row_count, column_count)
    return pairs


@leaf
def _count_possible(value: npt.NDArray[np.float64], column_count: npt.NDArray[np.int32]) -> int:
    """How many pairs of a row are possible, and one more in each of their columns; without a branch, several at once."""
    n = 0
    for j in range(value.shape[0]):
        possible = np.int32(value[j] > 0.0)
        n += int(possible)
        column_count[j] += possible
    return n


@leaf
def _first_possible(value: npt.NDArray[np.float64]) -> int:
    j = 0
    while not value[j] > 0.0:
        j += 1
    return j


@inner
def _match_contested(
    value: npt.NDArray[np.float64],
    column_of: npt.NDArray[np.int32],
    row_of: npt.NDArray[np.int32],
    row_count: npt.NDArray[np.int32],
    column_count: npt.NDArray[np.int32],
) -> int:
    rows, columns = _positive(row_count), _positive(column_count)
    n_rows, n_columns = rows.shape[0], columns.shape[0]
    upright = n_rows <= n_columns
    cost = np.empty((min(n_rows, n_columns), max(n_rows, n_columns)))
    for a in range(n_rows):
        for b in range(n_columns):
            if upright:
                cost[a, b] = -value[rows[a], columns[b]]
            else:
                cost[b, a] = -value[rows[a], columns[b]]
    chosen = assign(cost)
    pairs = 0
    for k in range(chosen.shape[0]):
        i, j = (rows[k], columns[chosen[k]]) if upright else (rows[chosen[k]], columns[k])
        if value[i, j] > 0.0:
            column_of[i], row_of[j] = j, i
            pairs += 1
    return pairs


@inner
def _positive(counts: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Where ``counts`` are above 0."""
    where = np.empty(counts.shape[0], np.int32)
    n = 0
    for k in range(counts.shape[0]):
        if counts[k] > 0:
            where[n] = k
            n += 1
    return where[:n]
