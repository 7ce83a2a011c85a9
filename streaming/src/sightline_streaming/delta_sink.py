"""Writing a micro-batch's rows to several Delta tables, each exactly once.

A batch that is run again after a crash finds its mark, (application id, batch number), in the log of every table that
already has it, and is skipped there. The application id is the streaming query's own id, which Spark keeps in the
checkpoint: a new checkpoint counts its batches from 0 again and must not find the old one's marks.

The rows are in the driver, as Arrow. A folder takes them through delta-rs: ten milliseconds a commit, where Spark spends two
seconds of processor time on planning and small jobs. An object store takes them through Spark, since its log has room for
one kind of writer only.
"""

import time
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from sightline_contract.errors import StorageError
from sightline_lakehouse.ddl import is_local, table_location
from sightline_lakehouse.tables import Table


class BatchSink:
    """Appends the rows of one micro-batch to tables below a root."""

    def __init__(self, batch: DataFrame, batch_id: int, table_root: str) -> None:
        self._spark: SparkSession = batch.sparkSession
        self._batch_id = batch_id
        self._root = table_root
        # The thread that Spark calls foreachBatch on carries the query's id.
        context: Any = self._spark.sparkContext
        self._application_id: str = context.getLocalProperty("sql.streaming.queryId")

    def append(self, rows: pa.Table, table: Table) -> None:
        """Append ``rows``, which have the table's schema, unless there are none or this batch has done so before."""
        if rows.num_rows == 0:
            return
        location = table_location(self._root, table)
        if is_local(self._root):
            append_to_folder(rows, location, self._application_id, self._batch_id)
        else:
            append_with_spark(self._spark, rows, location, self._application_id, self._batch_id)


def append_to_folder(rows: pa.Table, location: str, application_id: str, version: int) -> None:
    """Append through delta-rs; raises StorageError."""
    from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
    from deltalake.exceptions import DeltaError

    try:
        table = DeltaTable(location)
        done = table.transaction_version(application_id)
        if done is not None and done >= version:
            return
        mark = Transaction(application_id, version, int(time.time() * 1000))
        write_deltalake(table, rows, mode="append", commit_properties=CommitProperties(app_transactions=[mark]))
    except (DeltaError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise StorageError(f"{location}: cannot be written ({reason}): free space or correct table_root") from error


def append_with_spark(spark: SparkSession, rows: pa.Table, location: str, application_id: str, version: int) -> None:
    """Append through Spark."""
    writer = spark.createDataFrame(rows).write.format("delta").mode("append")
    writer.option("txnAppId", application_id).option("txnVersion", version).save(location)
