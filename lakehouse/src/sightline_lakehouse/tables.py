"""Every table, once: columns, types, keys, layout, retention, description, and what its rows must satisfy.

DDL, the quality suites and the dbt sources are all made from here, and a test holds them equal. The module knows no engine:
types are Spark SQL's type names as text. Times are UTC. A table lives at ``<table root>/<layer>/<name>``.
"""

from dataclasses import dataclass
from enum import StrEnum

from sightline_contract.rules import EVENT_KINDS


class Layer(StrEnum):
    """Layers of the medallion architecture, and rows that failed a check."""

    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"
    QUARANTINE = "quarantine"


@dataclass(frozen=True)
class Column:
    """A column; ``minimum``, ``maximum`` and ``values`` bound what a good row may hold."""

    name: str
    type: str
    description: str
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table. ``description`` states the grain; ``key`` is unique over its rows, save where rows ``may_repeat``."""

    layer: Layer
    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition_by: tuple[str, ...] = ("event_date",)
    retention_days: int = 365
    may_repeat: bool = False  # delivered at least once: who reads drops repetitions by key
    append_only: bool = False  # nothing is ever deleted or changed, whatever retention_days says

    @property
    def full_name(self) -> str:
        """``layer.name``."""
        return f"{self.layer}.{self.name}"

    @property
    def path(self) -> str:
        """Place below the table root."""
        return f"{self.layer}/{self.name}"

    @property
    def schema_ddl(self) -> str:
        """Columns as Spark SQL's schema text, which both StructType.fromDDL and CREATE TABLE read."""
        return ", ".join(f"`{c.name}` {c.type}{'' if c.nullable else ' NOT NULL'}" for c in self.columns)


_CAMERA = Column("camera_id", "string", "Camera, unique in the fleet.")
_SESSION = Column("session", "bigint", "Start of the camera's pipeline run, UTC microseconds.", minimum=0)
_TRACK = Column("track_id", "string", "Camera, session and the tracker's counter: unique in the fleet.")
_CLASS = Column("class_name", "string", "Class of the object.")
_DATE = Column("event_date", "date", "UTC date of the row's event time.")
_MODEL = Column("model_version", "string", "Version of the model whose detections these are.")

DETECTIONS_RAW = Table(
    Layer.BRONZE,
    "detections_raw",
    "One row per message of the detections topic, as received, for replay.",
    (
        Column("topic", "string", "Kafka topic."),
        Column("partition", "int", "Kafka partition.", minimum=0),
        Column("offset", "bigint", "Kafka offset.", minimum=0),
        Column("key", "string", "Message key: the camera.", nullable=True),
        Column("value", "binary", "The DetectionBatch message.", nullable=True),
        Column("arrived_at", "timestamp", "Kafka's timestamp of the message."),
        Column("event_date", "date", "UTC date of arrival."),
    ),
    key=("topic", "partition", "offset"),
    retention_days=30,
)

FACT_KINDS = ("segment", "crossing", "visit", "event", "health", "count", "anomaly", "dead_letter")

TRACKER_FACTS = Table(
    Layer.BRONZE,
    "tracker_facts",
    "One row per shard and kind of fact in each micro-batch, all of a micro-batch in one exactly-once commit: the log behind "
    "the silver and gold tables.",
    (
        Column("kind", "string", "What the facts state.", values=FACT_KINDS),
        Column("shard", "int", "Number of the tracking job's shard.", minimum=0),
        Column("part", "int", "Number of the row among those of its shard, kind and micro-batch.", minimum=0),
        Column("facts", "bigint", "How many facts.", minimum=1),
        Column("arrived_us", "bigint", "Kafka's timestamp of the newest message behind them."),
        Column("source_partition", "int", "Kafka partition of the first message behind them.", minimum=0),
        Column("source_offset", "bigint", "And its offset.", minimum=0),
        Column("payload", "binary", "The facts: an Arrow IPC stream of the columns that the kind has."),
        Column("event_date", "date", "UTC date of arrived_us."),
    ),
    key=("kind", "shard", "part", "source_partition", "source_offset"),
    retention_days=30,
)

