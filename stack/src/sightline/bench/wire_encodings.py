"""The same messages in several encodings: the contract's two versions, JSON and MessagePack, row by row and in columns.

JSON and MessagePack tell the numbers as version 2 has them, as whole numbers: boxes in quarters of a pixel, scores in 1/255.
So none of them pays for digits that another one leaves out.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from sightline.bench.wire_content import Sample
from sightline_contract.batch import SCORE_SCALE, get_frames, parse_batch, set_frames
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_streaming.core.wire import decode

VERSION_1, VERSION_2, JSON_ROWS, JSON_COLUMNS = "version 1", "version 2", "JSON, rows", "JSON, columns"
MSGPACK_ROWS, MSGPACK_COLUMNS = "MessagePack, rows", "MessagePack, columns"

Encode = Callable[[Sample], bytes]
Decode = Callable[[Sequence[bytes]], object]

_HEAD = (
    "schema_version", "node_id", "camera_id", "model_name", "model_version", "session", "seq", "captured_us", "frame_width",
    "frame_height", "frame_rate_mhz", "first_frame", "frames_skipped", "end_of_session",
)  # fmt: skip


@dataclass(frozen=True)
class Encoding:
    """How a message becomes bytes, and how a reader makes arrays of many messages."""

    encode: Encode
    decode: Decode
    reader: str


def _protobuf(version: int) -> Encode:
    def encode(sample: Sample) -> bytes:
        batch = head_of(sample.batch)
        batch.schema_version = version
        set_frames(batch, sample.frames)
        return batch.SerializeToString()

    return encode


def head_of(batch: DetectionBatch) -> DetectionBatch:
    """The message without detections."""
    head = DetectionBatch(model_digest=batch.model_digest)
    for name in _HEAD:
        setattr(head, name, getattr(batch, name))
    return head


def _head(sample: Sample) -> dict[str, Any]:
    return {name: getattr(sample.batch, name) for name in _HEAD} | {"model_digest": sample.batch.model_digest.hex()}


def as_columns(sample: Sample) -> dict[str, Any]:
    """The message as a document of columns."""
    frames = sample.frames
    return _head(sample) | {
        "frame_offset_ms": frames.offset_ms.tolist(),
        "detections_per_frame": frames.counts.tolist(),
        "boxes": sample.units.ravel().tolist(),
        "scores": _scores(sample),
        "classes": frames.classes.tolist(),
    }


def as_rows(sample: Sample) -> dict[str, Any]:
    """The message as a document of frames, each with its detections."""
    frames, first, found = sample.frames, 0, []
    rows = [
        {"box": box, "score": score, "class": class_id}
        for box, score, class_id in zip(sample.units.tolist(), _scores(sample), frames.classes.tolist(), strict=True)
    ]
    for offset_ms, count in zip(frames.offset_ms.tolist(), frames.counts.tolist(), strict=True):
        found.append({"offset_ms": offset_ms, "detections": rows[first : first + count]})
        first += count
    return _head(sample) | {"frames": found}


def _scores(sample: Sample) -> list[int]:
    return np.rint(sample.frames.scores * SCORE_SCALE).astype(np.uint8).tolist()  # type: ignore[no-any-return]


def _from_columns(document: Mapping[str, Any]) -> object:
    names = ("frame_offset_ms", "detections_per_frame", "boxes", "scores", "classes")
    return [np.array(document[name], np.uint16) for name in names]


def _from_rows(document: Mapping[str, Any]) -> object:
    detections = [each for frame in document["frames"] for each in frame["detections"]]
    counts = [(frame["offset_ms"], len(frame["detections"])) for frame in document["frames"]]
    rest = [(each["score"], each["class"]) for each in detections]
    return np.array(counts, np.uint16), np.array([each["box"] for each in detections], np.uint16), np.array(rest, np.uint8)


def _json_bytes(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _each(read: Callable[[bytes], object]) -> Decode:
    return lambda payloads: [read(payload) for payload in payloads]


ENCODINGS: dict[str, Encoding] = {
    VERSION_2: Encoding(_protobuf(2), decode, "the shard's kernel"),
    VERSION_1: Encoding(_protobuf(1), decode, "the shard's kernel"),
    MSGPACK_COLUMNS: Encoding(
        lambda s: msgpack.packb(as_columns(s)), _each(lambda p: _from_columns(msgpack.unpackb(p))), "msgpack"
    ),
    MSGPACK_ROWS: Encoding(lambda s: msgpack.packb(as_rows(s)), _each(lambda p: _from_rows(msgpack.unpackb(p))), "msgpack"),
    JSON_COLUMNS: Encoding(lambda s: _json_bytes(as_columns(s)), _each(lambda p: _from_columns(json.loads(p))), "json"),
    JSON_ROWS: Encoding(lambda s: _json_bytes(as_rows(s)), _each(lambda p: _from_rows(json.loads(p))), "json"),
}


def numpy_reader(payloads: Sequence[bytes]) -> object:
    """Version 2 as one message at a time is read, without the kernel."""
    return [get_frames(parse_batch(payload)) for payload in payloads]
