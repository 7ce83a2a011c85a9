"""Archive: what the topics said, kept as Delta tables.

``archive-detections`` keeps every DetectionBatch as received, for replay. ``archive-messages`` keeps alerts and heartbeats
as rows, and dead-letters what breaks its topic's contract, events included: the alert query itself passes over those.
``archive-audit`` (audit.py) chains the audit records. All are exactly once in Delta; dead letters also go to Kafka, at least
once.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark's users know
from pyspark.sql.streaming.query import StreamingQuery

from sightline_contract.topics import DETECTIONS
from sightline_lakehouse.tables import DEAD_LETTERS as DEAD_LETTERS_TABLE
from sightline_lakehouse.tables import DETECTIONS_RAW
from sightline_streaming.archived import KINDS, Received, sort_messages
from sightline_streaming.audit import JOB as AUDIT_JOB
from sightline_streaming.audit import start_audit
from sightline_streaming.delta_sink import BatchSink
from sightline_streaming.job import Job, JobContext
from sightline_streaming.kafka import micro_batch_options, read_topics
from sightline_streaming.publisher import publish_dead_letters


def raw_rows(messages: DataFrame) -> DataFrame:
    """Messages as rows of bronze.detections_raw."""
    return messages.select(
        "topic",
        "partition",
        "offset",
        F.col("key").cast("string").alias("key"),
        "value",
        F.col("timestamp").alias("arrived_at"),
        F.to_date("timestamp").alias("event_date"),
    )


def write_messages(context: JobContext, messages: DataFrame, batch_id: int) -> None:
    """Write one micro-batch of JSON messages to every table that it has rows for."""
    columns = messages.select("topic", "partition", "offset", F.unix_micros("timestamp").alias("timestamp_us"), "value")
    rows = sort_messages(Received(**row) for row in columns.toArrow().to_pylist())
    sink = BatchSink(messages, batch_id, context.config.table_root)
    for table, found in rows.items():
        sink.append(found, table)
    if DEAD_LETTERS_TABLE in rows:
        publish_dead_letters(rows[DEAD_LETTERS_TABLE], context.config.kafka)


def start(context: JobContext) -> tuple[StreamingQuery, ...]:
    """Start the queries ``archive-detections``, ``archive-messages`` and ``archive-audit``."""
    config = context.config
    trigger = context.trigger(config.trigger_s.archive)
    options = micro_batch_options(config)
    detections = (
        raw_rows(read_topics(context.spark, config, [DETECTIONS], **options))
        .writeStream.format("delta")
        .option("checkpointLocation", context.claim("archive-detections", [DETECTIONS_RAW]))
        .queryName("archive-detections")
        .trigger(**trigger)
        .start(context.location(DETECTIONS_RAW))
    )
    messages = read_topics(context.spark, config, [kind.topic for kind in KINDS], **options)
    writer = messages.writeStream.foreachBatch(lambda batch, batch_id: write_messages(context, batch, batch_id))
    checkpoint = context.claim("archive-messages", [kind.table for kind in KINDS if kind.table])
    writer = writer.option("checkpointLocation", checkpoint).queryName("archive-messages")
    return detections, writer.trigger(**trigger).start(), start_audit(context)


JOB = Job(
    "archive",
    topics=(DETECTIONS, *(kind.topic for kind in KINDS), *AUDIT_JOB.topics),
    tables=(DETECTIONS_RAW, *(kind.table for kind in KINDS if kind.table), *AUDIT_JOB.tables),
    start=start,
)