TRACK_SEGMENTS = Table(
    Layer.SILVER,
    "track_segments",
    "One row per confirmed track, micro-batch and counting window.",
    (
        _TRACK,
        _CAMERA,
        _SESSION,
        _CLASS,
        Column("start_time", "timestamp", "Time of the first box."),
        Column("end_time", "timestamp", "Time of the last box."),
        Column("window_start", "timestamp", "Counting window of the segment."),
        Column("observations", "int", "Boxes that a detection supports.", minimum=0),
        Column("score", "float", "Mean detection score.", minimum=0, maximum=1),
        Column("distance_px", "float", "Length of the foot-point's path, px.", minimum=0),
        Column("speed_px_s", "float", "Mean speed of the foot-point over ways of about a second, px/s.", minimum=0),
        Column("distance_m", "float", "Way on the ground without jitter, m.", nullable=True, minimum=0),
        Column("speed_m_s", "float", "Mean speed on the ground, m/s; null without a scale.", nullable=True, minimum=0),
        Column("max_speed_m_s", "float", "Highest speed on the ground over about a second, m/s.", nullable=True, minimum=0),
        Column("times_ms", "array<int>", "Time of each box since start_time, ms."),
        Column("boxes", "array<float>", "x1, y1, x2, y2 of each box, px, one after another."),
        Column("sources", "array<int>", "Per box: 0 observed, 1 seen before the track was confirmed, 2 interpolated."),
        Column("first_segment", "boolean", "The track begins with this segment."),
        _MODEL,
        Column("arrived_at", "timestamp", "Kafka's timestamp of the newest message behind the row."),
        _DATE,
    ),
    key=("track_id", "start_time"),
)

LINE_CROSSINGS = Table(
    Layer.SILVER,
    "line_crossings",
    "One row per confirmed track, counting line and direction: a track counts once however often it goes back and forth.",
    (
        Column("crossing_id", "string", "Track, line and direction."),
        _TRACK,
        _CAMERA,
        _SESSION,
        _CLASS,
        Column("line", "string", "Counting line."),
        Column("direction", "string", "Name of the direction."),
        Column("crossed_at", "timestamp", "When the foot-point's path cut the line, interpolated between boxes."),
        Column("x", "float", "Where, px."),
        Column("y", "float", "Where, px."),
        Column("speed_m_s", "float", "Speed on the ground there, m/s; null where unknown.", nullable=True, minimum=0),
        _MODEL,
        _DATE,
    ),
    key=("crossing_id",),
)

ZONE_VISITS = Table(
    Layer.SILVER,
    "zone_visits",
    "One row per completed stay of a confirmed track in a zone.",
    (
        Column("visit_id", "string", "Track, zone and entry time."),
        _TRACK,
        _CAMERA,
        _SESSION,
        _CLASS,
        Column("zone", "string", "Zone."),
        Column("entered_at", "timestamp", "When the foot-point entered."),
        Column("left_at", "timestamp", "When it left, or when the track ended inside."),
        Column("dwell_s", "double", "Length of the stay, s.", minimum=0),
        _MODEL,
        _DATE,
    ),
    key=("visit_id",),
)

SCENE_EVENTS = Table(
    Layer.SILVER,
    "scene_events",
    "One row per episode in which tracks broke a zone's rule; docs/facts.md defines each kind.",
    (
        Column("event_id", "string", "Camera, session, zone, rule, first track and start."),
        _CAMERA,
        _SESSION,
        Column("kind", "string", "What happened.", values=tuple(EVENT_KINDS.values())),
        Column("zone", "string", "Zone."),
        Column("rule", "string", "Rule of the zone: its kind, and which of its kind."),
        Column("class_name", "string", "Class of the first track."),
        Column("started_at", "timestamp", "When it began."),
        Column("detected_at", "timestamp", "Frame at which it had lasted as long as the rule asks for."),
        Column("track_ids", "array<string>", "Tracks that are part of it; the first is the one that broke the rule."),
        Column("value", "double", "What was measured."),
        Column("rule_limit", "double", "What the rule allows."),
        Column("unit", "string", "Unit of value and rule_limit.", values=("s", "sizes", "km/h", "sizes/s")),
        Column("evidence", "string", "JSON: the rule and its numbers; of each track the last times (UTC us) and boxes (px)."),
        _MODEL,
        _DATE,
    ),
    key=("event_id",),
)

