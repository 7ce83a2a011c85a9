"""Facts of a shard as Arrow, and as rows of the log ``bronze.tracker_facts``.

The log keeps facts as Arrow wrote them: a row holds up to ``PART_ROWS`` facts of one kind as an IPC stream. As Spark rows,
some sixty columns wide and mostly null, they cost the JVM twice as much as the tracker itself; nobody reads the log but the
``facts`` job, which makes of it the tables that people read.

The packed columns of a segment (``times_ms``, ``boxes``, ``sources``) are binary, 21 bytes a box; ``unpack_boxes`` makes arrays
of them where columns stay in Arrow.
"""

import json
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from sightline_contract.ids import track_id
from sightline_lakehouse.tables import FACT_KINDS
from sightline_streaming.core.rows import (
    ANOMALY,
    BOXES,
    COUNT,
    CROSSING,
    EVENT,
    EVIDENCES,
    HEALTH,
    SEGMENT,
    VISIT,
)
from sightline_streaming.core.shard import Facts
from sightline_streaming.fact_columns import SCHEMA

# Facts in a row of the log at most: a row must fit into memory a few times over, wherever it is read.
PART_ROWS = 65_536

# Fast rather than small: what is packed here is read once, seconds later.
_IPC = pa.ipc.IpcWriteOptions(compression="lz4")

Columns = dict[str, pa.Array]


def log_rows(facts: Facts, shard: int, partition: int, offset: int, arrived_us: int) -> pd.DataFrame:
    """The facts as rows of the log, without ``event_date``; the coordinates are those of the first message behind them."""
    tables = {kind: pa.table(columns) for kind, columns in _by_kind(facts).items()}
    return pack_log(tables, shard, partition, offset, arrived_us)


