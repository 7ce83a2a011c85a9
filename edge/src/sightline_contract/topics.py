"""Kafka topics, their keys and settings: the one place that names them."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Topic:
    """A topic as the central broker holds it."""

    name: str
    key: str
    value: str
    description: str
    partitions: int = 2  # of a one-machine stack; a cluster sets its own
    config: dict[str, str] = field(default_factory=dict)


_DAY_MS = 24 * 3600 * 1000

# How producers of detections compress; level 3 is zstd's own default. The topic asks for zstd, too, so that the broker
# stores their batches as they come, and compresses those of a producer that does not.
PRODUCER_COMPRESSION: dict[str, str | int] = {"compression.type": "zstd", "compression.level": 3}

DETECTIONS = Topic(
    "detections", "camera_id", "DetectionBatch (protobuf)", "Up to a second of one camera's detections.",
    # The broker's clock: capture times are bounded against it, and a node whose clock is wrong writes its own.
    config={"retention.ms": str(7 * _DAY_MS), "message.timestamp.type": "LogAppendTime", "compression.type": "zstd"},
)  # fmt: skip
EVENTS = Topic(
    "events", "camera_id", "DetectionEvent (JSON)", "One critical detection, sent at once.", partitions=1,
    config={"retention.ms": str(_DAY_MS)},
)  # fmt: skip
ALERTS = Topic(
    "alerts", "camera_id", "Alert (JSON)", "A rule that fired. Stamped by the broker on arrival, so that latency is measured.",
    partitions=1, config={"retention.ms": str(7 * _DAY_MS), "message.timestamp.type": "LogAppendTime"},
)  # fmt: skip
OBJECT_COUNTS = Topic(
    "object_counts", "camera_id", "row of gold.object_counts (JSON)", "Closed counting windows, per camera and class.",
    config={"retention.ms": str(7 * _DAY_MS)},
)  # fmt: skip
SCENE_EVENTS = Topic(
    "scene_events", "camera_id", "row of silver.scene_events (JSON)", "A zone's rule was broken, with the evidence.",
    config={"retention.ms": str(7 * _DAY_MS)},
)  # fmt: skip
NODE_STATUS = Topic(
    "node_status", "node_id", "NodeStatus (JSON)", "Heartbeats of edge nodes.", partitions=1,
    config={"retention.ms": str(_DAY_MS)},
)  # fmt: skip
MODEL_ROLLOUT = Topic(
    "model_rollout", "node_id", "DesiredModels (JSON)", "Which models a node shall serve and shadow.", partitions=1,
    config={"cleanup.policy": "compact"},
)  # fmt: skip
MODEL_STATUS = Topic(
    "model_status", "node_id", "ModelStatus (JSON)", "What nodes say of their models: phase, and figures by version.",
    partitions=1, config={"retention.ms": str(7 * _DAY_MS)},
)  # fmt: skip
ROLLOUT_PLANS = Topic(
    "rollout_plans", "rollout_id", "RolloutPlan (JSON)", "What people want of a rollout: its rings, rules and signed bundles.",
    partitions=1, config={"cleanup.policy": "compact"},
)  # fmt: skip
ROLLOUT_KEYS = Topic(
    "rollout_keys", "rollout_id/node_id", "NodeKeys (JSON)", "Keys of a rollout's sealed parts, encrypted to one node each.",
    partitions=1, config={"cleanup.policy": "compact"},
)  # fmt: skip
AUDIT = Topic(
    "audit", "node_id", "AuditRecord (JSON)", "What people did with data or models: who, what, why. Kept for good.",
    partitions=1, config={"retention.ms": "-1", "message.timestamp.type": "LogAppendTime"},
)  # fmt: skip
AUDIT_CHECKPOINTS = Topic(
    "audit_checkpoints", "seq of the log's newest row", "DSSE envelope (JSON)",
    "Signed statements of how far the audit log went, outside of the lakehouse. Kept for good.", partitions=1,
    config={"retention.ms": "-1", "message.timestamp.type": "LogAppendTime"},
)  # fmt: skip
DEAD_LETTERS = Topic(
    "dead_letters", "camera_id", "the refused message, reason and coordinates in headers", "Messages that break the contract.",
    partitions=1, config={"retention.ms": str(30 * _DAY_MS)},
)  # fmt: skip

ALL_TOPICS: tuple[Topic, ...] = (
    DETECTIONS, EVENTS, ALERTS, OBJECT_COUNTS, SCENE_EVENTS, NODE_STATUS, MODEL_ROLLOUT, MODEL_STATUS,
    ROLLOUT_PLANS, ROLLOUT_KEYS, AUDIT, AUDIT_CHECKPOINTS, DEAD_LETTERS,
)  # fmt: skip