CAMERA_HEALTH = Table(
    Layer.SILVER,
    "camera_health",
    "One row per camera, session and micro-batch: what arrived and what is missing.",
    (
        _CAMERA,
        _SESSION,
        Column("start_time", "timestamp", "First frame received."),
        Column("end_time", "timestamp", "Last frame received."),
        Column("arrived_at", "timestamp", "Kafka's timestamp of the newest message."),
        Column("frames_received", "bigint", "Analysed frames received.", minimum=0),
        Column("frames_expected", "bigint", "Frames that the camera gave, or should have.", minimum=0),
        Column("detections", "bigint", "Detections received.", minimum=0),
        Column("late_rows", "bigint", "Detections that came too late to be tracked.", minimum=0),
        Column("batches_received", "bigint", "Messages taken.", minimum=0),
        Column("batches_duplicate", "bigint", "Messages seen before, dropped.", minimum=0),
        Column("batches_missing", "bigint", "Messages missing by seq; negative where late ones came after all."),
        Column("batches_late", "bigint", "Messages behind the camera's last, counted and not tracked.", minimum=0),
        Column(
            "lag_ms",
            "bigint",
            "Least time from a message's last frame to its arrival: transport, and how far the node's clock is behind, ms.",
        ),
        _MODEL,
        _DATE,
    ),
    key=("camera_id", "session", "start_time", "arrived_at"),
)

OBJECT_COUNTS = Table(
    Layer.GOLD,
    "object_counts",
    "One row per camera, counting window and class; written when the camera's own watermark has passed the window.",
    (
        _CAMERA,
        _SESSION,
        Column("window_start", "timestamp", "Start of the window."),
        Column("window_s", "int", "Length of the window, s.", minimum=1),
        _CLASS,
        Column("objects", "int", "Distinct confirmed tracks seen in the window.", minimum=0),
        Column("new_objects", "int", "Tracks whose first box lies in the window: additive over windows.", minimum=0),
        Column("detections", "bigint", "Detections received.", minimum=0),
        Column("frames_received", "bigint", "Analysed frames received.", minimum=0),
        Column("frames_expected", "bigint", "Frames that the camera gave, or should have.", minimum=0),
        Column("late_rows", "bigint", "Detections that came too late to be tracked.", minimum=0),
        Column("completeness", "double", "frames_received / frames_expected.", minimum=0, maximum=1),
        _DATE,
    ),
    key=("camera_id", "session", "window_start", "class_name"),
)

COUNT_ANOMALIES = Table(
    Layer.GOLD,
    "count_anomalies",
    "One row per camera, class and hour whose count of new objects is far from what is usual for the camera at that hour.",
    (
        _CAMERA,
        _SESSION,
        _CLASS,
        Column("hour_start", "timestamp", "Start of the hour."),
        Column("seen", "int", "New objects in the hour.", minimum=0),
        Column("expected", "double", "What is usual at this hour of the day (UTC).", minimum=0),
        Column("deviation", "double", "Standard deviation of what is usual; no smaller than a Poisson count's.", minimum=0),
        Column("score", "double", "(seen - expected) / deviation: how unusual, negative for too few."),
        Column("days", "int", "Days behind what is usual.", minimum=1),
        _DATE,
    ),
    key=("camera_id", "session", "hour_start", "class_name"),
)

ALERTS = Table(
    Layer.GOLD,
    "alerts",
    "One row per alert as delivered; alert_id repeats only if Kafka delivered it again.",
    (
        Column("alert_id", "string", "Rule and event: the same if the event is read again."),
        Column("rule_id", "string", "Rule that fired."),
        Column("severity", "string", "How bad.", values=("info", "warning", "critical")),
        Column("event_id", "string", "Event behind it."),
        _CAMERA,
        Column("zone", "string", "Zone."),
        _CLASS,
        Column("score", "double", "Detection score.", minimum=0, maximum=1),
        Column("captured_at", "timestamp", "Capture time of the frame."),
        Column("received_at", "timestamp", "When the frame reached the node's pipeline, node's clock."),
        Column("emitted_at", "timestamp", "When the node handed the event to Kafka, node's clock."),
        Column("alerted_at", "timestamp", "When the broker took the alert."),
        Column("alert_latency_ms", "double", "From emitted_at to alerted_at, ms."),
        _MODEL,
        _DATE,
    ),
    key=("alert_id",),
    may_repeat=True,
)

