"""Reading and extending gold.audit_log and gold.audit_checkpoints through delta-rs, and the rows' Arrow form.

The log has one writer. Two at once would chain two rows to the same one: each append carries Delta's transaction mark
``sightline-audit`` and is made on the version that was read, so the second is refused (Delta's protocol: two transactions of
one application conflict). The place in the topic up to which records are in the log is in its rows: no checkpoint of a query
is needed to go on.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import DeltaError

from sightline_contract.errors import StorageError
from sightline_lakehouse.arrow import arrow_schema
from sightline_lakehouse.audit.chain import GENESIS, Entry, Row
from sightline_lakehouse.ddl import table_location
from sightline_lakehouse.tables import AUDIT_CHECKPOINTS, AUDIT_LOG

if TYPE_CHECKING:
    import numpy.typing as npt

APPLICATION: Final = "sightline-audit"
_AT_ONCE: Final = 100_000  # rows in memory

_ENTRY_COLUMNS: Final = (
    "record_id", "kind", "node_id", "actor", "reason", "at", "camera_id", "details",
    "source_topic", "source_partition", "source_offset", "received_at", "event_date",
)  # fmt: skip


@dataclass(frozen=True)
class Newest:
    """How far the log goes: number and hash of its newest row, and by (topic, partition) the newest offset."""

    seq: int = 0
    hash: str = GENESIS
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)


def rows_of(table: pa.Table) -> Iterator[Row]:
    """Rows of gold.audit_log in the table's order."""
    columns = [_plain(table[name]) for name in ("seq", *_ENTRY_COLUMNS, "prev_hash", "hash")]
    for seq, *entry, prev_hash, digest in zip(*columns, strict=True):
        yield Row(seq, Entry(*entry), prev_hash, digest)


def rows_table(rows: Iterable[Row]) -> pa.Table:
    """Rows as Arrow in the table's schema."""
    schema = arrow_schema(AUDIT_LOG)
    records = [(row.seq, *row.entry, row.prev_hash, row.hash) for row in rows]
    names = ("seq", *_ENTRY_COLUMNS, "prev_hash", "hash")
    columns = dict(zip(names, zip(*records, strict=True) if records else [()] * len(names), strict=True))
    return pa.table({name: _typed(columns[name], schema.field(name).type) for name in schema.names}, schema=schema)


