"""A small, lawful lakehouse: two cameras for three minutes, every silver and gold table filled consistently.

``front`` delivers all of its frames, ``gate`` four of five. The same walks make segments, crossings, visits and counts, so
figures can be told by hand: each camera sees one person every ten seconds, each walks for eight seconds and crosses one line.
"""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from sightline_lakehouse.arrow import arrow_schema
from sightline_lakehouse.ddl import create_local_tables
from sightline_lakehouse.tables import ALL_TABLES, Table

START = dt.datetime(2026, 3, 2, 8, 58, 30, tzinfo=dt.UTC)  # the three minutes run over an hour's end
SECONDS = 180
FRAME_RATE = 10
WALK_EVERY_S = 10
WALK_S = 8
CAMERAS = {"front": 1.0, "gate": 0.8}  # share of frames that arrive
MODEL = "1.0"

Row = dict[str, Any]
Rows = Mapping[str, list[Row]]


def sample_rows() -> dict[str, list[Row]]:
    """Rows by full table name."""
    rows: dict[str, list[Row]] = {table.full_name: [] for table in ALL_TABLES}
    for camera, share in CAMERAS.items():
        for number, start_s in enumerate(range(0, SECONDS, WALK_EVERY_S)):
            _add_walk(rows, camera, number, _at(start_s))
        for second in range(SECONDS):
            rows["gold.object_counts"] += _counts(camera, share, second)
        for second in range(0, SECONDS, 10):
            rows["silver.camera_health"].append(_health(camera, share, second))
            rows["gold.node_status"].append(_status(camera, second))
    for second in range(0, SECONDS, 10):
        rows["gold.model_status"].append(_model_status(second))
        rows["gold.model_figures"].append(_model_figures(second))
        rows["gold.model_detections"].append(_model_detections(second))
    rows["gold.model_rollouts"].append(_model_rollout())
    rows["quarantine.dead_letters"].append(_dead_letter())
    return rows


def write_rows(root: Path, rows: Rows) -> None:
    """Create every table below ``root`` and append the rows."""
    create_local_tables(str(root))
    for table in ALL_TABLES:
        if rows.get(table.full_name):
            write_deltalake(str(root / table.path), as_arrow(table, rows[table.full_name]), mode="append")


def as_arrow(table: Table, rows: list[Row]) -> pa.Table:
    """Rows in the table's columns and types."""
    return pa.Table.from_pylist(rows, schema=arrow_schema(table))


def _at(second: float) -> dt.datetime:
    return START + dt.timedelta(seconds=second)


def _common(camera: str, time: dt.datetime) -> Row:
    return {
        "camera_id": camera,
        "session": int(START.timestamp()) * 1_000_000,
        "class_name": "person",
        "model_version": MODEL,
        "event_date": time.date(),
    }


def _add_walk(rows: dict[str, list[Row]], camera: str, number: int, start: dt.datetime) -> None:
    track = {"track_id": f"{camera}/{int(START.timestamp())}/{number}"}
    for second in range(WALK_S):
        first = start + dt.timedelta(seconds=second)
        rows["silver.track_segments"].append(_common(camera, first) | track | _segment(first, second))
    crossed = start + dt.timedelta(seconds=WALK_S / 2)
    direction = "in" if number % 3 else "out"
    rows["silver.line_crossings"].append(
        _common(camera, crossed)
        | track
        | {"crossing_id": f"{track['track_id']}/door/{direction}", "line": "door", "direction": direction}
        | {"crossed_at": crossed, "x": 300.0, "y": 240.0}
    )
    left = start + dt.timedelta(seconds=WALK_S)
    rows["silver.zone_visits"].append(
        _common(camera, crossed)
        | track
        | {"visit_id": f"{track['track_id']}/yard", "zone": "yard", "dwell_s": WALK_S / 2}
        | {"entered_at": crossed, "left_at": left}
    )
    if number % 6 == 0:
        rows["silver.scene_events"].append(_common(camera, crossed) | _scene_event(track["track_id"], crossed))
    rows["gold.alerts"].append(_common(camera, crossed) | _alert(f"{track['track_id']}/yard", crossed, 4.0 + number))


def _segment(first: dt.datetime, second: int) -> Row:
    x, y = 100.0 + 50 * second, 200.0
    return {
        "start_time": first,
        "end_time": first + dt.timedelta(milliseconds=900),
        "window_start": first,
        "observations": 2,
        "score": 0.75,
        "distance_px": 45.0,
        "speed_px_s": 50.0,
        "times_ms": [0, 900],
        "boxes": [x, y, x + 20, y + 60, x + 45, y, x + 65, y + 60],
        "sources": [0, 0],
        "first_segment": second == 0,
        "arrived_at": first + dt.timedelta(seconds=2),
    }


def _scene_event(track: str, start: dt.datetime) -> Row:
    return {
        "event_id": f"{track}/yard/restricted",
        "kind": "restricted_zone",
        "zone": "yard",
        "rule": "restricted",
        "started_at": start,
        "detected_at": start + dt.timedelta(seconds=0.5),
        "track_ids": [track],
        "value": 0.5,
        "rule_limit": 0.5,
        "unit": "s",
        "evidence": "{}",
    }