NODE_STATUS = Table(
    Layer.GOLD,
    "node_status",
    "One row per heartbeat of a node's camera pipeline.",
    (
        Column("node_id", "string", "Edge node."),
        _CAMERA,
        _SESSION,
        Column("reported_at", "timestamp", "Node's clock."),
        Column("state", "string", "State of the pipeline.", values=("starting", "running", "stopped")),
        Column("frames_read", "bigint", "Frames that the camera gave.", minimum=0),
        Column("frames_analysed", "bigint", "Frames that went through the detector.", minimum=0),
        Column("frames_skipped", "bigint", "Frames left out because the detector was busy.", minimum=0),
        Column("batches_sent", "bigint", "Batches acknowledged by Kafka.", minimum=0),
        Column("batches_pending", "bigint", "Batches not yet acknowledged.", minimum=0),
        Column("events_sent", "bigint", "Events handed to Kafka.", minimum=0),
        Column("inference_ms_p50", "double", "Median time of one inference, ms.", minimum=0),
        Column("inference_ms_p95", "double", "95th percentile of one inference, ms.", minimum=0),
        Column("model_name", "string", "Model that runs."),
        _MODEL,
        # NULL in rows from before these columns, and of nodes that do not report them.
        Column("spool_messages", "bigint", "Messages that wait on the node for the centre.", nullable=True, minimum=0),
        Column("spool_bytes", "bigint", "Bytes of these messages.", nullable=True, minimum=0),
        Column("spool_oldest_s", "double", "Age of the oldest of these messages, s.", nullable=True, minimum=0),
        Column("spool_dropped", "bigint", "Messages that the spool's limits removed, ever.", nullable=True, minimum=0),
        Column(
            "detections_withheld", "bigint", "Detections of the session that selection did not send.", nullable=True, minimum=0
        ),
        Column("clock_offset_ms", "double", "Node's clock minus the broker's, ms; NULL: not known.", nullable=True),
        _DATE,
    ),
    key=("node_id", "camera_id", "session", "reported_at"),
    retention_days=90,
)

_NODE = Column("node_id", "string", "Edge node.")
_SITE = Column("site", "string", "Site of the node.")
_MODEL_NAME = Column("model_name", "string", "Registered model.")
_REPORTED = Column("reported_at", "timestamp", "End of the report's span, node's clock.")
_SCORES = Column("score_counts", "array<bigint>", "Detections by score: equal bins from 0 to 1.")
_CLASS_NAMES = Column("class_names", "array<string>", "Classes that were seen.")
_CLASS_COUNTS = Column("class_counts", "array<bigint>", "Detections of each of class_names.")

MODEL_STATUS = Table(
    Layer.GOLD,
    "model_status",
    "One row per report of a node on its models; a report repeats only if Kafka delivered it again.",
    (
        _NODE,
        _SITE,
        Column("hardware", "string", "The node's first target."),
        Column("targets", "array<string>", "What the node can run, best first."),
        Column("from_at", "timestamp", "Begin of the report's span, node's clock."),
        _REPORTED,
        Column("rollout_id", "string", "Rollout of the desired models that the node follows or refuses; empty: none."),
        Column("revision", "bigint", "Revision of these desired models.", minimum=0),
        Column("phase", "string", "Where the node is with them.", values=("following", "fetching", "refused")),
        Column("reason", "string", "Why it refuses; empty: it does not."),
        Column("live_name", "string", "Model that serves."),
        Column("live_version", "string", "Its version."),
        Column("live_number", "bigint", "Number of its manifest; 0: the model of the node's own settings.", minimum=0),
        Column("live_digest", "string", "Digest of its manifest; empty: the model of the node's own settings."),
        Column("shadow_name", "string", "Model in the shadow.", nullable=True),
        Column("shadow_version", "string", "Its version.", nullable=True),
        Column("shadow_number", "bigint", "Number of its manifest.", nullable=True, minimum=0),
        Column("shadow_digest", "string", "Digest of its manifest.", nullable=True),
        Column("attestation", "string", "JSON: a signed statement about the node's boot state.", nullable=True),
        Column("public_key", "string", "PEM: key to which keys of sealed parts are encrypted for the node.", nullable=True),
        _DATE,
    ),
    key=("node_id", "reported_at"),
    retention_days=90,
    may_repeat=True,
)

