"""The audit log's tables in an object store, through Spark, which is the one writer there."""

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark's users know

from sightline_contract.errors import StorageError
from sightline_lakehouse.arrow import arrow_schema
from sightline_lakehouse.audit.chain import Entry, Row
from sightline_lakehouse.audit.log import APPLICATION, Newest, rows_of, rows_table
from sightline_lakehouse.ddl import table_location
from sightline_lakehouse.tables import AUDIT_CHECKPOINTS, AUDIT_LOG, Table


class SparkAuditLog:
    """As sightline_lakehouse.audit.log.AuditLog."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self._spark = spark
        self._root = root

    def newest(self) -> Newest:
        """How far the log goes."""
        log = self._read(AUDIT_LOG)
        newest = log.agg(F.max("seq").alias("seq")).collect()[0]["seq"]
        if newest is None:
            return Newest()
        places = log.groupBy("source_topic", "source_partition").agg(F.max("source_offset").alias("newest")).collect()
        head = log.where(F.col("seq") == newest).select("hash").first()
        offsets = {(row["source_topic"], row["source_partition"]): row["newest"] for row in places}
        return Newest(newest, head["hash"] if head else "", offsets)

    def entries(self, record_ids: Iterable[str]) -> list[Entry]:
        """What the log holds under these ids."""
        found = self._read(AUDIT_LOG).where(F.col("record_id").isin(list(record_ids)))
        return [row.entry for row in rows_of(found.toArrow())]

    def rows(self, first: int = 1) -> Iterator[Row]:
        """Rows from ``first`` on, in their order."""
        yield from rows_of(self._read(AUDIT_LOG).where(F.col("seq") >= first).sort("seq").toArrow())

    def append(self, rows: list[Row]) -> None:
        """Add rows; raises StorageError where another writer was quicker, whose mark makes Delta skip these."""
        self._write(AUDIT_LOG, rows_table(rows), {"txnAppId": APPLICATION, "txnVersion": str(rows[-1].seq)})
        if self.newest().hash != rows[-1].hash:
            raise StorageError(f"{table_location(self._root, AUDIT_LOG)}: another job writes to it: stop one of them")

    def checkpoints(self) -> list[dict[str, Any]]:
        """Rows of gold.audit_checkpoints, oldest first."""
        rows: list[dict[str, Any]] = self._read(AUDIT_CHECKPOINTS).sort("seq").toArrow().to_pylist()
        return rows

    def append_checkpoint(self, row: dict[str, object]) -> None:
        """Add a row to gold.audit_checkpoints."""
        self._write(AUDIT_CHECKPOINTS, pa.Table.from_pylist([row], arrow_schema(AUDIT_CHECKPOINTS)), {})

    def _read(self, table: Table) -> DataFrame:
        return self._spark.read.format("delta").load(table_location(self._root, table))

    def _write(self, table: Table, rows: pa.Table, options: dict[str, str]) -> None:
        writer = self._spark.createDataFrame(rows).write.format("delta").mode("append")
        writer.options(**options).save(table_location(self._root, table))
