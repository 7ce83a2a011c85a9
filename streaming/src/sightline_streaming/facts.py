"""Facts: the tracker's one log of facts, split into the tables that people read.

Stateless: each commit of ``bronze.tracker_facts`` becomes rows of its kind's table, exactly once (delta_sink.py). Closed
counting windows, scene events and dead letters go to Kafka too, at least once (publisher.py).

A micro-batch's facts pass through the driver: 5,000 cameras with 30 frames/s and 6 objects a frame make about 13 MB a second,
packed. After a pause the log holds many such seconds, so ``max_fact_bytes_per_trigger`` bounds what one micro-batch takes of
it.
"""

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.streaming.query import StreamingQuery

from sightline_contract.topics import DEAD_LETTERS as DEAD_LETTERS_TOPIC
from sightline_contract.topics import OBJECT_COUNTS as OBJECT_COUNTS_TOPIC
from sightline_contract.topics import SCENE_EVENTS as SCENE_EVENTS_TOPIC
from sightline_lakehouse.tables import DEAD_LETTERS, OBJECT_COUNTS, SCENE_EVENTS, TRACKER_FACTS
from sightline_streaming.delta_sink import BatchSink
from sightline_streaming.fact_tables import TABLE_OF_KIND, SiteLabels, site_labels, split_facts
from sightline_streaming.job import Job, JobContext
from sightline_streaming.long_running import keep_what_is_there
from sightline_streaming.publisher import publish_counts, publish_dead_letters, publish_events

# Dead letters are the archive job's as well.
_OWN_TABLES = [table for table in TABLE_OF_KIND.values() if table is not DEAD_LETTERS]


def write_facts(context: JobContext, labels: SiteLabels, facts: DataFrame, batch_id: int) -> None:
    """Write one micro-batch of facts to every table that it has rows for, then to Kafka."""
    arrived: pa.Table = facts.toArrow()
    rows = split_facts(arrived, labels, context.config.window_s)
    sink = BatchSink(facts, batch_id, context.config.table_root)
    for table, found in rows.items():
        sink.append(found, table)
    if OBJECT_COUNTS in rows:
        publish_counts(rows[OBJECT_COUNTS], context.config.kafka)
    if SCENE_EVENTS in rows:
        publish_events(rows[SCENE_EVENTS], context.config.kafka)
    if DEAD_LETTERS in rows:
        publish_dead_letters(rows[DEAD_LETTERS], context.config.kafka)
    keep_what_is_there()


def source_limits(max_bytes: int) -> dict[str, str]:
    """Options of Delta's source that bound a micro-batch; one commit's file is taken whole however large."""
    # The number of files is Delta's own default, which a bound in bytes alone would lift.
    return {"maxBytesPerTrigger": f"{max_bytes}b", "maxFilesPerTrigger": "1000"}


def start(context: JobContext) -> tuple[StreamingQuery, ...]:
    """Start the query ``facts``."""
    facts = (
        context.spark.readStream.format("delta")
        # Rows that retention deletes from the log were split long ago.
        .option("skipChangeCommits", "true")
        .options(**source_limits(context.config.max_fact_bytes_per_trigger))
        .load(context.location(TRACKER_FACTS))
    )
    labels = site_labels(context.cameras)
    writer = facts.writeStream.foreachBatch(lambda batch, batch_id: write_facts(context, labels, batch, batch_id))
    checkpoint = context.claim("facts", _OWN_TABLES, "delete the tables of facts and have it make them again")
    writer = writer.option("checkpointLocation", checkpoint).queryName("facts")
    return (writer.trigger(**context.trigger(context.config.trigger_s.facts)).start(),)


JOB = Job(
    "facts",
    topics=(OBJECT_COUNTS_TOPIC, SCENE_EVENTS_TOPIC, DEAD_LETTERS_TOPIC),
    tables=(TRACKER_FACTS, *TABLE_OF_KIND.values()),
    start=start,
)
