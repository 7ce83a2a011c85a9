"""The tables of one camera's run as Arrow tables.

Read straight from the Delta folders, without Spark. A table that no job has written yet reads as one without rows, so that
whatever shows results never asks whether a table is there.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from sightline_contract.errors import StorageError
from sightline_lakehouse import tables
from sightline_lakehouse.arrow import arrow_schema
from sightline_lakehouse.tables import Table


@dataclass(frozen=True)
class Results:
    """Rows of one camera and session, and how many rows every table of the root holds."""

    root: Path
    camera_id: str
    session: int
    segments: pa.Table
    crossings: pa.Table
    visits: pa.Table
    health: pa.Table
    counts: pa.Table
    alerts: pa.Table
    node_status: pa.Table
    dead_letters: pa.Table
    messages: pa.Table  # bronze.detections_raw: still packed, and of all the camera's sessions
    rows: dict[str, int]


def read_results(root: Path, camera_id: str, session: int | None = None) -> Results:
    """Read what the jobs wrote below ``root`` about a session of a camera, its newest if none is named.

    Raises StorageError where a table is there but cannot be read.
    """
    health = _of_camera(read_table(root, tables.CAMERA_HEALTH), camera_id)
    if session is None:
        session = pc.max(health["session"]).as_py() or 0
    begin = pa.scalar(session, pa.int64()).cast(pa.timestamp("us", "UTC"))

    def of_session(table: Table) -> pa.Table:
        rows = _of_camera(read_table(root, table), camera_id)
        return rows.filter(pc.equal(rows["session"], session))

    alerts = _of_camera(read_table(root, tables.ALERTS), camera_id)
    dead_letters = read_table(root, tables.DEAD_LETTERS)
    messages = read_table(root, tables.DETECTIONS_RAW, ("key", "value", "partition", "offset"))
    return Results(
        root=root,
        camera_id=camera_id,
        session=session,
        segments=of_session(tables.TRACK_SEGMENTS),
        crossings=of_session(tables.LINE_CROSSINGS),
        visits=of_session(tables.ZONE_VISITS),
        health=health.filter(pc.equal(health["session"], session)),
        counts=of_session(tables.OBJECT_COUNTS),
        # Neither alerts nor dead letters name their session; the node's clock stamped both after the session began.
        alerts=_first_of_each(alerts.filter(pc.greater_equal(alerts["received_at"], begin)), "alert_id"),
        dead_letters=dead_letters.filter(pc.greater_equal(dead_letters["arrived_at"], begin)),
        node_status=of_session(tables.NODE_STATUS),
        messages=messages.filter(pc.equal(messages["key"], camera_id)),
        rows=rows_per_table(root),
    )


def rows_per_table(root: Path) -> dict[str, int]:
    """Rows of each Delta table below ``root`` by ``layer.name``, marts too; the defined tables first, in their order."""
    defined = [table.full_name for table in tables.ALL_TABLES]
    found = {".".join(log.parent.relative_to(root).parts): log.parent for log in sorted(root.glob("*/*/_delta_log"))}
    others = [name for name in found if name not in defined]
    return {name: _count(found[name]) if name in found else 0 for name in defined + others}


def microseconds(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """A timestamp column as UTC microseconds."""
    return np.asarray(column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy(), dtype=np.int64)


def read_table(root: Path, table: Table, columns: tuple[str, ...] = ()) -> pa.Table:
    """All rows of a table below ``root``, of all cameras; raises StorageError where it cannot be read."""
    schema = arrow_schema(table)
    wanted = list(columns) or schema.names
    folder = root / table.path
    if not (folder / "_delta_log").is_dir():
        return schema.empty_table().select(wanted)
    try:
        return _open(folder).to_pyarrow_table(columns=wanted).cast(pa.schema([schema.field(name) for name in wanted]))
    except (DeltaError, pa.ArrowException, OSError) as error:
        raise StorageError(f"{folder}: does not read as {table.full_name} ({_line(error)}): delete it and run again") from error


def _open(folder: Path) -> DeltaTable:
    try:
        return DeltaTable(folder)
    except (DeltaError, OSError) as error:
        raise StorageError(f"{folder}: is not a readable Delta table ({_line(error)}): delete it and run again") from error


def _count(folder: Path) -> int:
    try:
        # Of the files and not of their statistics, which not every writer keeps.
        return int(_open(folder).to_pyarrow_dataset().count_rows())
    except (DeltaError, pa.ArrowException, OSError) as error:
        raise StorageError(f"{folder}: its rows cannot be counted ({_line(error)}): delete it and run again") from error


def _of_camera(rows: pa.Table, camera_id: str) -> pa.Table:
    return rows.filter(pc.equal(rows["camera_id"], camera_id))


def _first_of_each(rows: pa.Table, key: str) -> pa.Table:
    """Rows without those that repeat a key: what is delivered at least once is shown once."""
    _, first = np.unique(np.asarray(rows[key].to_pylist(), dtype=object).astype(str), return_index=True)
    return rows.take(pa.array(np.sort(first)))


def _line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
