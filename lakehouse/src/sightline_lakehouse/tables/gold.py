"""What is looked at: counts, anomalies, alerts, and how nodes are."""

from sightline_lakehouse.tables.definition import (
    CAMERA_ID,
    CLASS_NAME,
    EVENT_DATE,
    MODEL_VERSION,
    SESSION,
    Column,
    Layer,
    Table,
)

OBJECT_COUNTS = Table(
    Layer.GOLD,
    "object_counts",
    "One row per camera, counting window and class; written when the camera's own watermark has passed the window.",
    (
        CAMERA_ID,
        SESSION,
        Column("window_start", "timestamp", "Start of the window."),
        Column("window_s", "int", "Length of the window, s.", minimum=1),
        CLASS_NAME,
        Column("objects", "int", "Distinct confirmed tracks seen in the window.", minimum=0),
        Column("new_objects", "int", "Tracks whose first box lies in the window: additive over windows.", minimum=0),
        Column("detections", "bigint", "Detections received.", minimum=0),
        Column("frames_received", "bigint", "Analysed frames received.", minimum=0),
        Column("frames_expected", "bigint", "Frames that the camera gave, or should have.", minimum=0),
        Column("late_rows", "bigint", "Detections that came too late to be tracked.", minimum=0),
        Column("completeness", "double", "frames_received / frames_expected.", minimum=0, maximum=1),
        EVENT_DATE,
    ),
    key=("camera_id", "session", "window_start", "class_name"),
)

COUNT_ANOMALIES = Table(
    Layer.GOLD,
    "count_anomalies",
    "One row per camera, class and hour whose count of new objects is far from what is usual for the camera at that hour.",
    (
        CAMERA_ID,
        SESSION,
        CLASS_NAME,
        Column("hour_start", "timestamp", "Start of the hour."),
        Column("seen", "int", "New objects in the hour.", minimum=0),
        Column("expected", "double", "What is usual at this hour of the day (UTC).", minimum=0),
        Column("deviation", "double", "Standard deviation of what is usual; no smaller than a Poisson count's.", minimum=0),
        Column("score", "double", "(seen - expected) / deviation: how unusual, negative for too few."),
        Column("days", "int", "Days behind what is usual.", minimum=1),
        EVENT_DATE,
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
        CAMERA_ID,
        Column("zone", "string", "Zone."),
        CLASS_NAME,
        Column("score", "double", "Detection score.", minimum=0, maximum=1),
        Column("captured_at", "timestamp", "Capture time of the frame."),
        Column("received_at", "timestamp", "When the frame reached the node's pipeline, node's clock."),
        Column("emitted_at", "timestamp", "When the node handed the event to Kafka, node's clock."),
        Column("alerted_at", "timestamp", "When the broker took the alert."),
        Column("alert_latency_ms", "double", "From emitted_at to alerted_at, ms."),
        MODEL_VERSION,
        EVENT_DATE,
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
        CAMERA_ID,
        SESSION,
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
        MODEL_VERSION,
        # NULL in rows from before these columns, and of nodes that do not report them.
        Column("spool_messages", "bigint", "Messages that wait on the node for the centre.", nullable=True, minimum=0),
        Column("spool_bytes", "bigint", "Bytes of these messages.", nullable=True, minimum=0),
        Column("spool_oldest_s", "double", "Age of the oldest of these messages, s.", nullable=True, minimum=0),
        Column("spool_dropped", "bigint", "Messages that the spool's limits removed, ever.", nullable=True, minimum=0),
        Column(
            "detections_withheld", "bigint", "Detections of the session that selection did not send.", nullable=True, minimum=0
        ),
        Column("clock_offset_ms", "double", "Node's clock minus the broker's, ms; NULL: not known.", nullable=True),
        EVENT_DATE,
    ),
    key=("node_id", "camera_id", "session", "reported_at"),
    retention_days=90,
)