def _plain(column: pa.ChunkedArray) -> list[Any]:
    """Times as UTC us, dates as days."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    elif pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    values: list[Any] = column.to_pylist()
    return values


def _typed(values: Iterable[Any], kind: pa.DataType) -> pa.Array:
    stored = {pa.timestamp("us", "UTC"): pa.int64(), pa.date32(): pa.int32()}.get(kind, kind)
    return pa.array(list(values), stored).cast(kind)


class AuditLog:
    """The two tables below a root, as they are when it is made or read again."""

    def __init__(self, root: str, options: dict[str, str] | None = None) -> None:
        """Raises StorageError where one of them cannot be read. ``options`` are delta-rs's for an object store."""
        # delta-rs knows the scheme by the name that Amazon gave it, Hadoop by its own.
        self._root = root.replace("s3a://", "s3://", 1) if root.startswith("s3a://") else root
        self._options = options
        self.reread()

    def reread(self) -> None:
        """Take the tables as they are now; raises StorageError."""
        # Checkpoints first: a row is there before it is signed, and one that is signed in between was not removed.
        self._checkpoints = _open(table_location(self._root, AUDIT_CHECKPOINTS), self._options)
        self._log = _open(table_location(self._root, AUDIT_LOG), self._options)

    def newest(self) -> Newest:
        """How far the log goes."""
        newest, offsets = 0, dict[tuple[str, int], int]()
        columns = ["seq", "source_topic", "source_partition", "source_offset"]
        with self._told():
            for batch in self._log.to_pyarrow_dataset().to_batches(columns=columns):
                part = pa.Table.from_batches([batch])
                newest = max(newest, pc.max(part["seq"]).as_py() or 0)
                for row in part.group_by(columns[1:3]).aggregate([("source_offset", "max")]).to_pylist():
                    place = row["source_topic"], row["source_partition"]
                    offsets[place] = max(offsets.get(place, -1), row["source_offset_max"])
        if newest == 0:
            return Newest()
        (head, *_) = self._table(columns=["hash"], filter=ds.field("seq") == newest)["hash"].to_pylist()
        return Newest(newest, head, offsets)

    def entries(self, record_ids: Iterable[str]) -> list[Entry]:
        """What the log holds under these ids."""
        wanted = ds.field("record_id").isin(list(record_ids))
        return [row.entry for row in rows_of(self._table(filter=wanted))]

    def rows(self, first: int = 1, last: int | None = None) -> Iterator[Row]:
        """Rows ``first`` to ``last`` in their order, few at a time in memory."""
        numbers = self._numbers()
        numbers = numbers[numbers >= first]
        numbers = numbers if last is None else numbers[numbers <= last]
        start = 0
        while start < len(numbers):
            # Rows of one number stay together.
            end = int(np.searchsorted(numbers, numbers[min(start + _AT_ONCE, len(numbers)) - 1], "right"))
            low, high = int(numbers[start]), int(numbers[end - 1])
            part = self._table(filter=(ds.field("seq") >= low) & (ds.field("seq") <= high))
            if part.num_rows != end - start:
                raise StorageError(
                    f"{self._log.table_uri}: rows {low} to {high}: {end - start} stand in its files and {part.num_rows} are "
                    "shown, so the statistics in its log are not those of its files: compare both with a copy"
                )
            yield from rows_of(part.sort_by("seq"))
            start = end

    def newest_rows(self, limit: int, kind: str | None = None, since_us: int | None = None) -> list[Row]:
        """The newest rows, oldest first; of one kind, or received from ``since_us`` on, where that is given."""
        wanted = ds.field("seq").is_valid()
        if kind is not None:
            wanted &= ds.field("kind") == kind
        if since_us is not None:
            wanted &= ds.field("received_at") >= pa.scalar(since_us, pa.timestamp("us", "UTC"))
        numbers = np.sort(self._table(columns=["seq"], filter=wanted)["seq"].to_numpy())
        if not len(numbers):
            return []
        wanted &= ds.field("seq") >= int(numbers[-limit:][0])
        return list(rows_of(self._table(filter=wanted).sort_by("seq")))

    def unnumbered(self) -> int:
        """How many rows have no number, which no writer of ours leaves."""
        return int(self._table(columns=["seq"], filter=ds.field("seq").is_null()).num_rows)

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows behind those that were read; raises StorageError, also where another writer was quicker."""
        table = rows_table(rows)
        mark = Transaction(APPLICATION, table["seq"][-1].as_py(), int(time.time() * 1000))
        try:
            write_deltalake(self._log, table, mode="append", commit_properties=CommitProperties(app_transactions=[mark]))
        except (DeltaError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise StorageError(
                f"{self._log.table_uri}: cannot be extended ({reason}): free space, or stop the other job that writes to it"
            ) from error

    def checkpoints(self) -> list[dict[str, Any]]:
        """Rows of gold.audit_checkpoints, oldest first."""
        rows: list[dict[str, Any]] = self._checkpoints.to_pyarrow_table().sort_by("seq").to_pylist()
        return rows

    def append_checkpoint(self, row: dict[str, object]) -> None:
        """Add a row to gold.audit_checkpoints; raises StorageError."""
        try:
            write_deltalake(self._checkpoints, pa.Table.from_pylist([row], arrow_schema(AUDIT_CHECKPOINTS)), mode="append")
        except (DeltaError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise StorageError(f"{self._checkpoints.table_uri}: cannot be written ({reason}): free space") from error

    def _numbers(self) -> "npt.NDArray[np.int64]":
        """The number of every row, ascending: 8 bytes a row."""
        column = self._table(columns=["seq"])["seq"].drop_null()
        return np.sort(column.to_numpy())

    def _table(self, **wanted: Any) -> pa.Table:
        with self._told():
            return self._log.to_pyarrow_dataset().to_table(**wanted)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, DeltaError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise StorageError(f"{self._log.table_uri}: a file cannot be read ({reason}): restore it from a copy") from error


def _open(location: str, options: dict[str, str] | None) -> DeltaTable:
    try:
        return DeltaTable(location, storage_options=options)
    except (DeltaError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise StorageError(f"{location}: is not a readable Delta table ({reason}): check the table root") from error
