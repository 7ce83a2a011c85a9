"""The forwarder on a real broker: in order, urgent first, and nothing in the way of the rest."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Message

from sightline.topic_content import read_topic
from sightline_contract.topics import ALERTS, ALL_TOPICS, DETECTIONS, Topic
from sightline_edge.config import Kafka, SpoolConfig
from sightline_edge.delivery.forwarder import WINDOW, Forwarder
from sightline_edge.delivery.records import Lane, Record
from sightline_edge.delivery.spool import Spool

if TYPE_CHECKING:
    from sightline.broker import Broker

pytestmark = pytest.mark.kafka

DEADLINE_S = 30
# Of these tests alone: what they send is no detection.
BULK = Topic("forwarded", "camera_id", "a number", "Bulk.", config=DETECTIONS.config)
URGENT = Topic("forwarded-urgent", "camera_id", "a number", "Urgent.", partitions=1)


class Recording(Forwarder):
    """Remembers in which order the broker acknowledged."""

    def __init__(self, spool: Spool, bootstrap: str) -> None:
        super().__init__(spool, Kafka(bootstrap_servers=bootstrap), "test")
        self.order: list[str] = []

    def _delivered(self, way: object, number: int, error: object, message: Message) -> None:
        if error is None:
            self.order.append(str(message.topic()))
        super()._delivered(way, number, error, message)  # type: ignore[arg-type]


@pytest.fixture(scope="module", autouse=True)
def _topics(broker: "Broker") -> None:
    from sightline.broker import create_topics

    create_topics(broker.bootstrap, [BULK, URGENT])


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool.db", SpoolConfig())
    yield spool
    spool.close()


def detections(camera_id: str, count: int, start: int = 0) -> list[Record]:
    return [Record(Lane.DETECTIONS, BULK.name, f"{camera_id}-{i % 5}", b"%08d" % i) for i in range(start, start + count)]


def read(bootstrap: str, topic: str, prefix: str) -> list[tuple[str, int]]:
    """(key, number) of the messages of these keys, in the order in which the topic's partitions hold them."""
    found = [((message.key() or b"").decode(), int(message.value() or b"0")) for message in read_topic(bootstrap, topic)]
    return [(key, number) for key, number in found if key.startswith(prefix)]


def drained(forwarder: Forwarder, spool: Spool) -> None:
    forwarder.close(DEADLINE_S)
    assert forwarder.error is None
    assert spool.depth().total == 0


def test_everything_arrives_once_and_each_camera_in_order(broker: "Broker", spool: Spool) -> None:
    spool.append(detections("order", 3000))
    forwarder = Forwarder(spool, Kafka(bootstrap_servers=broker.bootstrap), "test")
    forwarder.start()
    spool.append(detections("order", 500, start=3000))
    forwarder.wake()
    drained(forwarder, spool)
    found = read(broker.bootstrap, BULK.name, "order-")
    assert sorted(number for _, number in found) == list(range(3500))
    for camera in range(5):
        numbers = [number for key, number in found if key == f"order-{camera}"]
        assert numbers == sorted(numbers)
    assert forwarder.traffic.messages[BULK.name] == 3500


def test_an_event_overtakes_the_backlog(broker: "Broker", spool: Spool) -> None:
    """Protection: lanes in order. With the event behind the detections of one lane it was the 5,001st."""
    spool.append([*detections("late", 5000), Record(Lane.EVENTS, URGENT.name, "late", b"1")])
    forwarder = Recording(spool, broker.bootstrap)
    forwarder.start()
    drained(forwarder, spool)
    assert len(forwarder.order) == 5001
    assert forwarder.order.index(URGENT.name) <= WINDOW


def test_what_the_broker_will_never_take_is_counted_and_passed_over(broker: "Broker", spool: Spool) -> None:
    huge = Record(Lane.DETECTIONS, BULK.name, "huge", bytes(3_000_000))
    spool.append([*detections("poison", 5), huge, *detections("poison", 5, start=5)])
    forwarder = Forwarder(spool, Kafka(bootstrap_servers=broker.bootstrap), "test")
    forwarder.start()
    drained(forwarder, spool)
    assert spool.losses() == {"refused": 1}
    assert [number for _, number in sorted(read(broker.bootstrap, BULK.name, "poison-"))] == [
        0, 5, 1, 6, 2, 7, 3, 8, 4, 9,
    ]  # fmt: skip


def test_a_topic_that_comes_later_gets_what_waited(tmp_path: Path, spool: Spool) -> None:
    from sightline.broker import Broker, BrokerConfig, create_topics
    from sightline.ports import free_port

    broker = Broker(BrokerConfig(tmp_path / "broker", free_port()))
    try:
        broker.start(topics=[ALERTS])
        spool.append([replace(each, topic=DETECTIONS.name) for each in detections("topic", 20)])
        forwarder = Forwarder(spool, Kafka(bootstrap_servers=broker.bootstrap), "test")
        forwarder.start()
        time.sleep(1)
        assert spool.depth().total == 20
        create_topics(broker.bootstrap, ALL_TOPICS)
        drained(forwarder, spool)
        assert len(read(broker.bootstrap, DETECTIONS.name, "topic-")) == 20
    finally:
        broker.stop()


def test_what_is_not_sent_by_the_end_stays(spool: Spool) -> None:
    spool.append(detections("away", 2000))
    forwarder = Forwarder(spool, Kafka(bootstrap_servers="127.0.0.1:1"), "test")
    forwarder.start()
    forwarder.close(0.3)
    assert forwarder.error is None
    assert spool.depth().total == 2000


def test_the_clock_is_compared_with_the_brokers(broker: "Broker", spool: Spool) -> None:
    spool.append(detections("clock", 50))
    forwarder = Forwarder(spool, Kafka(bootstrap_servers=broker.bootstrap), "test")
    assert forwarder.offset.estimate() is None
    forwarder.start()
    drained(forwarder, spool)
    estimate = forwarder.offset.estimate()
    assert estimate is not None
    # One machine, one clock; the broker stamps whole milliseconds.
    assert abs(estimate.offset_s) <= estimate.error_s + 0.002


def test_a_shorter_way_tells_more_about_the_clock() -> None:
    from sightline_edge.delivery.offset import ClockOffset

    offset = ClockOffset()
    offset.observe(1000.0, 0.8, 997.5, monotonic_s=1.0)
    offset.observe(1001.0, 0.01, 998.994, monotonic_s=2.0)
    estimate = offset.estimate()
    assert estimate is not None
    assert (estimate.offset_s, estimate.error_s) == (pytest.approx(2.001), pytest.approx(0.005))
    offset.observe(1500.0, 0.5, 1499.75, monotonic_s=500.0)  # the others are too old to be believed
    assert offset.estimate() is not None
    assert offset.estimate().offset_s == pytest.approx(0.0)  # type: ignore[union-attr]
