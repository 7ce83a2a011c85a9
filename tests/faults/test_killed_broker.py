"""The broker is killed while nodes send and the jobs read, and comes back on its data: what it acknowledged is counted once."""

import os
import signal
import time
from collections.abc import Callable

import psutil
import pytest
from faulty_city import SmallCity, Uplink
from faulty_judge import assert_exactly_once, assert_facts_of
from faulty_run import FaultyRun

from sightline.broker import Broker

pytestmark = [pytest.mark.spark, pytest.mark.kafka, pytest.mark.faults]

_DOWN_S = 3.0


def test_a_killed_broker_costs_no_acknowledged_message_and_the_driver_lives_on(
    run_of: Callable[[SmallCity], FaultyRun], own_broker: Broker, uplink: Uplink
) -> None:
    """Protection: producers with acks=all; with acks=0 half of the frames are lost, which their sender takes for sent."""
    city = SmallCity(120)
    run = run_of(city)
    half = len(city.messages) // 2
    uplink.send(city.messages[:half])
    uplink.flush()
    run.start(ready=True)
    run.wait_for_commits(2)
    uplink.send(city.messages[half:-60])
    killed = psutil.Process(own_broker.pid)
    os.kill(own_broker.pid, signal.SIGKILL)
    before = run.commits()
    with run.recovery(f"broker killed, back after {_DOWN_S:.0f} s"):
        uplink.send(city.messages[-60:])
        killed.wait(10)
        time.sleep(_DOWN_S)
        with Broker(own_broker.config):
            uplink.flush()
            run.wait_for_commits(before + 2)
            run.drain()
    assert len(uplink.acknowledged) == len(city.messages)
    assert_exactly_once(run.tables, uplink.acknowledged)
    assert_facts_of(run.tables, city)
