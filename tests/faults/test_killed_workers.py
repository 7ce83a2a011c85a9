"""Python workers are killed in the midst of micro-batches: each costs a retry of its task, and the driver lives on."""

from collections.abc import Callable

import pytest
from faulty_city import SmallCity, Uplink
from faulty_judge import assert_exactly_once, assert_facts_of
from faulty_run import FaultyRun

pytestmark = [pytest.mark.spark, pytest.mark.kafka, pytest.mark.faults]


def test_killed_python_workers_cost_a_retry_and_no_fact(run_of: Callable[[SmallCity], FaultyRun], uplink: Uplink) -> None:
    """Protection: local[N] is started with task retries; without them the driver ends with the first worker."""
    city = SmallCity(120)
    run = run_of(city)
    uplink.send(city.messages)
    uplink.flush()
    run.start(ready=True)
    for _ in range(3):
        run.wait_for_commits(run.commits() + 1)
        before = run.commits()
        with run.recovery("Python workers killed"):
            assert run.kill_workers() > 1
            run.wait_for_commits(before + 1)
    run.drain()
    assert_exactly_once(run.tables, uplink.acknowledged)
    assert_facts_of(run.tables, city)
