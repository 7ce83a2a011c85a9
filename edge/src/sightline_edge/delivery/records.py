"""What waits in the spool: a message for one of the centre's topics, and the lane in which it waits."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from sightline_contract.events import AuditRecord, DetectionEvent, NodeStatus
from sightline_contract.rollout import ModelStatus
from sightline_contract.topics import AUDIT, DETECTIONS, EVENTS, MODEL_STATUS, NODE_STATUS


class Lane(IntEnum):
    """Lanes are forwarded in this order, and each in the order in which its messages came."""

    AUDIT = 0
    EVENTS = 1
    STATUS = 2
    DETECTIONS = 3


@dataclass(frozen=True)
class Record:
    """A message on its way to the centre."""

    lane: Lane
    topic: str
    key: str
    value: bytes


class Stored(NamedTuple):
    """A record that the spool holds under its ``number``, which grows; ``kept_us`` is on the spool's own clock."""

    number: int
    kept_us: int
    topic: str
    key: str
    value: bytes


def of_batch(camera_id: str, payload: bytes) -> Record:
    """A serialised DetectionBatch as a record."""
    return Record(Lane.DETECTIONS, DETECTIONS.name, camera_id, payload)


def of_event(event: DetectionEvent) -> Record:
    """A critical detection as a record."""
    return Record(Lane.EVENTS, EVENTS.name, event.camera_id, event.model_dump_json().encode())


def of_status(status: NodeStatus) -> Record:
    """A heartbeat as a record."""
    return Record(Lane.STATUS, NODE_STATUS.name, status.node_id, status.model_dump_json().encode())


def of_model_status(status: ModelStatus) -> Record:
    """What the node says of its models as a record."""
    return Record(Lane.STATUS, MODEL_STATUS.name, status.node_id, status.model_dump_json().encode())


def of_audit(record: AuditRecord) -> Record:
    """An audit record as a record of the spool."""
    return Record(Lane.AUDIT, AUDIT.name, record.node_id, record.model_dump_json().encode())
