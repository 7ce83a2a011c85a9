"""Keeping tables small and quick: rows past their retention go, small files become large ones, unused files go.

No row of an append-only table goes. Deleting, compacting and vacuuming disturb no streaming writer, which only appends. A
file that a table no longer uses stays for ``delta.deletedFileRetentionDuration`` (ddl.py), so that a reader of an older version
can finish.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from sightline_lakehouse.ddl import path_identifier, table_location
from sightline_lakehouse.tables import ALL_TABLES, Table

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LISTING_TASKS: Final = "spark.sql.sources.parallelPartitionDiscovery.parallelism"


@dataclass(frozen=True)
class Maintained:
    """What maintenance did to one table."""

    table: str
    rows_expired: int
    files_added: int
    files_removed: int


def maintain(spark: SparkSession, root: str, today: date, tables: tuple[Table, ...] = ALL_TABLES) -> tuple[Maintained, ...]:
    """Delete rows older than each table's ``retention_days`` before ``today``, compact, and vacuum."""
    with _few_listing_tasks(spark):
        return tuple(_maintain(spark, root, table, today) for table in tables)


@contextmanager
def _few_listing_tasks(spark: SparkSession) -> Iterator[None]:
    """Vacuum starts as many tasks as this setting says, however few folders there are; its default of 10,000 costs a minute."""
    before = spark.conf.get(_LISTING_TASKS)
    spark.conf.set(_LISTING_TASKS, "32")
    try:
        yield
    finally:
        spark.conf.set(_LISTING_TASKS, str(before))


def _maintain(spark: SparkSession, root: str, table: Table, today: date) -> Maintained:
    name = path_identifier(table_location(root, table))
    expired = 0
    if not table.append_only:
        first_kept = today - timedelta(days=table.retention_days)
        # Whole partitions: the delete drops files and rewrites none.
        deleted = spark.sql(f"DELETE FROM {name} WHERE event_date < DATE'{first_kept}'")  # noqa: S608
        expired = deleted.collect()[0]["num_affected_rows"]
    compacted = spark.sql(f"OPTIMIZE {name}").collect()[0]
    spark.sql(f"VACUUM {name}").collect()
    return Maintained(
        table=table.full_name,
        rows_expired=expired,
        files_added=compacted["metrics"]["numFilesAdded"],
        files_removed=compacted["metrics"]["numFilesRemoved"],
    )
