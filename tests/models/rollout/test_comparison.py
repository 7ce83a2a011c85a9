"""The table and the plots of an A/B comparison."""

from pathlib import Path

import arms

from sightline_models.judge.figures import Arm
from sightline_models.rollout.comparison import compare, plot, table


def test_a_slower_version_differs_in_latency_and_in_nothing_else() -> None:
    before, windows = arms.windows_of(1, arms.SLOW, hours=24, canaries=50, controls=50)
    rows = {row.name: row for row in compare(windows, before)}
    for name in ("latency p50", "latency p95", "latency p99"):
        low = rows[name].low
        assert low is not None
        assert low > 0
        assert 1.4 < rows[name].b / rows[name].a < 1.8
    errors = rows["inference errors"]
    assert errors.difference == 0


def test_an_early_look_has_open_intervals() -> None:
    _, windows = arms.windows_of(2, hours=24)
    row = compare(windows, until_us=arms.START_US + 2 * 600 * 10**6)[0]
    assert row.windows == 2
    assert (row.low, row.high) == (None, None)


def test_what_was_not_measured_has_no_row() -> None:
    _, windows = arms.windows_of(3, hours=6)
    blind = [arms.merged(window, tracks=None) for window in windows]
    assert "tracks a frame" not in {row.name for row in compare(blind)}
    assert compare([window for window in windows if window.arm is Arm.CANARY]) == ()


def test_there_is_a_plot_for_each_row(tmp_path: Path) -> None:
    _, windows = arms.windows_of(4, hours=6)
    paths = plot(windows, tmp_path / "plots", ("1", "2"))
    assert len(paths) == len(compare(windows))
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_the_table_has_a_line_for_each_row() -> None:
    _, windows = arms.windows_of(5, hours=6)
    rows = compare(windows)
    text = table(rows, ("champion 1", "candidate 2"))
    assert len(text.splitlines()) == len(rows) + 2
    assert "| champion 1 | candidate 2 |" in text
