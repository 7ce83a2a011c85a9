"""The tracker's facts as rows of the tables that people read: Arrow in, Arrow out, no Spark.

Column by column: whole arrays are computed, joined or passed on, so that a city's facts take milliseconds.
"""

import json
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sightline_contract.camera import CameraConfig
from sightline_contract.labels import label_names
from sightline_contract.topics import DETECTIONS
from sightline_lakehouse.arrow import arrow_schema
from sightline_lakehouse.tables import (
    CAMERA_HEALTH,
    COUNT_ANOMALIES,
    DEAD_LETTERS,
    LINE_CROSSINGS,
    OBJECT_COUNTS,
    SCENE_EVENTS,
    TRACK_SEGMENTS,
    ZONE_VISITS,
    Table,
)
from sightline_streaming.fact_frames import read_log, unpack_boxes

TABLE_OF_KIND: dict[str, Table] = {
    "segment": TRACK_SEGMENTS,
    "crossing": LINE_CROSSINGS,
    "visit": ZONE_VISITS,
    "event": SCENE_EVENTS,
    "health": CAMERA_HEALTH,
    "count": OBJECT_COUNTS,
    "anomaly": COUNT_ANOMALIES,
    "dead_letter": DEAD_LETTERS,
}
ALL_CLASSES = "all"
"""Name of class -1: a count of every class."""

SiteLabels = dict[tuple[str, int], str]
"""Names of sites' own classes, by camera and class id."""

_Derive = Callable[[pa.RecordBatch], pa.Array]
_NAMES = pa.array([ALL_CLASSES, *label_names()])


def site_labels(cameras: Iterable[CameraConfig]) -> SiteLabels:
    """The cameras' own class names."""
    return {(camera.camera_id, number): label for camera in cameras for number, label in camera.site_labels.items()}


def split_facts(log: pa.Table, labels: SiteLabels, window_s: int) -> dict[Table, pa.Table]:
    """Rows of every table that rows of the log bronze.tracker_facts speak of."""
    return {TABLE_OF_KIND[kind]: _rows(facts, kind, labels, window_s) for kind, facts in read_log(log).items()}


def _rows(facts: pa.Table, kind: str, labels: SiteLabels, window_s: int) -> pa.Table:
    """Rows of the kind's table; batch by batch, since boxes of a large micro-batch do not fit into one Arrow array of 2 GiB."""
    schema = arrow_schema(TABLE_OF_KIND[kind])
    return pa.Table.from_batches(
        [_batch(own, kind, schema, labels, window_s) for own in facts.combine_chunks().to_batches()], schema
    )


def _batch(own: pa.RecordBatch, kind: str, schema: pa.Schema, labels: SiteLabels, window_s: int) -> pa.RecordBatch:
    if kind == "segment":
        own = unpack_boxes(own)
    derive = _DERIVE | {
        "class_name": lambda rows: _class_names(rows, labels),
        "window_s": lambda rows: pa.array(np.full(rows.num_rows, window_s, np.int32)),
    }
    if kind == "event":
        derive["kind"] = lambda rows: rows["event_kind"]
    if kind == "dead_letter":
        derive["camera_id"] = lambda rows: pc.if_else(pc.equal(rows["camera_id"], ""), None, rows["camera_id"])
    columns = [derive[name](own) if name in derive else own[name] for name in schema.names]
    cast = [column.cast(field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(cast, schema=schema)


def _time(name: str) -> _Derive:
    return lambda rows: rows[name].cast(pa.timestamp("us", "UTC"))


def _joined(*names: str) -> _Derive:
    return lambda rows: pc.binary_join_element_wise(*(rows[name].cast(pa.string()) for name in names), "/")


def _class_names(rows: pa.RecordBatch, labels: SiteLabels) -> pa.Array:
    common = _NAMES.take(pc.add(rows["class_id"], 1))
    if not labels:
        return common
    own = zip(rows["camera_id"].to_pylist(), rows["class_id"].to_pylist(), strict=True)
    return pc.coalesce(pa.array([labels.get(key) for key in own], pa.string()), common)


def _completeness(rows: pa.RecordBatch) -> pa.Array:
    """A camera that owed no frame is complete; one clock's rounding may not make it more than that."""
    received, expected = (rows[name].cast(pa.float64()) for name in ("frames_received", "frames_expected"))
    share = pc.if_else(pc.greater(expected, 0), pc.divide(received, expected), 1.0)
    return pc.min_element_wise(share, 1.0)


def _score(rows: pa.RecordBatch) -> pa.Array:
    """A segment's is its own, an anomaly's follows from what was expected."""
    unusual = pc.divide(pc.subtract(rows["objects"].cast(pa.float64()), rows["expected"]), rows["deviation"])
    return pc.coalesce(rows["score"].cast(pa.float64()), unusual)


def _track_ids(rows: pa.RecordBatch) -> pa.Array:
    tracks = [[track["track_id"] for track in json.loads(text)["tracks"]] for text in rows["evidence"].to_pylist()]
    return pa.array(tracks, pa.list_(pa.string()))


_TRACK = ("camera_id", "session", "track_no")  # as ids.track_id writes it

_DERIVE: dict[str, _Derive] = {
    "track_id": _joined(*_TRACK),
    "crossing_id": _joined(*_TRACK, "place", "direction"),
    "visit_id": _joined(*_TRACK, "place", "start_us"),
    "event_id": _joined("camera_id", "session", "place", "rule", "track_no", "start_us"),
    "track_ids": _track_ids,
    "started_at": _time("start_us"),
    "detected_at": _time("end_us"),
    "line": lambda rows: rows["place"],
    "zone": lambda rows: rows["place"],
    "start_time": _time("start_us"),
    "end_time": _time("end_us"),
    "crossed_at": _time("start_us"),
    "entered_at": _time("start_us"),
    "left_at": _time("end_us"),
    "dwell_s": lambda rows: pc.divide(pc.subtract(rows["end_us"], rows["start_us"]).cast(pa.float64()), 1e6),
    "window_start": _time("window_start_us"),
    "arrived_at": _time("arrived_us"),
    "completeness": _completeness,
    "event_date": lambda rows: rows["start_us"].cast(pa.timestamp("us", "UTC")).cast(pa.date32()),
    "lag_ms": lambda rows: pc.divide(rows["lag_us"], 1000),
    "hour_start": _time("start_us"),
    "seen": lambda rows: rows["objects"],
    "score": _score,
    "source_topic": lambda rows: pa.array([DETECTIONS.name] * rows.num_rows),
}
