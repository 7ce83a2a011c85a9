"""Columns of a DetectionBatch as numpy arrays, and back.

One message at a time: what an edge node writes, a report reads, and the streaming job's bulk decoder is tested against.
Both versions of the contract are written and read here; how version 2 packs detections is in ``packing``.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from sightline_contract import packing
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.errors import ContractError
from sightline_contract.ids import SCHEMA_VERSION

BOX_SCALE = 65535
SCORE_SCALE = 255
MAX_OFFSET_MS = 65535
MAX_DETECTIONS_PER_FRAME = 65535
MAX_APPEARANCE_SIZE = 128
EVEN_SCALE = 1000


@dataclass(frozen=True)
class Frames:
    """Detections of F consecutive analysed frames of one camera, N detections in all."""

    offset_ms: npt.NDArray[np.uint16]  # (F,) since the batch's captured_us
    counts: npt.NDArray[np.uint16]  # (F,) detections of each frame
    boxes: npt.NDArray[np.float32]  # (N, 4) centre x, centre y, width, height in fractions of the frame
    scores: npt.NDArray[np.float32]  # (N,) 0..1
    classes: npt.NDArray[np.uint8]  # (N,) ids of labels.py
    appearance: npt.NDArray[np.int8] | None = None  # (N, D) unit vectors * 127, 0 where unknown; D up to MAX_APPEARANCE_SIZE
    appearance_even: float = 0.0  # cosine, below 1, at which two detections are as likely one object as two


def set_frames(batch: DetectionBatch, frames: Frames) -> None:
    """Write ``frames`` into the columns of the batch's schema_version; boxes are clipped to the frame.

    Version 2 needs the batch's frame size, and sends the detections of a frame from left to right. Raises ContractError where
    the batch has no such version or frames too large for it, and where times go back.
    """
    _check_version(batch)
    if batch.schema_version == 1:
        _set_plain(batch, frames)
    else:
        frames = _set_packed(batch, frames)
    if frames.appearance is not None:
        batch.appearance = frames.appearance.astype(np.int8).tobytes()
        batch.appearance_size = frames.appearance.shape[1]
        batch.appearance_even = round(frames.appearance_even * EVEN_SCALE)


def _set_plain(batch: DetectionBatch, frames: Frames) -> None:
    boxes = np.clip(frames.boxes, 0.0, 1.0) * BOX_SCALE
    batch.frame_offset_ms = frames.offset_ms.astype("<u2").tobytes()
    batch.detections_per_frame = frames.counts.astype("<u2").tobytes()
    batch.boxes = np.rint(boxes).astype("<u2").tobytes()
    batch.scores = _score_bytes(frames.scores).tobytes()
    batch.classes = frames.classes.astype(np.uint8).tobytes()


def _set_packed(batch: DetectionBatch, frames: Frames) -> Frames:
    """Write the columns of version 2; returns the frames with their detections in the order in which they are sent."""
    _check_size(batch)
    counts = frames.counts.astype(np.int64)
    units = packing.to_units(frames.boxes, (batch.frame_width, batch.frame_height))
    order = packing.frame_order(units, counts)
    packed = packing.pack(units[order], _score_bytes(frames.scores)[order], frames.classes.astype(np.uint8)[order], counts)
    times_ms = np.append(0, frames.offset_ms).astype(np.int64)
    steps_ms: npt.NDArray[np.int64] = times_ms[1:] - times_ms[:-1]
    if np.any(steps_ms < 0):
        raise ContractError("frame times go back")
    batch.frame_steps_ms = packing.write_varints(steps_ms)
    batch.frame_counts = packing.write_varints(counts)
    batch.references, batch.box_changes = packed.references, packed.box_changes
    batch.score_changes, batch.class_changes = packed.score_changes, packed.class_changes
    return replace(frames, appearance=None if frames.appearance is None else frames.appearance[order])


def _score_bytes(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.rint(np.clip(scores, 0.0, 1.0) * SCORE_SCALE).astype(np.uint8)


def get_frames(batch: DetectionBatch) -> Frames:
    """Unpack the columns of ``batch``, of whatever version; raises ContractError where they break the contract."""
    _check_version(batch)
    frames = _plain(batch) if batch.schema_version == 1 else _unpacked(batch)
    looks = _appearance(batch, len(frames.scores))
    return replace(frames, appearance=looks, appearance_even=batch.appearance_even / EVEN_SCALE)


def _plain(batch: DetectionBatch) -> Frames:
    frames = len(batch.frame_offset_ms) // 2
    if len(batch.frame_offset_ms) % 2 or len(batch.detections_per_frame) != 2 * frames:
        raise ContractError("frame_offset_ms and detections_per_frame differ in length")
    offset_ms, counts = np.frombuffer(batch.frame_offset_ms, "<u2"), np.frombuffer(batch.detections_per_frame, "<u2")
    if np.any(np.diff(offset_ms.astype(np.int32)) < 0):
        raise ContractError("frame_offset_ms goes back")
    detections = int(counts.sum())
    if (len(batch.boxes), len(batch.scores), len(batch.classes)) != (8 * detections, detections, detections):
        raise ContractError(f"boxes, scores and classes do not hold {detections} detections")
    boxes = np.frombuffer(batch.boxes, "<u2").reshape(-1, 4) / np.float32(BOX_SCALE)
    return _frames(offset_ms, counts, boxes, np.frombuffer(batch.scores, np.uint8), np.frombuffer(batch.classes, np.uint8))


def _unpacked(batch: DetectionBatch) -> Frames:
    _check_size(batch)
    counts = packing.read_varints(batch.frame_counts, "frame_counts")
    offset_ms = np.cumsum(packing.read_varints(batch.frame_steps_ms, "frame_steps_ms"))
    if len(counts) != len(offset_ms):
        raise ContractError("frame_steps_ms and frame_counts differ in length")
    if np.any(offset_ms > MAX_OFFSET_MS) or np.any(counts > MAX_DETECTIONS_PER_FRAME):
        raise ContractError(f"a frame is over {MAX_OFFSET_MS} ms late or holds over {MAX_DETECTIONS_PER_FRAME} detections")
    packed = packing.Packed(batch.references, batch.box_changes, batch.score_changes, batch.class_changes)
    units, scores, classes = packing.unpack(packed, int(counts.sum()), (batch.frame_width, batch.frame_height))
    whole = np.array([batch.frame_width, batch.frame_height] * 2, np.int64) * packing.UNITS_PER_PX
    return _frames(offset_ms.astype(np.uint16), counts.astype(np.uint16), units / np.maximum(whole, 1), scores, classes)


def _frames(
    offset_ms: npt.NDArray[np.uint16],
    counts: npt.NDArray[np.uint16],
    boxes: npt.NDArray[np.floating],
    scores: npt.NDArray[np.uint8],
    classes: npt.NDArray[np.uint8],
) -> Frames:
    return Frames(offset_ms, counts, boxes.astype(np.float32), (scores / np.float32(SCORE_SCALE)).astype(np.float32), classes)


def _appearance(batch: DetectionBatch, detections: int) -> npt.NDArray[np.int8] | None:
    size = batch.appearance_size
    if size > MAX_APPEARANCE_SIZE:
        raise ContractError(f"appearance_size {size} is above {MAX_APPEARANCE_SIZE}")
    if batch.appearance_even >= EVEN_SCALE:
        raise ContractError(f"appearance_even {batch.appearance_even} is no cosine below 1")
    if len(batch.appearance) != size * detections:
        raise ContractError(f"appearance does not hold {detections} detections of {size} bytes")
    return np.frombuffer(batch.appearance, np.int8).reshape(detections, size) if size else None


def parse_batch(payload: bytes) -> DetectionBatch:
    """A message from the ``detections`` topic; raises ContractError with the reason where it breaks the contract."""
    batch = DetectionBatch()
    try:
        batch.ParseFromString(payload)
    except DecodeError as error:
        raise ContractError("not a DetectionBatch (protobuf does not parse)") from error
    _check_version(batch)
    if not batch.camera_id:
        raise ContractError("camera_id is empty")
    if batch.captured_us <= 0:
        raise ContractError(f"captured_us {batch.captured_us} is not a time")
    if not batch.frame_width or not batch.frame_height:
        raise ContractError(f"frame size {batch.frame_width}x{batch.frame_height} is empty")
    get_frames(batch)
    return batch


def _check_version(batch: DetectionBatch) -> None:
    if not 1 <= batch.schema_version <= SCHEMA_VERSION:
        raise ContractError(f"schema_version {batch.schema_version} is not spoken here (1 to {SCHEMA_VERSION})")


def _check_size(batch: DetectionBatch) -> None:
    if max(batch.frame_width, batch.frame_height) > packing.MAX_FRAME_SIZE_PX:
        size = f"{batch.frame_width}x{batch.frame_height}"
        raise ContractError(f"frame size {size} is above {packing.MAX_FRAME_SIZE_PX} px: scale the frames down")
