"""What fault tests share: a broker and a run of each test's own, and the table of measured recoveries."""

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pytest

from sightline.broker import Broker, BrokerConfig
from sightline.ports import free_port

if TYPE_CHECKING:
    from faulty_city import SmallCity, Uplink
    from faulty_run import FaultyRun

pytest.register_assert_rewrite("faulty_city", "faulty_judge", "faulty_run")

RECORD = Path(__file__).parents[2] / "build/faults.json"


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own: jobs read all that is in a topic."""
    with Broker(BrokerConfig(tmp_path / "broker", free_port())) as running:
        yield running


@pytest.fixture
def uplink(own_broker: Broker) -> "Uplink":
    from faulty_city import Uplink

    return Uplink(own_broker.bootstrap)


@pytest.fixture
def run_of(own_broker: Broker, tmp_path: Path) -> "Iterator[Callable[[SmallCity], FaultyRun]]":
    """Makes the run of a city; its driver ends with the test."""
    from faulty_run import FaultyRun

    made: list[FaultyRun] = []

    def make(city: "SmallCity") -> FaultyRun:
        made.append(FaultyRun(tmp_path / f"run-{len(made)}", own_broker.bootstrap, city.configs))
        return made[-1]

    yield make
    for run in made:
        run.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from faulty_run import notes, recoveries, save

    if notes:
        terminalreporter.section("measured beside the faults")
    for note in notes:
        terminalreporter.line(note)
    if not recoveries:
        return
    terminalreporter.section("recovery after a fault, until the next commit of facts")
    for fault in dict.fromkeys(name for name, _ in recoveries):
        seconds = [each for name, each in recoveries if name == fault]
        terminalreporter.line(f"{fault:<60} {median(seconds):6.1f} s  of {len(seconds)}")
    save(recoveries, RECORD)
