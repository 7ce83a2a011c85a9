"""Small JSON messages: critical detections, alerts, node heartbeats.

Times are UTC microseconds. ``captured_us`` is event time (a file's frames are dated from the file's start); ``received_us``
and ``emitted_us`` are the node's wall clock, so that latency can be told for a recording too.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Message(BaseModel):
    """Base of JSON messages: a reader ignores fields that it does not know, since fields are only ever added."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class EventKind(StrEnum):
    """What makes a detection critical."""

    ZONE_ENTERED = "zone_entered"
    WATCH_LIST = "watch_list"


class DetectionEvent(Message):
    """One critical detection, sent at once and not with its batch. ``event_id`` is the same if it is sent again."""

    event_id: str
    kind: EventKind
    node_id: str
    camera_id: str
    session: int
    frame: int  # ordinal among the frames of the session
    captured_us: int
    received_us: int  # when the frame reached the node's pipeline
    emitted_us: int  # when the event was handed to Kafka
    class_name: str
    score: float
    # Centre and size in fractions of the frame.
    cx: float
    cy: float
    w: float
    h: float
    cell: int  # grid cell of the foot-point, see grid.py
    zone: str | None = None
    model_version: str = ""


class Alert(Message):
    """A rule that fired on an event. ``alert_id`` is the same if the event is read again."""

    alert_id: str
    rule_id: str
    severity: str
    event_id: str
    camera_id: str
    zone: str
    class_name: str
    score: float
    captured_us: int
    received_us: int
    emitted_us: int
    cell: int
    model_version: str = ""


class NodeStatus(Message):
    """An edge node's heartbeat."""

    node_id: str
    camera_id: str
    session: int
    reported_us: int
    state: Annotated[str, Field(pattern="^(starting|running|stopped)$")]
    frames_read: int
    frames_analysed: int
    frames_skipped: int
    batches_sent: int
    batches_pending: int
    events_sent: int
    inference_ms_p50: float
    inference_ms_p95: float
    model_name: str
    model_version: str
    # What the node's spool holds and what left it otherwise than to the centre; of the whole node, not of the camera.
    spool_messages: Annotated[int, Field(ge=0)] = 0
    spool_bytes: Annotated[int, Field(ge=0)] = 0
    spool_oldest_s: Annotated[float, Field(ge=0)] = 0.0
    spool_dropped: Annotated[int, Field(ge=0)] = 0  # messages that size or age limits removed, since the spool was made
    # Of the camera: detections that selection kept from the centre since the session began.
    detections_withheld: Annotated[int, Field(ge=0)] = 0
    # Node's clock minus the central broker's, ms; None until a message was acknowledged.
    clock_offset_ms: float | None = None


class AuditKind(StrEnum):
    """What audit records are about; a record of another kind is kept all the same.

    Each step of a rollout has a kind of its own: ``rollout_`` and the step's name, as in ``rollout_promoted``.
    """

    CLIP_EXPORTED = "clip_exported"
    CLIP_EXPORT_FAILED = "clip_export_failed"
    MODEL_REGISTERED = "model_registered"
    ALIAS_MOVED = "alias_moved"
    KEY_GIVEN = "key_given"  # the keys of sealed parts, to one node
    UNREADABLE = "unreadable"  # the log's own: a message that is no audit record, kept as it came


class AuditRecord(Message):
    """Something that a person, or the product in their name, did with data or models. A repetition has the same id."""

    record_id: str
    kind: str  # an AuditKind, or a newer release's
    node_id: str
    actor: str  # user who ran the command
    reason: str
    at_us: int
    camera_id: str | None = None
    details: dict[str, str | int | float] = Field(default_factory=dict)


class NeighbourWarning(Message):
    """A node's reaction to another one's event, told to the machines nearby. Clocks are those of the two nodes."""

    node_id: str  # who warns
    of_node: str  # whose event it was
    event_id: str
    camera_id: str
    class_name: str
    emitted_us: int  # the other node's clock
    received_us: int  # this node's clock
    open_until_us: int  # until then this node sends all that it sees
