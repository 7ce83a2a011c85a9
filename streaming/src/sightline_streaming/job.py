"""What a job is: the topics and tables that it needs, and a function that starts its queries."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from sightline_contract.camera import CameraConfig
from sightline_contract.topics import Topic
from sightline_lakehouse.ddl import table_location
from sightline_lakehouse.tables import Table
from sightline_streaming.checkpoints import Checkpoints
from sightline_streaming.config import JobConfig

MILLISECONDS: Final = 1000


@dataclass(frozen=True)
class JobContext:
    """What every job is given."""

    spark: SparkSession
    config: JobConfig
    cameras: tuple[CameraConfig, ...]
    checkpoints: Checkpoints

    def location(self, table: Table) -> str:
        """Where a table lies."""
        return table_location(self.config.table_root, table)


@dataclass(frozen=True)
class Job:
    """A job of its own, or one of several in a driver."""

    name: str
    topics: tuple[Topic, ...]
    tables: tuple[Table, ...]
    start: Callable[[JobContext], tuple[StreamingQuery, ...]]
    # Whether processAllAvailable() works on its queries; a real-time query has no end of a batch to wait for.
    drains: bool = True
    # Work that needs no Spark, done on a one-machine driver while its JVM starts.
    prepare: Callable[[], None] = lambda: None


def interval(seconds: float) -> str:
    """A trigger's interval in Spark's words."""
    return f"{round(seconds * MILLISECONDS)} milliseconds"
