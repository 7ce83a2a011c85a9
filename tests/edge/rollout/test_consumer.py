"""The reader of model_rollout on a real broker."""

import time
from typing import TYPE_CHECKING

import pytest
from bundle_rig import desired
from confluent_kafka import Producer

from sightline_contract.rollout import DesiredModels
from sightline_contract.topics import MODEL_ROLLOUT
from sightline_edge.config import Kafka
from sightline_edge.rollout.consumer import RolloutReader

if TYPE_CHECKING:
    from sightline.broker import Broker

pytestmark = pytest.mark.kafka


def publish(broker: "Broker", key: str, *values: bytes | None) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for value in values:
        producer.produce(MODEL_ROLLOUT.name, value, key)
    assert producer.flush(10) == 0


def text(message: DesiredModels) -> bytes:
    return message.model_dump_json().encode()


def polled(reader: RolloutReader, within_s: float = 20.0) -> DesiredModels | None:
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        if (found := reader.poll(0.1)) is not None:
            return found
    return None


def test_the_newest_message_for_this_node_is_given_once_whoever_else_is_written_to(broker: "Broker") -> None:
    for revision in (1, 3, 2):
        publish(broker, "reader-a", text(desired(revision, node_id="reader-a")))
    publish(broker, "reader-a", b"no message", None, text(desired(9, node_id="reader-b")))
    publish(broker, "reader-b", text(desired(7, node_id="reader-b")))
    reader = RolloutReader(Kafka(bootstrap_servers=broker.bootstrap), "reader-a")
    assert polled(reader) == desired(3, node_id="reader-a")
    assert polled(reader, 0.5) is None
    publish(broker, "reader-a", text(desired(4, node_id="reader-a")))
    assert polled(reader) == desired(4, node_id="reader-a")
    reader.close()
    # Another start reads all of it again, and nobody's place in a group is in the way.
    again = RolloutReader(Kafka(bootstrap_servers=broker.bootstrap), "reader-a")
    assert polled(again) == desired(4, node_id="reader-a")
    again.close()


def test_a_broker_that_is_away_is_waited_for() -> None:
    reader = RolloutReader(Kafka(bootstrap_servers="127.0.0.1:1"), "reader-c")
    assert polled(reader, 1.5) is None
    reader.close()
