"""A Kafka at the edge: copies for programs nearby, and topics of other programs that are forwarded."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer
from edge_messages import batch
from pydantic import ValidationError

from sightline.broker import create_topics
from sightline.ports import LOOPBACK
from sightline.topic_content import read_topic
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.topics import DETECTIONS, Topic
from sightline_edge.config import NodeConfig
from sightline_edge.delivery.delivery import Delivery
from sightline_edge.delivery.records import Lane

if TYPE_CHECKING:
    from sightline.broker import Broker

BOX = Topic("detections.box-7", "camera_id", "DetectionBatch", "Another program's.", partitions=1)


def delivery_of(folder: Path, port: int, take: tuple[str, ...] = ()) -> Delivery:
    config = NodeConfig.model_validate(
        {
            "node_id": "local-kafka",
            "kafka": {"bootstrap_servers": "127.0.0.1:1"},
            "model": "model",
            "cameras": [{"source": "s", "camera": "c.yaml"}],
            "state": str(folder),
            "local_broker": {"kind": "kafka", "host": LOOPBACK, "port": port, "take": list(take)},
        }
    )
    delivery = Delivery(config, [], wait=False)
    delivery.start()
    return delivery


@pytest.mark.kafka
def test_programs_nearby_get_copies(tmp_path: Path, broker: "Broker", wait_for: Callable[[Callable[[], bool]], None]) -> None:
    delivery = delivery_of(tmp_path, broker.config.port)
    delivery.send_batch(batch("edge-copy", 3))
    wait_for(lambda: b"edge-copy" in [message.key() for message in read_topic(broker.bootstrap, DETECTIONS.name)])
    copies = [message for message in read_topic(broker.bootstrap, DETECTIONS.name) if message.key() == b"edge-copy"]
    assert [DetectionBatch.FromString(message.value() or b"") for message in copies] == [batch("edge-copy", 3)]
    assert delivery.close(drain_s=0) == 1  # the centre's own is still to be sent


@pytest.mark.kafka
def test_offsets_move_when_the_spool_has_the_messages(
    tmp_path: Path, broker: "Broker", wait_for: Callable[[Callable[[], bool]], None]
) -> None:
    create_topics(broker.bootstrap, [BOX])
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for seq in range(5):
        producer.produce(BOX.name, batch("lobby", seq).SerializeToString(), "lobby")
    producer.flush(10)
    first = delivery_of(tmp_path, broker.config.port, (BOX.name,))
    wait_for(lambda: first.spool.depth().total == 5)
    assert first.close(drain_s=0) == 5
    for seq in range(5, 8):
        producer.produce(BOX.name, batch("lobby", seq).SerializeToString(), "lobby")
    producer.flush(10)
    again = delivery_of(tmp_path, broker.config.port, (BOX.name,))
    wait_for(lambda: again.spool.depth().total == 8)
    rows = again.spool.take(Lane.DETECTIONS, 0, 100)
    assert [(row.topic, row.key, DetectionBatch.FromString(row.value).seq) for row in rows] == [
        ("detections", "lobby", seq) for seq in range(8)
    ]
    again.close(drain_s=0)


@pytest.mark.parametrize("name", ["weather", "detections", "weather.box"])
def test_a_topic_of_no_known_kind_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValidationError, match=f"take: '{name}' is no topic"):
        delivery_of(tmp_path, 1, (name,))