def pack_log(tables: Mapping[str, pa.Table], shard: int, partition: int, offset: int, arrived_us: int) -> pd.DataFrame:
    """``log_rows`` for facts that are tables already, by kind."""
    rows = [
        (kind, shard, part, table.num_rows, arrived_us, partition, offset, _packed_table(table))
        for kind, whole in tables.items()
        for part, table in enumerate(_parts(whole))
    ]
    names = ["kind", "shard", "part", "facts", "arrived_us", "source_partition", "source_offset", "payload"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.astype({"shard": np.int32, "part": np.int32, "source_partition": np.int32})


def read_log(log: pa.Table) -> dict[str, pa.Table]:
    """The facts in rows of the log, by kind, each with all columns of ``SCHEMA``."""
    payloads: dict[str, list[bytes]] = {}
    for kind, payload in zip(log["kind"].to_pylist(), log["payload"].to_pylist(), strict=True):
        payloads.setdefault(kind, []).append(payload)
    return {kind: _widened(kind, found) for kind, found in payloads.items()}


def all_facts(log: pa.Table) -> pa.Table:
    """The facts in rows of the log, of all kinds."""
    return pa.concat_tables([SCHEMA.empty_table(), *read_log(log).values()])


def to_arrow(facts: Facts) -> pa.Table:
    """One row per fact, with exactly the columns of ``SCHEMA``."""
    return pa.concat_tables([_table(kind, pa.table(columns)) for kind, columns in _by_kind(facts).items()]).combine_chunks()


def _by_kind(facts: Facts) -> dict[str, Columns]:
    columns = (
        _segments(facts), _crossings(facts), _visits(facts), _events(facts), _health(facts), _counts(facts), _anomalies(facts),
        _dead_letters(facts),
    )  # fmt: skip
    return dict(zip(FACT_KINDS, columns, strict=True))


def _parts(table: pa.Table) -> Iterator[pa.Table]:
    for first in range(0, table.num_rows, PART_ROWS):
        yield table.slice(first, PART_ROWS)


def _packed_table(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_IPC) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def _widened(kind: str, payloads: Iterable[bytes]) -> pa.Table:
    tables = [pa.ipc.open_stream(payload).read_all() for payload in payloads]
    return pa.concat_tables([_table(kind, table) for table in tables])


def _table(kind: str, given: pa.Table) -> pa.Table:
    """``given`` with all columns of SCHEMA, null where it has none."""
    n = given.num_rows
    have = {name: given[name] for name in given.column_names}
    have["kind"] = pa.array([kind], pa.string()).take(pa.array(np.zeros(n, np.int64)))
    return pa.table(
        [have[field.name].cast(field.type) if field.name in have else pa.nulls(n, field.type) for field in SCHEMA],
        schema=SCHEMA,
    )


def unpack_boxes(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with ``times_ms`` and ``sources`` as array<int> and ``boxes`` as array<float>; nulls stay nulls."""
    for name, packed, wanted in (
        ("times_ms", pa.int32(), pa.int32()),
        ("boxes", pa.float32(), pa.float32()),
        ("sources", pa.uint8(), pa.int32()),
    ):
        place = batch.schema.get_field_index(name)
        lists = _unpack(batch.column(place), packed, wanted)
        batch = batch.set_column(place, pa.field(name, lists.type), lists)
    return batch


def _unpack(column: pa.BinaryArray, packed: pa.DataType, wanted: pa.DataType) -> pa.ListArray:
    column = column.cast(pa.binary())
    validity, _, content = column.buffers()
    width = packed.bit_width // 8
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    numbers = pa.Array.from_buffers(
        packed, (last - first) // width, [None, pa.py_buffer(content)[first:last] if content else None]
    )
    mask = column.is_null() if validity is not None else None
    return pa.ListArray.from_arrays(pa.array((offsets - first) // width, pa.int32()), numbers.cast(wanted), mask=mask)


def rows_of(facts: Facts, kind: int) -> npt.NDArray[np.void]:
    """The rows of one kind (SEGMENT, CROSSING, …), in the order in which they were written."""
    own: npt.NDArray[np.void] = facts.log.rows[np.flatnonzero(facts.row_kinds == kind)]
    return own


def _origin(facts: Facts, rows: npt.NDArray[np.void]) -> Columns:
    """Columns that rows of every kind have."""
    cameras = pa.array([name.decode() for name in facts.cameras], pa.string())
    models = pa.array([name.decode() for name in facts.models], pa.string())
    return {
        "camera_id": cameras.take(_plain(rows, "camera")),
        "model_version": models.take(_plain(rows, "model")),
        "session": _plain(rows, "session"),
        "arrived_us": _plain(rows, "arrived_us"),
    }


def _plain(rows: npt.NDArray[np.void], name: str) -> pa.Array:
    return pa.array(np.ascontiguousarray(rows[name]))


def _plains(rows: npt.NDArray[np.void], *names: str) -> Columns:
    return {name: _plain(rows, name) for name in names}


def _packed(values: npt.NDArray[np.generic], starts: npt.NDArray[np.int64]) -> pa.Array:
    """Rows of ``values`` from each start to the next as binary."""
    width = values.dtype.itemsize * (values.shape[1] if values.ndim > 1 else 1)
    offsets = (starts * width).astype(np.int32)
    return pa.Array.from_buffers(
        pa.binary(), len(starts) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(values))]
    )


def _segments(facts: Facts) -> Columns:
    rows, boxes = rows_of(facts, SEGMENT), facts.log.boxes[: facts.log.used[BOXES]]
    # Segments hold their boxes in the order in which they were opened, one after another.
    starts = np.append(rows["first_box"], len(boxes))
    mean_score = rows["score_sum"] / np.maximum(rows["observations"], 1)
    return {
        **_origin(facts, rows),
        **_plains(rows, "track_no", "class_id", "start_us", "end_us", "observations"),
        "window_start_us": pa.array(rows["window"] * facts.config.rules.window_us),
        "score": pa.array(mean_score.astype(np.float32)),
        "distance_px": pa.array(rows["distance_px"].astype(np.float32)),
        **_speeds(rows, boxes, starts),
        "times_ms": _packed(boxes["time_ms"], starts),
        "boxes": _packed(boxes["box"], starts),
        "sources": _packed(boxes["source"], starts),
        "first_segment": pa.array(rows["first_segment"] > 0),
    }


def _speeds(rows: npt.NDArray[np.void], boxes: npt.NDArray[np.void], starts: npt.NDArray[np.int64]) -> Columns:
    """Means over the speeds told in each segment; without one, the last one told; before the first, from end to end."""
    first, last = boxes["box"][starts[:-1]], boxes["box"][starts[1:] - 1]
    way = (last - first)[:, [0, 2, 3]]
    lasted_s = np.maximum(rows["end_us"] - rows["start_us"], 1) * 1e-6
    from_end_to_end = np.hypot(0.5 * (way[:, 0] + way[:, 1]), way[:, 2]) / lasted_s
    known = np.where(rows["speed_px"] >= 0, rows["speed_px"], from_end_to_end)
    metric = np.where(rows["speed_px"] >= 0, rows["speed_m"], np.nan)
    speed_m = np.where(rows["paced_m_us"] > 0, rows["moved_m"] / np.maximum(rows["paced_m_us"], 1) * 1e6, metric)
    unknown = np.isnan(speed_m)
    return {
        "speed_px_s": _float32(np.where(rows["paced_us"] > 0, rows["moved_px"] / np.maximum(rows["paced_us"], 1) * 1e6, known)),
        "distance_m": _float32(rows["moved_m"], unknown),
        "speed_m_s": _float32(speed_m, unknown),
        "max_speed_m_s": _float32(np.where(rows["paced_m_us"] > 0, rows["top_m_s"], speed_m), unknown),
    }


def _float32(values: npt.NDArray[np.float64], unknown: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    return pa.array(values.astype(np.float32), mask=unknown)


def _crossings(facts: Facts) -> Columns:
    rows = rows_of(facts, CROSSING)
    config, lines = facts.config, _plain(rows, "place")
    forward = pa.array(config.forward_names, pa.string()).take(lines)
    backward = pa.array(config.backward_names, pa.string()).take(lines)
    return {
        **_origin(facts, rows),
        **_plains(rows, "track_no", "class_id", "x", "y"),
        "start_us": _plain(rows, "start_us"),
        "end_us": _plain(rows, "end_us"),
        "window_start_us": pa.array(rows["start_us"] // config.rules.window_us * config.rules.window_us),
        "place": pa.array(config.line_names, pa.string()).take(lines),
        "direction": pa.compute.if_else(pa.array(rows["forward"] > 0), forward, backward),
        "speed_m_s": _float32(rows["speed_m"], np.isnan(rows["speed_m"])),
    }


def _visits(facts: Facts) -> Columns:
    rows = rows_of(facts, VISIT)
    return {
        **_origin(facts, rows),
        **_plains(rows, "track_no", "class_id", "start_us", "end_us"),
        "place": pa.array(facts.config.zone_names, pa.string()).take(_plain(rows, "place")),
    }


def _events(facts: Facts) -> Columns:
    rows, rules = rows_of(facts, EVENT), facts.config.rule_texts
    places = rows["place"]
    return {
        **_origin(facts, rows),
        **_plains(rows, "track_no", "class_id", "start_us", "end_us", "value"),
        "place": pa.array([rules.zones[k] for k in places], pa.string()),
        "event_kind": pa.array([rules.kinds[k] for k in places], pa.string()),
        "rule": pa.array([rules.names[k] for k in places], pa.string()),
        "rule_limit": pa.array([rules.limits[k] for k in places], pa.float64()),
        "unit": pa.array([rules.units[k] for k in places], pa.string()),
        "evidence": pa.array([_evidence(facts, row) for row in rows], pa.string()),
    }


def _evidence(facts: Facts, row: np.void) -> str:
    """The rule of an event and the last boxes of its tracks; events are few."""
    evidence = facts.log.evidence[: facts.log.used[EVIDENCES]][row["first_evidence"] :][: row["n_evidence"]]
    camera = facts.cameras[row["camera"]].decode()
    tracks: dict[str, dict[str, list[object]]] = {}
    for box in evidence:
        track = tracks.setdefault(track_id(camera, int(row["session"]), int(box["track_no"])), {"times_us": [], "boxes": []})
        track["times_us"].append(int(box["t_us"]))
        track["boxes"].append([round(float(edge), 1) for edge in box["box"]])
    rule = json.loads(facts.config.rule_texts.numbers[row["place"]])
    return json.dumps({"rule": rule, "tracks": [{"track_id": name} | track for name, track in tracks.items()]})


def _counts(facts: Facts) -> Columns:
    rows = rows_of(facts, COUNT)
    starts = pa.array(rows["window"] * facts.config.rules.window_us)
    return {
        **_origin(facts, rows),
        **_plains(rows, "class_id", "objects", "new_objects", "detections", "frames_received", "frames_expected", "late_rows"),
        "start_us": starts,
        "end_us": starts,
        "window_start_us": starts,
    }


def _health(facts: Facts) -> Columns:
    rows = rows_of(facts, HEALTH)
    return {
        **_origin(facts, rows),
        **_plains(rows, "start_us", "end_us", "detections", "frames_received", "frames_expected", "late_rows"),
        **_plains(rows, "batches_received", "batches_duplicate", "batches_missing", "batches_late", "lag_us"),
    }


def _anomalies(facts: Facts) -> Columns:
    rows = rows_of(facts, ANOMALY)
    return {
        **_origin(facts, rows),
        **_plains(rows, "class_id", "start_us", "end_us", "objects", "expected", "deviation", "days"),
    }


def _dead_letters(facts: Facts) -> Columns:
    letters = facts.dead_letters
    arrived_us = pa.array([letter.arrived_us for letter in letters], pa.int64())
    return {
        "camera_id": pa.array([letter.camera_id for letter in letters], pa.string()),
        "session": pa.array([0] * len(letters), pa.int64()),
        "start_us": arrived_us,
        "end_us": arrived_us,
        "arrived_us": arrived_us,
        "reason": pa.array([letter.reason for letter in letters], pa.string()),
        "source_partition": pa.array([letter.partition for letter in letters], pa.int32()),
        "source_offset": pa.array([letter.offset for letter in letters], pa.int64()),
        "payload": pa.array([letter.payload for letter in letters], pa.binary()),
    }
