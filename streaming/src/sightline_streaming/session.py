"""The Spark session of every job: Delta, RocksDB state, UTC, and a small fixed cost for each micro-batch.

Under spark-submit the master, memory and jars come from the submit. Without it (one machine, tests) the caller names them.
Settings that were measured carry their reason; ``spark`` of the configuration stands above all of them.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from pyspark.sql import SparkSession

from sightline_streaming.config import JobConfig

_STATE = "spark.sql.streaming.stateStore"
_TASK_ATTEMPTS = 4

BASE_SETTINGS: dict[str, str] = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.log.level": "ERROR",
    # Micro-batches are small and of known shape: replanning them between stages costs more than it finds.
    "spark.sql.adaptive.enabled": "false",
    # State on disk, and a micro-batch uploads what it changed only.
    f"{_STATE}.providerClass": "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
    f"{_STATE}.rocksdb.changelogCheckpointing.enabled": "true",
    # Counting rows reads a key before each write.
    f"{_STATE}.rocksdb.trackTotalNumberOfRows": "false",
    # A damaged snapshot is made again from an older one and the changelogs since; else no start gets past it.
    f"{_STATE}.autoSnapshotRepair.enabled": "true",
    # A table's log is replayed with so many tasks at each commit; the default of 50 costs seconds.
    "spark.databricks.delta.snapshotPartitions": "2",
    # Payloads are packed and never the same: a dictionary of them only costs.
    "spark.hadoop.parquet.enable.dictionary#payload": "false",
    "spark.hadoop.parquet.enable.dictionary#value": "false",
    # A group's rows cross to Python in few large Arrow batches: each costs a round trip.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "200000",
    # What passes from stage to stage are messages, which are packed already.
    "spark.shuffle.compress": "false",
    # A driver that runs for months keeps little of what it did.
    "spark.ui.retainedJobs": "50",
    "spark.ui.retainedStages": "50",
    "spark.ui.retainedTasks": "1000",
    "spark.sql.ui.retainedExecutions": "20",
    "spark.sql.streaming.numRecentProgressUpdates": "20",
}

LOCAL_SETTINGS: dict[str, str] = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


def build_session(name: str, config: JobConfig, master: str | None = None, jars: Sequence[Path] = ()) -> SparkSession:
    """The session; give ``master`` and ``jars`` only where no spark-submit did.

    The settings of a JVM that is already there (memory, class path) cannot be changed: one session per process.
    """
    settings = BASE_SETTINGS | {"spark.sql.shuffle.partitions": str(config.shuffle_partitions)}
    builder = SparkSession.builder.appName(name)
    if master is not None:
        # The machine's host name may resolve to an address of another network.
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        settings |= LOCAL_SETTINGS | _jvm_settings(jars)
        builder = builder.master(with_retries(master))
    # Python workers must be this interpreter: the PATH's python3 lacks our packages.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    for key, value in (settings | config.spark).items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


@contextmanager
def settings_of(spark: SparkSession, settings: Mapping[str, str]) -> Iterator[None]:
    """SQL settings for queries that are started inside the block: a streaming query keeps those that it was started under."""
    before = {key: spark.conf.get(key, None) for key in settings}
    for key, value in settings.items():
        spark.conf.set(key, value)
    try:
        yield
    finally:
        for key, kept in before.items():
            if kept is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, kept)


def with_retries(master: str) -> str:
    """``local[N]`` as a master that tries a task as often as a cluster does.

    Spark tries it once there, and so the first Python worker that dies would end the driver.
    """
    return re.sub(r"^local\[([^,\]]+)\]$", rf"local[\1,{_TASK_ATTEMPTS}]", master)


def _jvm_settings(jars: Sequence[Path]) -> dict[str, str]:
    quiet = Path(str(files(__package__) / "log4j2.properties"))
    # The quick compiler only: it halves the processor time of the first minutes, and the maths is not Java's. Its own default
    # of 48 MB for compiled code is full after a minute of this, and then nothing is compiled any more.
    compiler = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m"
    options = f"-Dlog4j2.configurationFile={quiet.as_uri()} -XX:+UseSerialGC {compiler}"
    return {
        # On the class path and not in spark.jars, which copies every jar at each start.
        "spark.driver.extraClassPath": os.pathsep.join(str(jar) for jar in jars),
        "spark.driver.defaultJavaOptions": options,
    }
