"""Messages as they were received, what broke the contract, and the log of facts behind silver and gold."""

from sightline_lakehouse.tables.definition import EVENT_DATE, Column, Layer, Table

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
        EVENT_DATE,
    ),
    key=("source_topic", "source_partition", "source_offset"),
    retention_days=90,
)
