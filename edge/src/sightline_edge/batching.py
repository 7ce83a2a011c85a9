"""Gathering a camera's frames into DetectionBatch messages of at most a second.

A batch is closed by the first frame after its span, or by the first frame of another model, so that it knows what was skipped
up to there: over a session, frames and skipped frames of all batches add up to the frames that the camera gave. A stalled
camera's batch goes by the clock. No batch holds frames of two models.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sightline_contract.batch import Frames, set_frames
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.ids import SCHEMA_VERSION

# A batch that no frame closed is sent when it is so many times its span old.
OVERDUE_SPANS = 2


@dataclass(frozen=True)
class FrameDetections:
    """What was found in one frame."""

    ordinal: int
    captured_us: int
    boxes: npt.NDArray[np.float32]  # (N, 4) centre x, centre y, width, height in fractions of the frame
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.uint8]
    appearance: npt.NDArray[np.int8] | None = None  # (N, D), see Frames


@dataclass(frozen=True)
class Origin:
    """What every batch of a session says about where it comes from."""

    node_id: str
    camera_id: str
    session: int
    model_name: str
    model_version: str
    model_digest: bytes
    frame_size: tuple[int, int]  # px
    frame_rate: float
    appearance_size: int = 0  # bytes a detection
    appearance_even: float = 0.0


@dataclass
class Batcher:
    """Batches of one session: ``seq`` grows by one from 0. ``origin`` is of the frames of the open batch."""

    origin: Origin
    span_us: int
    _next: Origin | None = None
    _seq: int = 0
    _frames: list[FrameDetections] = field(default_factory=list)
    _last: FrameDetections | None = None
    _opened_us: int = 0

    def use(self, origin: Origin) -> None:
        """Frames from now on are of ``origin``, which differs from the one before in its model only."""
        self._next = origin

    def add(self, frame: FrameDetections, now_us: int) -> DetectionBatch | None:
        """Take a frame; returns the batch before it where ``frame`` opens a new one."""
        closed = None
        another = self._next is not None and self._next != self.origin
        if self._frames and (another or frame.captured_us - self._frames[0].captured_us >= self.span_us):
            closed = self._close(next_ordinal=frame.ordinal)
        if self._next is not None:
            self.origin, self._next = self._next, None
        if not self._frames:
            self._opened_us = now_us
        self._frames.append(frame)
        self._last = frame
        return closed

    def overdue(self, now_us: int) -> DetectionBatch | None:
        """The open batch where the camera has been silent for too long."""
        if not self._frames or now_us - self._opened_us < OVERDUE_SPANS * self.span_us:
            return None
        return self._close(next_ordinal=self._frames[-1].ordinal + 1)

    def end(self) -> DetectionBatch | None:
        """The last batch of the session, without frames where none is open; None where there never was a frame."""
        if self._last is None:
            return None
        batch = self._close(next_ordinal=self._last.ordinal + 1)
        batch.end_of_session = True
        return batch

    def _close(self, next_ordinal: int) -> DetectionBatch:
        frames, self._frames = self._frames, []
        origin = self.origin
        first_ordinal = frames[0].ordinal if frames else next_ordinal
        captured_us = frames[0].captured_us if frames else self._last_captured_us()
        batch = DetectionBatch(
            schema_version=SCHEMA_VERSION,
            node_id=origin.node_id,
            camera_id=origin.camera_id,
            model_name=origin.model_name,
            model_version=origin.model_version,
            model_digest=origin.model_digest,
            session=origin.session,
            seq=self._seq,
            captured_us=captured_us,
            frame_width=origin.frame_size[0],
            frame_height=origin.frame_size[1],
            frame_rate_mhz=round(origin.frame_rate * 1000),
            first_frame=first_ordinal,
            frames_skipped=next_ordinal - first_ordinal - len(frames),
        )
        set_frames(batch, _columns(frames, captured_us, origin))
        self._seq += 1
        return batch

    def _last_captured_us(self) -> int:
        return self._last.captured_us if self._last else 0


def _columns(frames: list[FrameDetections], captured_us: int, origin: Origin) -> Frames:
    size = origin.appearance_size
    looks = [frame.appearance for frame in frames if frame.appearance is not None]
    return Frames(
        offset_ms=np.array([round((frame.captured_us - captured_us) / 1000) for frame in frames], np.uint16),
        counts=np.array([len(frame.scores) for frame in frames], np.uint16),
        boxes=np.concatenate([np.zeros((0, 4), np.float32), *(frame.boxes for frame in frames)]),
        scores=np.concatenate([np.zeros(0, np.float32), *(frame.scores for frame in frames)]),
        classes=np.concatenate([np.zeros(0, np.uint8), *(frame.classes for frame in frames)]),
        appearance=np.concatenate([np.zeros((0, size), np.int8), *looks]) if size else None,
        appearance_even=origin.appearance_even,
    )