MODEL_FIGURES = Table(
    Layer.GOLD,
    "model_figures",
    "One row per node, slot, model version and report: what the model did on the node between two reports; a report repeats "
    "only if Kafka delivered it again.",
    (
        _NODE,
        _SITE,
        Column("hardware", "string", "The node's first target."),
        Column("slot", "string", "Whether the model acts or is compared only.", values=("live", "shadow")),
        _MODEL_NAME,
        _MODEL,
        Column("from_at", "timestamp", "Begin of the report's span, node's clock."),
        _REPORTED,
        Column("frames", "bigint", "Frames that it ran on.", minimum=0),
        Column("errors", "bigint", "Frames on which it failed; they are not among frames.", minimum=0),
        Column("detections", "bigint", "Detections.", minimum=0),
        _SCORES,
        _CLASS_NAMES,
        _CLASS_COUNTS,
        Column("latency_counts", "array<bigint>", "Inferences by their time: bins of rollout.LATENCY_EDGES_MS, and one more."),
        Column("matched", "bigint", "Shadow: detections that both models have.", minimum=0),
        Column("only_live", "bigint", "Shadow: detections of the live model alone.", minimum=0),
        Column("only_shadow", "bigint", "Shadow: detections of the shadow alone.", minimum=0),
        Column("iou_sum", "double", "Shadow: overlaps of the matched, summed.", minimum=0),
        Column("score_gap_sum", "double", "Shadow: differences of the matched's scores, summed.", minimum=0),
        _DATE,
    ),
    key=("node_id", "slot", "model_name", "model_version", "reported_at"),
    retention_days=90,
    may_repeat=True,
)

MODEL_DETECTIONS = Table(
    Layer.GOLD,
    "model_detections",
    "One row per node, model version, window and micro-batch: what of the model's detections reached the centre. A window's "
    "figures are the sums over its rows.",
    (
        _NODE,
        _MODEL_NAME,
        _MODEL,
        Column("window_start", "timestamp", "Window into which the first frame of each message falls."),
        Column("window_s", "int", "Length of the window, s.", minimum=1),
        Column("cameras", "array<string>", "Cameras behind the row."),
        Column("frames", "bigint", "Frames received.", minimum=0),
        Column("detections", "bigint", "Detections received.", minimum=0),
        _SCORES,
        _CLASS_NAMES,
        _CLASS_COUNTS,
        Column("source_partition", "int", "Kafka partition of the first message behind the row.", minimum=0),
        Column("source_offset", "bigint", "And its offset.", minimum=0),
        _DATE,
    ),
    key=("node_id", "model_name", "model_version", "window_start", "source_partition", "source_offset"),
    retention_days=90,
)

MODEL_ROLLOUTS = Table(
    Layer.GOLD,
    "model_rollouts",
    "One row per step of a rollout or comparison: what was decided, and why. The judge goes on from a rollout's rows alone.",
    (
        Column("rollout_id", "string", "Rollout."),
        Column("seq", "bigint", "Number of the step within the rollout.", minimum=0),
        Column("kind", "string", "A rollout replaces the baseline, an A/B comparison ends.", values=("rollout", "ab")),
        _MODEL_NAME,
        Column("version", "string", "Version that is rolled out."),
        Column("baseline", "string", "Version that it is compared with, and that a rollback returns to."),
        Column("decided_at", "timestamp", "When, by the clocks of the nodes that report."),
        Column("step", "string", "What was done."),
        Column("ring", "int", "Ring that the rollout is at, from 0.", minimum=0),
        Column("share", "double", "Share of the fleet in this ring and those before it.", minimum=0, maximum=1),
        Column("reasons", "array<string>", "Why, a sentence each."),
        Column("nodes", "array<string>", "Nodes that the step adds to those that the rollout touches."),
        Column("counts", "string", "JSON: nodes by what they do, and durations in s."),
        Column("metrics", "string", "JSON: the judge's verdict on each metric."),
        Column("actor", "string", "Who asked last for what is wanted of it."),
        _DATE,
    ),
    key=("rollout_id", "seq"),
    retention_days=3650,
)

