"""A second of a camera as the message that an edge node would send."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline_contract.batch import BOX_SCALE, SCORE_SCALE, Frames, set_frames
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.ids import SCHEMA_VERSION


@dataclass(frozen=True)
class Message:
    """A message on its way."""

    arrives_us: int
    camera: int
    seq: int
    key: str
    payload: bytes


@dataclass
class Session:
    """One run of a camera's pipeline."""

    session: int
    seq: int = 0
    next_frame: int = 0  # ordinal of the next frame that the camera gives


def template(camera_id: str, frame_size: tuple[int, int]) -> DetectionBatch:
    """The message with what stays the same; each message is made on a copy of it."""
    return DetectionBatch(
        schema_version=SCHEMA_VERSION,
        node_id="simulated",
        camera_id=camera_id,
        model_name="simulated",
        model_version="1",
        model_digest=bytes(32),
        frame_width=frame_size[0],
        frame_height=frame_size[1],
    )


def encode(
    batch: DetectionBatch, session: int, seq: int, captured_us: int, rate_mhz: int, first_frame: int, skipped: int, last: bool,
    offset_ms: npt.NDArray[np.uint16], counts: npt.NDArray[np.uint16], boxes: npt.NDArray[np.uint16],
    scores: npt.NDArray[np.uint8], classes: npt.NDArray[np.uint8],
) -> bytes:  # fmt: skip
    """The message's bytes; ``batch`` is the camera's template and is written over.

    ``boxes`` are in 1/65535 of the frame, ``scores`` in 1/255.
    """
    batch.session, batch.seq, batch.captured_us = session, seq, captured_us
    batch.frame_rate_mhz, batch.first_frame, batch.frames_skipped, batch.end_of_session = rate_mhz, first_frame, skipped, last
    shares, sureness = boxes / np.float32(BOX_SCALE), scores / np.float32(SCORE_SCALE)
    set_frames(batch, Frames(offset_ms, counts, shares.astype(np.float32), sureness.astype(np.float32), classes))
    return batch.SerializeToString()
