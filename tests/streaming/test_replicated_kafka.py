"""Three brokers and topics with three copies: one broker may die, and nothing is lost and nobody stops."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from kafka_cluster import KafkaCluster

from sightline.broker import create_topics
from sightline_contract.topics import DETECTIONS
from sightline_lakehouse.tables import TRACKER_FACTS
from sightline_streaming.config import KafkaConfig

if TYPE_CHECKING:
    from tests.streaming.conftest import Site


@pytest.mark.spark
@pytest.mark.kafka
@pytest.mark.slow
def test_a_killed_broker_costs_no_message_and_stops_neither_sender_nor_job(site: "Site") -> None:
    """Protection: copies; with replication_factor=1 the dead broker's partitions have no leader, and sending times out."""
    with KafkaCluster(site.folder / "kafka") as kafka:
        create_topics(kafka.bootstrap, replication_factor=3)
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        while DETECTIONS.name not in (topics := admin.list_topics(timeout=20).topics):
            time.sleep(0.1)  # each broker learns of a topic in its own time
        partitions = topics[DETECTIONS.name].partitions
        assert all(len(partition.replicas) == 3 for partition in partitions.values())
        resource = ConfigResource(ResourceType.TOPIC, DETECTIONS.name)
        assert admin.describe_configs([resource])[resource].result(20)["min.insync.replicas"].value == "2"

        config = site.config.model_copy(update={"kafka": KafkaConfig(bootstrap_servers=kafka.bootstrap)})
        here = replace(site, config=config)
        here.send_batches(0, 1, 2)
        with here.application("tracking") as application:
            application.start()
            application.await_ready()
            kafka.kill(partitions[0].leader)
            here.send_batches(3, 4, 5)
            application.drain()
    facts = here.rows(TRACKER_FACTS)
    segments = [row for row in facts if row["kind"] == "segment"]
    assert sum(row["observations"] for row in segments) == 60
    assert {row["track_no"] for row in segments} == {1}
    assert sum(row["batches_missing"] for row in facts if row["kind"] == "health") == 0
