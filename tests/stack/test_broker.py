"""The embedded broker, as a real JVM."""

import socket
from pathlib import Path

import psutil
import pytest
import yaml
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from sightline.broker import Broker, BrokerConfig, create_topics, require_broker
from sightline.commands import topics_command
from sightline.ports import LOOPBACK, free_port
from sightline_contract.errors import BrokerError, PortInUseError
from sightline_contract.topics import ALERTS, ALL_TOPICS, DETECTIONS, Topic

pytestmark = pytest.mark.kafka


def _send(bootstrap: str, topic: str, key: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    producer.produce(topic, key=key, value=value)
    assert producer.flush(20) == 0


def _values(bootstrap: str, topic: Topic, key: str) -> list[bytes | None]:
    """Everything under ``key`` on ``topic``."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic.name, partition, OFFSET_BEGINNING) for partition in range(topic.partitions)])
    found, at_end = [], 0
    while at_end < topic.partitions:
        message = consumer.poll(20)
        assert message is not None, f"{topic.name} is silent"
        if message.error() is None:
            found += [message.value()] if message.key() == key.encode() else []
        else:
            at_end += 1
    consumer.close()
    return found


def test_every_topic_of_the_contract_is_there_with_its_partitions_and_settings(broker: Broker) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    known = admin.list_topics(timeout=10).topics
    assert {topic.name: topic.partitions for topic in ALL_TOPICS}.items() <= {
        name: len(each.partitions) for name, each in known.items()
    }.items()
    resource = ConfigResource(ResourceType.TOPIC, ALERTS.name)
    settings = admin.describe_configs([resource])[resource].result(10)
    assert settings["message.timestamp.type"].value == "LogAppendTime"


def test_topics_that_exist_are_left_alone(broker: Broker) -> None:
    _send(broker.bootstrap, DETECTIONS.name, "left-alone", b"still here")
    create_topics(broker.bootstrap)
    assert _values(broker.bootstrap, DETECTIONS, "left-alone") == [b"still here"]


def test_more_copies_than_brokers_are_refused_in_one_line(broker: Broker) -> None:
    topic = Topic("three-copies", "key", "value", "")
    with pytest.raises(BrokerError, match=r"topic three-copies could not be created .*replication factor") as refused:
        create_topics(broker.bootstrap, [topic], replication_factor=3)
    assert "\n" not in str(refused.value)


def test_the_command_makes_the_topics_of_a_cluster_with_partitions_and_copies_asked_for(tmp_path: Path) -> None:
    running = Broker(BrokerConfig(tmp_path / "broker", free_port())).start(topics=[ALERTS])
    try:
        config = tmp_path / "job.yaml"
        job = {"kafka": {"bootstrap_servers": running.bootstrap}, "cameras": str(tmp_path)}
        config.write_text(yaml.safe_dump(job | {"table_root": str(tmp_path), "checkpoint_root": str(tmp_path)}))
        topics_command(config, replication_factor=1, partitions=5)
        known = AdminClient({"bootstrap.servers": running.bootstrap}).list_topics(timeout=10).topics
        assert set(known) == {topic.name for topic in ALL_TOPICS}
        assert (len(known[DETECTIONS.name].partitions), len(known[ALERTS.name].partitions)) == (5, 1)
    finally:
        running.stop()


def test_it_listens_on_loopback_only(broker: Broker) -> None:
    listening = [each for each in psutil.Process(broker.pid).net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    assert {each.laddr.ip.removeprefix("::ffff:") for each in listening} == {LOOPBACK}


def test_messages_survive_a_restart_on_another_port_even_where_formatting_was_once_cut_off(tmp_path: Path) -> None:
    (tmp_path / "log.unformatted").mkdir()
    (tmp_path / "log.unformatted/meta.properties").write_text("half")
    with Broker(BrokerConfig(tmp_path, free_port())) as first:
        _send(first.bootstrap, DETECTIONS.name, "kept", b"before the restart")
        old_pid = first.pid
    assert not psutil.pid_exists(old_pid)
    with Broker(BrokerConfig(tmp_path, free_port())) as second:
        assert _values(second.bootstrap, DETECTIONS, "kept") == [b"before the restart"]


def test_a_port_in_use_is_named_with_its_owner_before_anything_is_written(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=rf"port {port}.* is in use by .*\(pid \d+\).*--port"):
            Broker(BrokerConfig(tmp_path / "data", port)).start()
    assert not (tmp_path / "data").exists()


def test_a_broker_that_cannot_start_says_why_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log/meta.properties").write_text("version=1\ncluster.id=another\nnode.id=7\n")
    with pytest.raises(BrokerError, match=r"^broker ended with exit code 1: .*Stored node id 7") as caught:
        Broker(BrokerConfig(tmp_path, free_port())).start()
    assert "\n" not in str(caught.value)


def test_no_broker_is_one_line_that_says_what_to_do() -> None:
    with pytest.raises(BrokerError, match=r"no Kafka broker answers at .*sightline up"):
        require_broker(f"{LOOPBACK}:{free_port()}", timeout_s=0.5)
