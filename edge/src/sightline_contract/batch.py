"""Columns of a DetectionBatch as numpy arrays, and back.

One message at a time: what an edge node writes, a report reads, and the streaming job's bulk decoder is tested against.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

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
    """Write ``frames`` into the packed columns of ``batch``; boxes are clipped to the frame."""
    boxes = np.clip(frames.boxes, 0.0, 1.0) * BOX_SCALE
    scores = np.clip(frames.scores, 0.0, 1.0) * SCORE_SCALE
    batch.frame_offset_ms = frames.offset_ms.astype("<u2").tobytes()
    batch.detections_per_frame = frames.counts.astype("<u2").tobytes()
    batch.boxes = np.rint(boxes).astype("<u2").tobytes()
    batch.scores = np.rint(scores).astype(np.uint8).tobytes()
    batch.classes = frames.classes.astype(np.uint8).tobytes()
    if frames.appearance is not None:
        batch.appearance = frames.appearance.astype(np.int8).tobytes()
        batch.appearance_size = frames.appearance.shape[1]
        batch.appearance_even = round(frames.appearance_even * EVEN_SCALE)


def get_frames(batch: DetectionBatch) -> Frames:
    """Unpack the columns of ``batch``; raises ContractError where their lengths disagree."""
    check_columns(batch)
    return Frames(
        offset_ms=np.frombuffer(batch.frame_offset_ms, "<u2"),
        counts=np.frombuffer(batch.detections_per_frame, "<u2"),
        boxes=(np.frombuffer(batch.boxes, "<u2").reshape(-1, 4) / np.float32(BOX_SCALE)).astype(np.float32),
        scores=(np.frombuffer(batch.scores, np.uint8) / np.float32(SCORE_SCALE)).astype(np.float32),
        classes=np.frombuffer(batch.classes, np.uint8),
        appearance=_appearance(batch),
        appearance_even=batch.appearance_even / EVEN_SCALE,
    )


def _appearance(batch: DetectionBatch) -> npt.NDArray[np.int8] | None:
    size = batch.appearance_size
    return np.frombuffer(batch.appearance, np.int8).reshape(len(batch.scores), size) if size else None


def parse_batch(payload: bytes) -> DetectionBatch:
    """A message from the ``detections`` topic; raises ContractError with the reason where it breaks the contract."""
    batch = DetectionBatch()
    try:
        batch.ParseFromString(payload)
    except DecodeError as error:
        raise ContractError("not a DetectionBatch (protobuf does not parse)") from error
    if not 1 <= batch.schema_version <= SCHEMA_VERSION:
        raise ContractError(f"schema_version {batch.schema_version} is not spoken here (1 to {SCHEMA_VERSION})")
    if not batch.camera_id:
        raise ContractError("camera_id is empty")
    if batch.captured_us <= 0:
        raise ContractError(f"captured_us {batch.captured_us} is not a time")
    if not batch.frame_width or not batch.frame_height:
        raise ContractError(f"frame size {batch.frame_width}x{batch.frame_height} is empty")
    check_columns(batch)
    return batch


def check_columns(batch: DetectionBatch) -> None:
    """Raise ContractError unless the packed columns have lengths that agree and frame times that do not go back."""
    frames = len(batch.frame_offset_ms) // 2
    if len(batch.frame_offset_ms) % 2 or len(batch.detections_per_frame) != 2 * frames:
        raise ContractError("frame_offset_ms and detections_per_frame differ in length")
    if np.any(np.diff(np.frombuffer(batch.frame_offset_ms, "<u2").astype(np.int32)) < 0):
        raise ContractError("frame_offset_ms goes back")
    detections = int(np.frombuffer(batch.detections_per_frame, "<u2").sum())
    if (len(batch.boxes), len(batch.scores), len(batch.classes)) != (8 * detections, detections, detections):
        raise ContractError(f"boxes, scores and classes do not hold {detections} detections")
    if batch.appearance_size > MAX_APPEARANCE_SIZE:
        raise ContractError(f"appearance_size {batch.appearance_size} is above {MAX_APPEARANCE_SIZE}")
    if batch.appearance_even >= EVEN_SCALE:
        raise ContractError(f"appearance_even {batch.appearance_even} is no cosine below 1")
    if len(batch.appearance) != batch.appearance_size * detections:
        raise ContractError(f"appearance does not hold {detections} detections of {batch.appearance_size} bytes")