def _alert(event_id: str, captured: dt.datetime, latency_ms: float) -> Row:
    emitted = captured + dt.timedelta(milliseconds=80)
    return {
        "alert_id": f"yard-person/{event_id}",
        "rule_id": "yard-person",
        "severity": "warning",
        "event_id": event_id,
        "zone": "yard",
        "score": 0.8,
        "captured_at": captured,
        "received_at": captured,
        "emitted_at": emitted,
        "alerted_at": emitted + dt.timedelta(milliseconds=latency_ms),
        "alert_latency_ms": latency_ms,
    }


def _counts(camera: str, share: float, second: int) -> list[Row]:
    time = _at(second)
    walking = int(second % WALK_EVERY_S < WALK_S)
    frames = {
        "frames_received": int(share * FRAME_RATE),
        "frames_expected": FRAME_RATE,
        "late_rows": 0,
        "completeness": int(share * FRAME_RATE) / FRAME_RATE,
    }
    seen = {
        "window_start": time,
        "window_s": 1,
        "objects": walking,
        "new_objects": int(second % WALK_EVERY_S == 0),
        "detections": walking * int(share * FRAME_RATE),
    }
    row = {name: value for name, value in _common(camera, time).items() if name != "model_version"} | seen | frames
    return [row, row | {"class_name": "all"}]


def _health(camera: str, share: float, second: int) -> Row:
    start = _at(second)
    row = _common(camera, start)
    del row["class_name"]
    return row | {
        "start_time": start,
        "end_time": start + dt.timedelta(seconds=9.9),
        "arrived_at": start + dt.timedelta(seconds=11),
        "frames_received": int(share * FRAME_RATE) * 10,
        "frames_expected": FRAME_RATE * 10,
        "detections": WALK_S * int(share * FRAME_RATE),
        "late_rows": 0,
        "batches_received": 10,
        "batches_duplicate": 0,
        "batches_missing": 0,
        "batches_late": 0,
        "lag_ms": 120,
    }


def _status(camera: str, second: int) -> Row:
    time = _at(second)
    row = _common(camera, time)
    del row["class_name"]
    return row | {
        "node_id": "node-1",
        "reported_at": time,
        "state": "running",
        "frames_read": second * FRAME_RATE,
        "frames_analysed": second * FRAME_RATE,
        "frames_skipped": 0,
        "batches_sent": second,
        "batches_pending": 0,
        "events_sent": second // WALK_EVERY_S,
        "inference_ms_p50": 60.0,
        "inference_ms_p95": 80.0,
        "model_name": "centernet",
    }


def _report(second: int) -> Row:
    time = _at(second)
    about = {"node_id": "node-1", "site": "yard", "hardware": "onnxruntime-any-x86_64-fp32"}
    return about | {"from_at": time, "reported_at": time + dt.timedelta(seconds=10), "event_date": time.date()}


def _model_status(second: int) -> Row:
    live = {"live_name": "centernet", "live_version": MODEL, "live_number": 0, "live_digest": ""}
    asked = {"rollout_id": "", "revision": 0, "phase": "following", "reason": ""}
    return _report(second) | live | asked | {"targets": ["onnxruntime-any-x86_64-fp32"]}


def _model_figures(second: int) -> Row:
    """Of both cameras: 200 frames, 100 persons of score 0.7, 20 ms an inference."""
    model = {"slot": "live", "model_name": "centernet", "model_version": MODEL}
    counts = {"frames": 200, "errors": 0, "detections": 100, "matched": 0, "only_live": 0, "only_shadow": 0}
    scores, latencies = [0] * 32, [0] * 242
    scores[22], latencies[132] = 100, 200
    bins = {"score_counts": scores, "latency_counts": latencies, "class_names": ["person"], "class_counts": [100]}
    return _report(second) | model | counts | bins | {"iou_sum": 0.0, "score_gap_sum": 0.0}


def _model_detections(second: int) -> Row:
    figures = _model_figures(second)
    kept = ("node_id", "model_name", "model_version", "score_counts", "class_names", "class_counts", "event_date")
    window = {"window_start": _at(second), "window_s": 10, "cameras": list(CAMERAS), "frames": 180, "detections": 100}
    return {name: figures[name] for name in kept} | window | {"source_partition": 0, "source_offset": second}


def _model_rollout() -> Row:
    return {
        "rollout_id": "centernet-2",
        "seq": 0,
        "kind": "rollout",
        "model_name": "centernet",
        "version": "2",
        "baseline": MODEL,
        "decided_at": START,
        "step": "started",
        "ring": 0,
        "share": 0.05,
        "reasons": ["asked for"],
        "nodes": ["node-1"],
        "counts": "{}",
        "metrics": "[]",
        "actor": "somebody",
        "event_date": START.date(),
    }


def _dead_letter() -> Row:
    return {
        "source_topic": "detections",
        "source_partition": 0,
        "source_offset": 17,
        "camera_id": None,
        "reason": "not a DetectionBatch (protobuf does not parse)",
        "payload": b"garbage",
        "arrived_at": START,
        "event_date": START.date(),
    }
