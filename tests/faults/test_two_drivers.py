"""Two drivers on one checkpoint by mistake: one is refused in one line, whoever comes second, and harms nothing."""

import os
import signal
import time
from collections.abc import Callable

import pytest
from faulty_city import SmallCity, Uplink
from faulty_judge import assert_exactly_once, assert_facts_of
from faulty_run import FaultyRun, last_words

pytestmark = [pytest.mark.spark, pytest.mark.kafka, pytest.mark.faults]


def test_a_second_driver_is_refused_in_one_line_and_takes_over_at_once_when_the_first_is_killed(
    run_of: Callable[[SmallCity], FaultyRun], uplink: Uplink
) -> None:
    """Protection: the lock in each checkpoint's folder; without it the second ends with the first file
    that it finds taken, and with advice that fits something else.
    """
    city = SmallCity(120)
    run = run_of(city)
    uplink.send(city.messages)
    uplink.flush()
    both = [run.spawn(name, run.home / f"{name}.json") for name in ("one", "other")]
    try:
        deadline = time.monotonic() + 120
        while all(each.exit_code is None for each in both) and time.monotonic() < deadline:
            time.sleep(0.2)
        (refused,) = [each for each in both if each.exit_code is not None]
        (running,) = [each for each in both if each.exit_code is None]
        assert refused.exit_code == 1
        assert "another driver runs on this checkpoint: stop it" in last_words(refused)
        running.wait_until(lambda: run.commits() >= 2, 120, "two commits")
        third = run.spawn("third", run.home / "third.json")
        assert third.wait(120) == 1
        assert "another driver runs on this checkpoint: stop it" in last_words(third)
        assert running.exit_code is None
        os.kill(running.pid, signal.SIGKILL)
        run.finish("first of two drivers killed")
    finally:
        for each in both:
            each.stop(0)
    assert_exactly_once(run.tables, uplink.acknowledged)
    assert_facts_of(run.tables, city)
