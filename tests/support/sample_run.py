"""A clip of three seconds and the tables of its run, small enough to be summed up by hand.

On grey, a person walks from left to right over the line ``gate`` (frames 0 to 29, box 20 x 40, 4 px a frame, one box filled
in by the tracker), and a car stands in the zone ``yard`` (frames 10 to 19). An older session and another camera are in the
tables too: no figure may show them.
"""

import datetime as dt
from pathlib import Path
from typing import Any

import av
import numpy as np
from sample_tables import write_rows

from sightline_contract.batch import Frames, set_frames
from sightline_contract.camera import AlertRule, CameraConfig, Line, Zone
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.ids import SCHEMA_VERSION

CAMERA = CameraConfig(
    camera_id="gate-1",
    frame_size=(160, 120),
    frame_rate=10,
    lines=(Line(name="gate", start=(80, 110), end=(80, 10), forward="east", backward="west"),),
    zones=(Zone(name="yard", polygon=((92, 84), (158, 84), (158, 118), (92, 118)), alert=AlertRule()),),
)
SESSION = 1_780_000_000_000_000
START_US = SESSION + 250_000  # the recording's own start differs from the session's
FRAMES = 30
CLIP_SIZE = (640, 480)  # four times the frame that the boxes refer to
SCALE = 4
FILLED_IN = 25
GREY = 96
CAR_BOX = [100.0, 90.0, 150.0, 115.0]
MODEL = "2.1"

Row = dict[str, Any]


def write_clip(path: Path, frames: int = FRAMES, size: tuple[int, int] = CLIP_SIZE) -> Path:
    """A lossless grey clip."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "bgr0"
        picture = np.full((size[1], size[0], 3), GREY, np.uint8)
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def person_box(frame: int) -> list[float]:
    """The walker's box in a frame."""
    return [10.0 + 4 * frame, 40.0, 30.0 + 4 * frame, 80.0]


def write_run(root: Path, rows: dict[str, list[Row]] | None = None) -> Path:
    """Write the run's tables, or ``rows`` instead, below ``root``."""
    write_rows(root, rows or run_rows())
    return root


def run_rows() -> dict[str, list[Row]]:
    """Rows by full table name."""
    person = [_segment("1", "person", range(first, first + 10)) for first in (0, 10, 20)]
    stranger = person[0] | {"track_id": "gate-2/1/1", "camera_id": "gate-2"}
    old = _segment("9", "dog", range(10)) | {"session": SESSION - 1, "track_id": "old"}
    return {
        "bronze.detections_raw": [_message(seq, offset) for offset, seq in enumerate((0, 1, 1, 2))] + [_garbage(4)],
        "silver.track_segments": [*person, _segment("2", "car", range(10, 20)), stranger, old],
        "silver.line_crossings": [_crossing("1", "person", "east", 1.5), _crossing("2", "car", "west", 1.95)],
        "silver.zone_visits": [_visit("2", "car", 1.0, 1.9), _visit("1", "person", 2.0, 2.5)],
        "silver.camera_health": [
            _health(0.0, 10, 10, 10),
            _health(1.0, 18, 20, 26),
            _health(0.0, 7, 7, 7) | {"session": SESSION - 1},
        ],
        "gold.object_counts": [row for window in range(3) for row in _counts(window)],
        "gold.alerts": [_alert("a", 1.0, 2.0), _alert("b", 1.5, 4.0), _alert("b", 1.5, 4.0), _alert("c", 2.0, 9.0)],
        "gold.node_status": [_status(1, "running", 9), _status(5, "stopped", 31)],
        "quarantine.dead_letters": [_dead_letter(7, 1.0), _dead_letter(3, -60.0)],
    }


def _at(second: float, start_us: int = START_US) -> dt.datetime:
    return dt.datetime.fromtimestamp(start_us / 1e6, dt.UTC) + dt.timedelta(seconds=second)


def _row(time: dt.datetime, **values: Any) -> Row:
    return {"camera_id": CAMERA.camera_id, "session": SESSION, "event_date": time.date()} | values


def _segment(number: str, class_name: str, frames: range) -> Row:
    first = _at(frames[0] / 10)
    boxes = [CAR_BOX if class_name == "car" else person_box(frame) for frame in frames]
    return _row(
        first,
        track_id=f"{CAMERA.camera_id}/{SESSION}/{number}",
        class_name=class_name,
        start_time=first,
        end_time=_at(frames[-1] / 10),
        window_start=first,
        observations=len(frames),
        score=0.8,
        distance_px=36.0,
        speed_px_s=60.0,
        times_ms=[100 * index for index in range(len(frames))],
        boxes=[value for box in boxes for value in box],
        sources=[2 if frame == FILLED_IN else 0 for frame in frames],
        first_segment=frames[0] in {0, 10},
        model_version=MODEL,
        arrived_at=first,
    )


