"""What a node may do at the brokers: the rules themselves, without any connection.

A node writes detections, events, node_status, model_status and audit; it reads model_rollout; its consumer groups are called
``NODE:...``. The colon is what keeps ``gate-1`` from the groups of ``gate-10``, since no name holds one. Writing to a topic
brings the right to see it, and to an idempotent producer (KIP-679, Kafka 2.8). Nobody gets a right to the cluster or to change
a topic.

Kafka's rules know topics and not keys: a node can write another camera's key into ``detections``. What confines keys: the
streaming gate sends a message whose key is not the ``camera_id`` inside to dead_letters. So no message passes under a key that
it is not about, but a node that lies in both is believed. On MQTT the topic carries node and camera, so there the broker itself
confines both. To have it on Kafka as well, each site would write topics of its own, ``detections.SITE``, under a PREFIXED rule,
and the jobs subscribe to the pattern; topics.py would only need to name them.

On Mosquitto the certificate's common name is the user, and ``%u`` its place in the topic: ``sightline/v1/NODE/...``.

Sources: Kafka's documentation, Security, Authorization and ACLs; mosquitto.conf(5), acl_file.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from sightline_contract.nearby import ROOT
from sightline_contract.topics import AUDIT, DETECTIONS, EVENTS, MODEL_ROLLOUT, MODEL_STATUS, NODE_STATUS

WRITTEN = (DETECTIONS, EVENTS, NODE_STATUS, MODEL_STATUS, AUDIT)
READ = (MODEL_ROLLOUT,)


class Resource(StrEnum):
    """What a Kafka rule is about."""

    TOPIC = "topic"
    GROUP = "group"


class Pattern(StrEnum):
    """How a Kafka rule's name is matched: the whole name, or its beginning."""

    LITERAL = "literal"
    PREFIXED = "prefixed"


@dataclass(frozen=True)
class Acl:
    """One permission at Kafka: ``principal`` may do ``operation`` on ``resource`` of that name, from any host."""

    principal: str
    operation: str  # read, write or describe
    resource: Resource
    name: str
    pattern: Pattern = Pattern.LITERAL


def consumer_group(node: str, purpose: str) -> str:
    """The name of a node's consumer group, which its rules allow."""
    return f"{node}:{purpose}"


def kafka_acls(nodes: Iterable[str], takes: Sequence[str] = ()) -> list[Acl]:
    """The permissions of ``nodes``. ``takes``: at a Kafka of the site, the topics that these nodes forward from there."""
    return [acl for node in nodes for acl in _of_node(node, takes)]


def kafka_commands(acls: Iterable[Acl], bootstrap: str = "BROKER:9093", command_config: str = "admin.properties") -> str:
    """``acls`` as commands of Kafka's own tool, one a line."""
    start = f"kafka-acls.sh --bootstrap-server {bootstrap} --command-config {command_config} --add"
    return "".join(
        f"{start} --allow-principal {acl.principal} --operation {acl.operation.capitalize()} "
        f"--{acl.resource} '{acl.name}' --resource-pattern-type {acl.pattern}\n"
        for acl in acls
    )


def json_text(acls: Iterable[Acl]) -> str:
    """``acls`` for machines: a list of objects."""
    return json.dumps([asdict(acl) for acl in acls], indent=1) + "\n"


def mosquitto_acls(neighbours: Mapping[str, Sequence[str]], takes: Mapping[str, Sequence[str]] | None = None) -> str:
    """An ``acl_file``: every certificate's holder writes and reads below its own name, and what is not allowed is refused.

    A node reads besides: the events of its ``neighbours``, and all of the machines that it ``takes`` from to forward.
    """
    lines = [
        "# By 'sightline pki acls'. %u is the common name of the certificate that the client showed.",
        f"pattern readwrite {ROOT}/%u/#",
    ]
    takes = takes or {}
    for node in sorted({*neighbours, *takes}):
        heard = [f"topic read {ROOT}/{other}/events/+" for other in neighbours.get(node, ())]
        forwarded = [f"topic read {ROOT}/{machine}/#" for machine in takes.get(node, ())]
        if heard or forwarded:
            lines += ["", f"user {node}", *heard, *forwarded]
    return "\n".join(lines) + "\n"


def _of_node(node: str, takes: Sequence[str]) -> list[Acl]:
    principal = f"User:{node}"
    readable = dict.fromkeys([*(topic.name for topic in READ), *takes])
    return [
        *(Acl(principal, "write", Resource.TOPIC, topic.name) for topic in WRITTEN),
        *(Acl(principal, operation, Resource.TOPIC, name) for name in readable for operation in ("read", "describe")),
        Acl(principal, "read", Resource.GROUP, consumer_group(node, ""), Pattern.PREFIXED),
    ]
