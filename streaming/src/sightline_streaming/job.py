"""What a job is: the topics and tables that it needs, and a function that starts its queries."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from sightline_contract.camera import CameraConfig
from sightline_contract.errors import StorageError
from sightline_contract.topics import Topic
from sightline_lakehouse.ddl import last_commit, table_location
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
    # Start queries that take all input that is there and end, in place of queries that go on.
    available_now: bool = False

    def trigger(self, seconds: float) -> dict[str, Any]:
        """When a micro-batch query runs, as DataStreamWriter.trigger() takes it."""
        return {"availableNow": True} if self.available_now else {"processingTime": interval(seconds)}

    def location(self, table: Table) -> str:
        """Where a table lies."""
        return table_location(self.config.table_root, table)

    def claim(self, query: str, tables: Iterable[Table], way_out: str = "give a new table_root", **identity: int) -> str:
        """Location of the checkpoint of a query, which alone writes to ``tables``; as Checkpoints.claim() otherwise.

        Raises StorageError where the checkpoint is new and a table is not: to Delta it is another writer, and it would read all
        input again and write it a second time. ``way_out`` says what to do about that, other than to bring the old one back.
        """
        return self.checkpoints.claim(query, lambda: self._require_unwritten(query, tables, way_out), **identity)

    def _require_unwritten(self, query: str, tables: Iterable[Table], way_out: str) -> None:
        for table in tables:
            if last_commit(self.spark, self.config.table_root, table) > 0:
                raise StorageError(
                    f"{self.location(table)}: holds what another checkpoint of {query} wrote: bring that back, or {way_out} "
                    "(docs/reliability.md)"
                )


@dataclass(frozen=True)
class Job:
    """A job of its own, or one of several in a driver."""

    name: str
    topics: tuple[Topic, ...]
    tables: tuple[Table, ...]
    start: Callable[[JobContext], tuple[StreamingQuery, ...]]
    # A real-time query never comes to the end of its input.
    drains: bool = True
    reads_cameras: bool = True
    # Work that needs no Spark, done on a one-machine driver while its JVM starts.
    prepare: Callable[[], None] = lambda: None


def interval(seconds: float) -> str:
    """A trigger's interval in Spark's words."""
    return f"{round(seconds * MILLISECONDS)} milliseconds"