DEAD_LETTERS = Table(
    Layer.QUARANTINE,
    "dead_letters",
    "One row per message that broke the contract, with where it came from and why it was refused.",
    (
        Column("source_topic", "string", "Kafka topic."),
        Column("source_partition", "int", "Kafka partition.", minimum=0),
        Column("source_offset", "bigint", "Kafka offset.", minimum=0),
        Column("camera_id", "string", "Camera, where it can be told.", nullable=True),
        Column("reason", "string", "Why it was refused."),
        Column("payload", "binary", "The message.", nullable=True),
        Column("arrived_at", "timestamp", "Kafka's timestamp of the message."),
        _DATE,
    ),
    key=("source_topic", "source_partition", "source_offset"),
    retention_days=90,
)

_HASH = "SHA-256 in 64 hex digits"

AUDIT_LOG = Table(
    Layer.GOLD,
    "audit_log",
    "One row per audit record, chained by hashes in the order of seq; docs/audit.md says how.",
    (
        Column("seq", "bigint", "Number of the row, from 1 without gaps.", minimum=1),
        Column("record_id", "string", "The record: the same if it is sent again."),
        Column("kind", "string", "What was done; unreadable: a message that is no audit record."),
        Column("node_id", "string", "Node that did it, or centre."),
        Column("actor", "string", "User who did it, or in whose name."),
        Column("reason", "string", "Why, as they say."),
        Column("at", "timestamp", "When, by the clock of who did it."),
        Column("camera_id", "string", "Camera that it is about.", nullable=True),
        Column("details", "string", "JSON: further details by name; of an unreadable message its bytes, too."),
        Column("source_topic", "string", "Kafka topic that it came by."),
        Column("source_partition", "int", "Kafka partition.", minimum=0),
        Column("source_offset", "bigint", "Kafka offset.", minimum=0),
        Column("received_at", "timestamp", "Kafka's timestamp of the message."),
        Column("prev_hash", "string", f"Hash of the row before; of the first: zeros. {_HASH}."),
        Column("hash", "string", f"Hash of prev_hash and of all other columns. {_HASH}."),
        Column("event_date", "date", "UTC date of received_at."),
    ),
    key=("seq",),
    append_only=True,
)

AUDIT_CHECKPOINTS = Table(
    Layer.GOLD,
    "audit_checkpoints",
    "One row per signed statement of how far gold.audit_log went and with which hash; also on the topic audit_checkpoints.",
    (
        Column("seq", "bigint", "Newest row of the log, and so how many rows it had.", minimum=1),
        Column("hash", "string", f"Hash of that row. {_HASH}."),
        Column("signed_at", "timestamp", "When, by the signer's clock."),
        Column("signer", "string", "Common name of the signer's certificate."),
        Column("envelope", "string", "JSON: the DSSE envelope with the signed statement and the certificate."),
        Column("event_date", "date", "UTC date of signed_at."),
    ),
    key=("seq", "signed_at"),
    append_only=True,
)

ALL_TABLES: tuple[Table, ...] = (
    DETECTIONS_RAW,
    TRACKER_FACTS,
    TRACK_SEGMENTS,
    LINE_CROSSINGS,
    ZONE_VISITS,
    SCENE_EVENTS,
    CAMERA_HEALTH,
    OBJECT_COUNTS,
    COUNT_ANOMALIES,
    ALERTS,
    NODE_STATUS,
    MODEL_STATUS,
    MODEL_FIGURES,
    MODEL_DETECTIONS,
    MODEL_ROLLOUTS,
    AUDIT_LOG,
    AUDIT_CHECKPOINTS,
    DEAD_LETTERS,
)


def table_named(full_name: str) -> Table:
    """Return the table called ``layer.name``; raises KeyError."""
    return {table.full_name: table for table in ALL_TABLES}[full_name]
