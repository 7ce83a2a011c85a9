"""Lines and zones on the picture: y grows downwards, so forward over a line walked to the right is from above to below."""

import numpy as np
import pytest

from sightline_streaming.core.geometry import cut_at, is_inside, length_of, side_of

RIGHTWARDS = np.array([100.0, 300.0, 500.0, 300.0])


def cut(line: np.ndarray, start: tuple[float, float], end: tuple[float, float]) -> float:
    length = length_of(line)
    return cut_at(line, *start, *end, side_of(line, length, *start), side_of(line, length, *end))


def test_above_a_line_that_runs_to_the_right_is_its_left_hand_side() -> None:
    assert side_of(RIGHTWARDS, 400.0, 200.0, 250.0) == pytest.approx(-50.0)
    assert side_of(RIGHTWARDS, 400.0, 200.0, 320.0) == pytest.approx(20.0)


def test_left_of_a_line_that_runs_down_is_its_right_hand_side() -> None:
    downwards = np.array([300.0, 0.0, 300.0, 400.0])
    assert side_of(downwards, 400.0, 200.0, 100.0) == pytest.approx(100.0)


def test_a_step_cuts_the_line_where_it_meets_it() -> None:
    assert cut(RIGHTWARDS, (200.0, 280.0), (200.0, 360.0)) == pytest.approx(0.25)


def test_a_step_beyond_the_ends_does_not_cut() -> None:
    assert cut(RIGHTWARDS, (50.0, 280.0), (50.0, 360.0)) == -1.0
    assert cut(RIGHTWARDS, (501.0, 280.0), (501.0, 360.0)) == -1.0


def test_a_path_through_the_joint_of_two_lines_cuts_one_of_them() -> None:
    left, right = np.array([100.0, 300.0, 300.0, 300.0]), np.array([300.0, 300.0, 500.0, 300.0])
    cuts = [cut(line, (300.0, 200.0), (300.0, 400.0)) for line in (left, right)]
    assert sorted(value >= 0.0 for value in cuts) == [False, True]


def test_a_point_is_in_a_polygon_by_the_even_odd_rule() -> None:
    horseshoe = np.array([(0, 0), (90, 0), (90, 90), (60, 90), (60, 30), (30, 30), (30, 90), (0, 90)], np.float64)
    assert is_inside(horseshoe, 15.0, 60.0)
    assert is_inside(horseshoe, 75.0, 60.0)
    assert not is_inside(horseshoe, 45.0, 60.0)
    assert not is_inside(horseshoe, 100.0, 60.0)
