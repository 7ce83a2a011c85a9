"""The rules: what a node may do, and that no rule reaches further."""

from sightline_contract.topics import ALL_TOPICS
from sightline_edge.security.acls import (
    Acl,
    Pattern,
    Resource,
    consumer_group,
    json_text,
    kafka_acls,
    kafka_commands,
    mosquitto_acls,
)


def allowed(acls: list[Acl], operation: str, resource: Resource, name: str) -> bool:
    """What Kafka makes of the rules."""
    return any(
        acl.operation == operation
        and acl.resource is resource
        and (name == acl.name if acl.pattern is Pattern.LITERAL else name.startswith(acl.name))
        for acl in acls
    )


def test_a_node_writes_its_own_topics_and_reads_its_rollout_topic_alone() -> None:
    acls = kafka_acls(["gate-1"])
    names = [topic.name for topic in ALL_TOPICS]
    written = {name for name in names if allowed(acls, "write", Resource.TOPIC, name)}
    read = {name for name in names if allowed(acls, "read", Resource.TOPIC, name)}
    assert written == {"detections", "events", "node_status", "model_status", "audit"}
    assert read == {"model_rollout"}
    assert {acl.operation for acl in acls} == {"write", "read", "describe"}


def test_a_nodes_groups_are_not_those_of_a_node_whose_name_begins_alike() -> None:
    acls = kafka_acls(["gate-1"])
    assert allowed(acls, "read", Resource.GROUP, consumer_group("gate-1", "rollout"))
    for other in ("gate-10", "gate-1.5", "gate-1-2", "gate-2"):
        assert not allowed(acls, "read", Resource.GROUP, consumer_group(other, "rollout"))


def test_every_rule_is_the_nodes_own_and_none_is_for_everybody() -> None:
    acls = kafka_acls(["gate-1", "gate-2"])
    assert {acl.principal for acl in acls} == {"User:gate-1", "User:gate-2"}
    assert not any("*" in acl.name or acl.name == "" for acl in acls)


def test_topics_that_a_node_forwards_from_the_sites_kafka_are_readable_to_it() -> None:
    assert allowed(kafka_acls(["gate-1"], takes=["detections"]), "read", Resource.TOPIC, "detections")


def test_the_commands_of_kafkas_tool_say_the_same() -> None:
    acls = kafka_acls(["gate-1"])
    lines = kafka_commands(acls, "kafka:9093").splitlines()
    assert len(lines) == len(acls)
    assert lines[0] == (
        "kafka-acls.sh --bootstrap-server kafka:9093 --command-config admin.properties --add --allow-principal User:gate-1 "
        "--operation Write --topic 'detections' --resource-pattern-type literal"
    )
    assert "--operation Read --group 'gate-1:' --resource-pattern-type prefixed" in lines[-1]
    assert '"name": "gate-1:"' in json_text(acls)


def test_on_mqtt_a_node_has_its_own_subtree_and_hears_the_events_of_its_neighbours_only() -> None:
    text = mosquitto_acls({"gate-1": ["gate-2"]}, {"gate-1": ["relay"]})
    rules = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert rules == [
        "pattern readwrite sightline/v1/%u/#",
        "user gate-1",
        "topic read sightline/v1/gate-2/events/+",
        "topic read sightline/v1/relay/#",
    ]
