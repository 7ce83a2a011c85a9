"""Batches counted by node, version and window, without Spark."""

import datetime as dt

import numpy as np
import pytest

from sightline_contract.batch import Frames, set_frames
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_streaming.model_counts import count_batches

US = 1_000_000


def batch(camera: str, second: int, scores: list[float], classes: list[int], version: str = "1", schema: int = 2) -> bytes:
    """One second, two frames: all detections in the first one."""
    message = DetectionBatch(
        schema_version=schema, node_id="node", camera_id=camera, model_name="street", model_version=version, session=1,
        seq=second, captured_us=second * US, frame_width=640, frame_height=480, frame_rate_mhz=2000, first_frame=2 * second,
    )  # fmt: skip
    boxes = np.tile(np.array([0.5, 0.5, 0.1, 0.1], np.float32), (len(scores), 1))
    set_frames(
        message,
        Frames(
            offset_ms=np.array([0, 500], np.uint16), counts=np.array([len(scores), 0], np.uint16), boxes=boxes,
            scores=np.array(scores, np.float32), classes=np.array(classes, np.uint8),
        ),
    )  # fmt: skip
    return message.SerializeToString()


def rows_of(*messages: bytes | None) -> list[dict]:
    sources = [(0, offset) for offset in range(len(messages))]
    return count_batches(messages, sources, 10).to_pylist()


@pytest.mark.parametrize("schema", [1, 2])
def test_batches_of_a_window_add_up_by_version(schema):
    first, other = rows_of(
        batch("a", 11, [0.9, 0.5], [0, 2], schema=schema),
        batch("b", 12, [1.0], [0], schema=schema),
        batch("a", 13, [0.2], [0], version="2", schema=schema),
    )
    assert first["window_start"] == dt.datetime(1970, 1, 1, 0, 0, 10, tzinfo=dt.UTC)
    assert (first["node_id"], first["model_name"], first["cameras"]) == ("node", "street", ["a", "b"])
    assert (first["frames"], first["detections"]) == (4, 3)
    assert {i: n for i, n in enumerate(first["score_counts"]) if n} == {16: 1, 28: 1, 31: 1}
    assert dict(zip(first["class_names"], first["class_counts"], strict=True)) == {"person": 2, "car": 1}
    assert (other["model_version"], other["detections"], other["source_offset"]) == ("2", 1, 2)


def test_windows_are_rows_of_their_own():
    rows = rows_of(batch("a", 19, [0.5], [80]), batch("a", 20, [0.5], [80]))
    assert [row["window_start"].second for row in rows] == [10, 20]
    assert [row["class_names"] for row in rows] == [["class-80"], ["class-80"]]


def test_a_batch_sent_twice_counts_once_and_an_unreadable_one_is_passed_over():
    sent = batch("a", 11, [0.5], [0])
    (row,) = rows_of(b"nonsense", None, sent, sent)
    assert (row["frames"], row["detections"], row["source_offset"]) == (2, 1, 2)
