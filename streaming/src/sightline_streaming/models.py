"""Models: what nodes say of their models, and what of these models' detections reached the centre, by version.

``models-status`` turns the topic model_status into gold.model_status and gold.model_figures and dead-letters what breaks the
contract. ``models-detections`` counts the topic detections by node, version and window into gold.model_detections. Both are
exactly once in Delta; dead letters also go to Kafka, at least once. Who judges reads windows of these tables
(model_windows.py), and may be told each report as it comes (``statuses``).
"""

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark's users know
from pyspark.sql.streaming.query import StreamingQuery

from sightline_contract.rollout import ModelStatus
from sightline_contract.topics import DEAD_LETTERS, DETECTIONS, MODEL_STATUS
from sightline_lakehouse.tables import DEAD_LETTERS as DEAD_LETTERS_TABLE
from sightline_lakehouse.tables import MODEL_DETECTIONS, MODEL_FIGURES
from sightline_lakehouse.tables import MODEL_STATUS as MODEL_STATUS_TABLE
from sightline_streaming.archived import Received
from sightline_streaming.delta_sink import BatchSink
from sightline_streaming.job import Job, JobContext
from sightline_streaming.kafka import micro_batch_options, read_topics
from sightline_streaming.long_running import keep_freed_memory
from sightline_streaming.model_counts import SCHEMA as COUNTS_SCHEMA
from sightline_streaming.model_counts import count_batches
from sightline_streaming.model_reports import sort_reports
from sightline_streaming.publisher import publish_dead_letters

_COUNTS_DDL = ", ".join(f"`{column.name}` {column.type}" for column in MODEL_DETECTIONS.columns)


def write_reports(
    context: JobContext, messages: DataFrame, batch_id: int, tell: Callable[[tuple[ModelStatus, ...]], None] = lambda _: None
) -> None:
    """Write one micro-batch of model_status to the tables that it has rows for, then ``tell`` its reports."""
    columns = messages.select("topic", "partition", "offset", F.unix_micros("timestamp").alias("timestamp_us"), "value")
    reports = sort_reports(Received(**row) for row in columns.toArrow().to_pylist())
    sink = BatchSink(messages, batch_id, context.config.table_root)
    for table, found in reports.rows.items():
        sink.append(found, table)
    if DEAD_LETTERS_TABLE in reports.rows:
        publish_dead_letters(reports.rows[DEAD_LETTERS_TABLE], context.config.kafka)
    tell(reports.statuses)


def write_counts(context: JobContext, messages: DataFrame, batch_id: int) -> None:
    """Count one micro-batch of detections into gold.model_detections: each Kafka partition by a task of its own."""
    window_s = context.config.model_window_s

    def count(parts: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        keep_freed_memory()
        yield from _counted(list(parts), window_s).to_batches()

    counted = messages.select("partition", "offset", "value").mapInArrow(count, _COUNTS_DDL).toArrow()
    BatchSink(messages, batch_id, context.config.table_root).append(counted.cast(COUNTS_SCHEMA), MODEL_DETECTIONS)


def _counted(parts: list[pa.RecordBatch], window_s: int) -> pa.Table:
    if not parts:
        return COUNTS_SCHEMA.empty_table()
    messages = pa.Table.from_batches(parts)
    sources = list(zip(messages["partition"].to_pylist(), messages["offset"].to_pylist(), strict=True))
    return count_batches(messages["value"].to_pylist(), sources, window_s)


def start(context: JobContext, tell: Callable[[tuple[ModelStatus, ...]], None] = lambda _: None) -> tuple[StreamingQuery, ...]:
    """Start the queries ``models-status`` and ``models-detections``; ``tell`` gets each micro-batch's reports once written."""
    config = context.config
    trigger = context.trigger(config.trigger_s.models)
    options = micro_batch_options(config)
    reports = read_topics(context.spark, config, [MODEL_STATUS], **options).writeStream
    reports = reports.foreachBatch(lambda batch, number: write_reports(context, batch, number, tell))
    reports = reports.option("checkpointLocation", context.claim("models-status", [MODEL_STATUS_TABLE, MODEL_FIGURES]))
    counts = read_topics(context.spark, config, [DETECTIONS], **options).writeStream
    counts = counts.foreachBatch(lambda batch, number: write_counts(context, batch, number))
    counts = counts.option("checkpointLocation", context.claim("models-detections", [MODEL_DETECTIONS]))
    return (
        reports.queryName("models-status").trigger(**trigger).start(),
        counts.queryName("models-detections").trigger(**trigger).start(),
    )


JOB = Job(
    "models",
    topics=(MODEL_STATUS, DETECTIONS, DEAD_LETTERS),
    tables=(MODEL_STATUS_TABLE, MODEL_FIGURES, MODEL_DETECTIONS, DEAD_LETTERS_TABLE),
    start=start,
    reads_cameras=False,
)
