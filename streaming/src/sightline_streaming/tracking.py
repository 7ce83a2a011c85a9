"""Tracking: DetectionBatch messages in, the log of facts out, exactly once.

A thin shell around ``core.shard``: messages are grouped by shard and not by camera, so that one Python call serves
thousands of cameras with one numba kernel. A shard's state is one versioned binary value. The plain Delta sink commits a
micro-batch and its number together, and Spark's state commits before that batch counts as done: a batch that is run again
writes nothing twice. A new checkpoint is a new writer to Delta and would read the topic anew: it is refused over tables that
another one wrote, unless ``rescale`` made it, with seeds that go on where the one before ended.

Order within a micro-batch does not matter here: the core sorts each camera's messages by (session, seq).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from pyspark.core.broadcast import Broadcast
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark's users know
from pyspark.sql.streaming.query import StreamingQuery
from pyspark.sql.streaming.state import GroupState, GroupStateTimeout

from sightline_contract.topics import DETECTIONS
from sightline_lakehouse.tables import TRACKER_FACTS
from sightline_streaming.core.shard import process_shard
from sightline_streaming.core.site import ShardConfig, shard_config
from sightline_streaming.core.state import Identity
from sightline_streaming.fact_frames import log_rows
from sightline_streaming.job import Job, JobContext
from sightline_streaming.kafka import count_partitions, micro_batch_options, read_topics
from sightline_streaming.long_running import keep_freed_memory, keep_what_is_there
from sightline_streaming.packed_state import pack_state, unpack_state
from sightline_streaming.seeds import read_seeds
from sightline_streaming.session import settings_of
from sightline_streaming.sharding import shard_keys
from sightline_streaming.small_files import SmallFiles

Operator = Callable[[tuple[Any, ...], Iterator[pd.DataFrame], GroupState], Iterator[pd.DataFrame]]

STATE_SCHEMA = "shard_state binary"
_QUERY_SETTINGS = {
    # Spark makes code for every stage anew in each micro-batch, and formats it: a fifth of the JVM's time where rows are few.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    # The log is read whole, commit after commit: nobody asks for the smallest and largest values of its columns.
    "spark.databricks.delta.stats.collect": "false",
}
LOG_SCHEMA = replace(TRACKER_FACTS, columns=TRACKER_FACTS.columns[:-1]).schema_ddl


def shard_operator(config: ShardConfig, identities: Mapping[int, Identity], seeds: Mapping[int, Broadcast[bytes]]) -> Operator:
    """What runs in a Python worker: all messages of one shard and micro-batch, and the shard's state.

    ``identities`` are shards by their key; ``seeds`` by shard number are states of shards of which Spark has none yet.
    """

    def track_shard(key: tuple[Any, ...], parts: Iterator[pd.DataFrame], state: GroupState) -> Iterator[pd.DataFrame]:
        keep_freed_memory()
        messages = pd.concat(list(parts), ignore_index=True)
        identity = identities[key[0]]
        before: bytes | None = state.get[0] if state.exists else None
        if before is None and identity.number in seeds:
            before = seeds[identity.number].value
        after, facts = process_shard(
            config,
            None if before is None else unpack_state(before),
            messages["value"].tolist(),
            messages["key"].tolist(),
            messages["partition"].to_numpy(),
            messages["offset"].to_numpy(),
            messages["arrived_us"].to_numpy(),
            identity,
        )
        state.update((pack_state(after),))
        keep_what_is_there()
        # Told by number and not by place: a shuffle gives messages in any order.
        partition = messages["partition"].min()
        offset = messages["offset"][messages["partition"] == partition].min()
        yield log_rows(facts, identity.number, int(partition), int(offset), int(messages["arrived_us"].max()))

    return track_shard


def shard_column(shards: int, partitions: int) -> Column:
    """The key of the shard that keeps the message's camera: ids.shard_of, by the shard's Spark-friendly name."""
    keys = F.array(*(F.lit(key) for key in shard_keys(shards, partitions)))
    # A message without a key can only be a broken one; it still needs a place.
    number = F.pmod(F.crc32(F.coalesce("key", F.lit(b""))), F.lit(shards))
    return F.element_at(keys, number.cast("int") + 1)


def track(
    messages: DataFrame, config: ShardConfig, shards: int, partitions: int, seeds: Mapping[int, bytes] | None = None
) -> DataFrame:
    """The stream of facts for a stream of messages; ``seeds`` are states by shard number to begin with."""
    context = messages.sparkSession.sparkContext
    identities = {key: Identity(number, shards) for number, key in enumerate(shard_keys(shards, partitions))}
    # One of its own for each: a worker loads only those of its shards, and only while these have no state.
    sent = {number: context.broadcast(state) for number, state in (seeds or {}).items()}
    columns = messages.select(
        shard_column(shards, partitions).alias("shard"),
        "key",
        "value",
        "partition",
        "offset",
        F.unix_micros("timestamp").alias("arrived_us"),
    )
    facts = columns.groupBy("shard").applyInPandasWithState(
        shard_operator(config, identities, sent), LOG_SCHEMA, STATE_SCHEMA, "append", GroupStateTimeout.NoTimeout
    )
    # The operator's rows are columnar, and the sort before a partitioned write takes none but those that a projection has made
    # (Spark 4.2: "ColumnarBatchRow cannot be cast to UnsafeRow"): so the date is told here and not in the operator.
    return facts.withColumn("event_date", F.to_date(F.timestamp_micros("arrived_us")))


def start(context: JobContext) -> tuple[StreamingQuery, ...]:
    """Start the query ``tracking``."""
    config = context.config
    checkpoint = context.claim("tracking", [TRACKER_FACTS], shards=config.shards, shuffle_partitions=config.shuffle_partitions)
    seeds = read_seeds(SmallFiles(context.spark, checkpoint))
    options = micro_batch_options(config)
    if seeds is not None:
        options["startingOffsets"] = seeds.starting_offsets(count_partitions(config.kafka, seeds.offsets))
    messages = read_topics(context.spark, config, [DETECTIONS], **options)
    core = shard_config(
        context.cameras,
        window_s=config.window_s,
        allowed_lateness_s=config.allowed_lateness_s,
        max_future_s=config.max_future_s,
    )
    facts = track(messages, core, config.shards, config.shuffle_partitions, seeds.states if seeds else None)
    writer = facts.writeStream.format("delta").outputMode("append").option("checkpointLocation", checkpoint)
    writer = writer.queryName("tracking").trigger(**context.trigger(config.trigger_s.tracking))
    with settings_of(context.spark, _QUERY_SETTINGS):
        return (writer.start(context.location(TRACKER_FACTS)),)


def compile_kernels() -> None:
    """Have the core's kernels compiled, on disk, before workers need them: minutes once an installation, then a second.

    Workers that find none compile each for itself, and several at once on one machine take as many times as long.
    """
    none = np.zeros(1, np.int64)
    process_shard(shard_config([]), None, [b""], [None], none.astype(np.int32), none, none)


JOB = Job("tracking", topics=(DETECTIONS,), tables=(TRACKER_FACTS,), start=start, prepare=compile_kernels)
