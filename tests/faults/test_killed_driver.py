"""The driver is killed with SIGKILL, wherever it is, and started again: nothing is lost and nothing is there twice."""

import random
import time
from collections.abc import Callable

import pytest
from faulty_city import SmallCity, Uplink
from faulty_judge import assert_exactly_once, assert_facts_of
from faulty_run import FaultyRun, forget_last_commit

pytestmark = [pytest.mark.spark, pytest.mark.kafka]

KILLED = "driver killed at a random moment"
BETWEEN = "driver killed between Delta's commit and Spark's"


def test_a_driver_killed_once_and_between_both_commits_tells_every_fact_once(
    run_of: Callable[[SmallCity], FaultyRun], uplink: Uplink
) -> None:
    city = SmallCity(60)
    run = run_of(city)
    uplink.send(city.messages)
    uplink.flush()
    run.start()
    run.wait_for_commits(3)
    run.kill()
    forget_last_commit(run.checkpoints / "tracking")
    run.finish(BETWEEN)
    assert_exactly_once(run.tables, uplink.acknowledged)
    assert_facts_of(run.tables, city)


@pytest.mark.faults
@pytest.mark.parametrize("seed", [1])
def test_a_driver_killed_at_random_moments_tells_every_fact_once(
    run_of: Callable[[SmallCity], FaultyRun], uplink: Uplink, seed: int
) -> None:
    chance = random.Random(seed)
    city = SmallCity(240, seed)
    run = run_of(city)
    uplink.send(city.messages)
    uplink.flush()
    for kill in range(4):
        before = run.commits()
        if kill:
            with run.recovery(KILLED):
                run.start()
                run.wait_for_commits(before + 1)
        else:
            run.start()
            run.wait_for_commits(1)
        time.sleep(chance.uniform(0, 3))
        run.kill()
    run.finish(KILLED)
    assert_exactly_once(run.tables, uplink.acknowledged)
    assert_facts_of(run.tables, city)