def _crossing(number: str, class_name: str, direction: str, second: float) -> Row:
    time = _at(second)
    track = f"{CAMERA.camera_id}/{SESSION}/{number}"
    return _row(
        time,
        crossing_id=f"{track}/gate/{direction}",
        track_id=track,
        class_name=class_name,
        line="gate",
        direction=direction,
        crossed_at=time,
        x=80.0,
        y=80.0,
        model_version=MODEL,
    )


def _visit(number: str, class_name: str, entered_s: float, left_s: float) -> Row:
    track = f"{CAMERA.camera_id}/{SESSION}/{number}"
    return _row(
        _at(entered_s),
        visit_id=f"{track}/yard/{entered_s}",
        track_id=track,
        class_name=class_name,
        zone="yard",
        entered_at=_at(entered_s),
        left_at=_at(left_s),
        dwell_s=left_s - entered_s,
        model_version=MODEL,
    )


def _health(second: float, received: int, expected: int, detections: int) -> Row:
    return _row(
        _at(second),
        start_time=_at(second),
        end_time=_at(second + 0.9),
        arrived_at=_at(second + 2),
        frames_received=received,
        frames_expected=expected,
        detections=detections,
        late_rows=1,
        batches_received=2,
        batches_duplicate=1,
        batches_missing=0,
        batches_late=0,
        lag_ms=120,
        model_version=MODEL,
    )


def _counts(window: int) -> list[Row]:
    received = 8 if window == 2 else 10
    common = _row(
        _at(window),
        window_start=_at(window),
        window_s=1,
        new_objects=0,
        detections=received,
        frames_received=received,
        frames_expected=10,
        late_rows=0,
        completeness=received / 10,
    )
    car = int(window == 1)
    objects = {"person": 1, "car": car, "all": 1 + car}
    return [common | {"class_name": name, "objects": count} for name, count in objects.items()]


def _alert(name: str, second: float, latency_ms: float) -> Row:
    received = _at(second + 5, SESSION)
    emitted = received + dt.timedelta(milliseconds=80)
    row = _row(
        _at(second),
        alert_id=name,
        rule_id="yard",
        severity="warning",
        event_id=name,
        zone="yard",
        class_name="person",
        score=0.9,
        captured_at=_at(second),
        received_at=received,
        emitted_at=emitted,
        alerted_at=emitted + dt.timedelta(milliseconds=latency_ms),
        alert_latency_ms=latency_ms,
        model_version=MODEL,
    )
    del row["session"]
    return row


def _status(second: int, state: str, frames_read: int) -> Row:
    return _row(
        _at(second),
        node_id="node-1",
        reported_at=_at(second),
        state=state,
        frames_read=frames_read,
        frames_analysed=frames_read - 1,
        frames_skipped=1,
        batches_sent=3,
        batches_pending=0,
        events_sent=3,
        inference_ms_p50=50.0,
        inference_ms_p95=60.0,
        model_name="centernet",
        model_version=MODEL,
    )


def _dead_letter(offset: int, second: float) -> Row:
    return {
        "source_topic": "detections",
        "source_partition": 0,
        "source_offset": offset,
        "camera_id": None,
        "reason": "not a DetectionBatch (protobuf does not parse)",
        "payload": b"garbage",
        "arrived_at": _at(second),
        "event_date": _at(second).date(),
    }


def _message(seq: int, offset: int) -> Row:
    counts = [2 if seq == 1 else 1] * 10
    batch = DetectionBatch(
        schema_version=SCHEMA_VERSION, node_id="node-1", camera_id=CAMERA.camera_id, session=SESSION, seq=seq
    )
    batch.captured_us = START_US + seq * 1_000_000
    batch.frame_width, batch.frame_height = CAMERA.frame_size
    total = sum(counts)
    set_frames(
        batch,
        Frames(
            offset_ms=np.arange(0, 1000, 100, dtype=np.uint16),
            counts=np.array(counts, np.uint16),
            boxes=np.full((total, 4), 0.5, np.float32),
            scores=np.full(total, 0.8, np.float32),
            classes=np.zeros(total, np.uint8),
        ),
    )
    return _raw(offset, batch.SerializeToString())


def _garbage(offset: int) -> Row:
    return _raw(offset, b"garbage")


def _raw(offset: int, value: bytes) -> Row:
    time = _at(3)
    return {
        "topic": "detections",
        "partition": 0,
        "offset": offset,
        "key": CAMERA.camera_id,
        "value": value,
        "arrived_at": time,
        "event_date": time.date(),
    }
