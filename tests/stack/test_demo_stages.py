"""Stages are timed, may overlap, and keep their time when they fail."""

import pytest
from rich.console import Console

from sightline.demo.memory import PeakMemory
from sightline.demo.stages import Stages


def test_overlapping_stages_are_told_in_the_order_in_which_they_began() -> None:
    with Stages(Console(quiet=True)) as stages:
        with stages.stage("outer", total=2) as outer:
            outer.advance()
            with stages.stage("inner"):
                pass
        outer_time, inner_time = sorted(stages.times, key=lambda t: t.start_s)
    assert (outer_time.name, inner_time.name) == ("outer", "inner")
    assert outer_time.start_s <= inner_time.start_s <= inner_time.end_s <= outer_time.end_s


def test_a_stage_that_fails_is_timed_and_its_error_goes_on() -> None:
    stages = Stages(Console(quiet=True))
    with pytest.raises(ValueError, match="broken"), stages, stages.stage("bad"):
        raise ValueError("broken")
    assert [t.name for t in stages.times] == ["bad"]


def test_peak_memory_counts_this_process() -> None:
    with PeakMemory() as memory:
        while not memory.peak_bytes:
            pass
    assert 10e6 < memory.peak_bytes < 100e9
