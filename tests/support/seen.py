"""Made-up cameras: what each sees is written down frame by frame, and comes out as DetectionBatch messages."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sightline_contract.batch import Frames, set_frames
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.ids import SCHEMA_VERSION

START_US = 1_760_000_040_000_000  # begins a minute
WIDTH, HEIGHT = 1280, 720
PERSON, CAR = 0, 2

# Foot-point (px) of an object at a time (s since the start), or None while it is not seen.
Path = Callable[[float], tuple[float, float] | None]


@dataclass(frozen=True)
class Seen:
    """An object and the size of its box, px."""

    path: Path
    class_id: int = CAR
    width: float = 60.0
    height: float = 80.0
    score: float = 0.95
    looks: int | None = None  # number of its appearance, for a camera that sends some


@dataclass(frozen=True)
class Camera:
    """A camera that sends batches of ``frames`` frames."""

    objects: Sequence[Seen] = ()
    camera_id: str = "cam-1"
    fps: float = 20.0
    frames: int = 20
    session: int = START_US
    start_us: int = START_US
    model_version: str = "1"
    size: tuple[int, int] = (WIDTH, HEIGHT)
    skipped: int = 0  # of the frames of each batch, the last ones
    extra: dict[str, int] = field(default_factory=dict)
    look_size: int = 0  # bytes of the appearance vectors that it sends

    def batch(self, seq: int, *, end: bool = False) -> bytes:
        """Message number ``seq``."""
        first = seq * self.frames
        ordinals = np.arange(first, first + self.frames - self.skipped)
        times_us = self.start_us + np.round(ordinals * 1e6 / self.fps).astype(np.int64)
        boxes: list[tuple[float, float, float, float]] = []
        scores: list[float] = []
        classes: list[int] = []
        counts = []
        looks = []
        for ordinal in ordinals.tolist():
            seen = [(thing, at) for thing in self.objects if (at := thing.path(ordinal / self.fps)) is not None]
            counts.append(len(seen))
            for thing, (x, y) in seen:
                boxes.append((x / WIDTH, (y - thing.height / 2) / HEIGHT, thing.width / WIDTH, thing.height / HEIGHT))
                scores.append(thing.score)
                classes.append(thing.class_id)
                looks.append(look_of(thing.looks, ordinal, self.look_size))
        message = DetectionBatch(
            schema_version=SCHEMA_VERSION,
            node_id="node-1",
            camera_id=self.camera_id,
            model_version=self.model_version,
            session=self.session,
            seq=seq,
            captured_us=int(times_us[0]),
            frame_width=self.size[0],
            frame_height=self.size[1],
            frame_rate_mhz=round(self.fps * 1000),
            first_frame=first,
            frames_skipped=self.skipped,
            end_of_session=end,
        )
        set_frames(
            message,
            Frames(
                ((times_us - times_us[0]) // 1000).astype(np.uint16),
                np.array(counts, np.uint16),
                np.array(boxes, np.float32).reshape(-1, 4),
                np.array(scores, np.float32),
                np.array(classes, np.uint8),
                np.array(looks, np.int8).reshape(-1, self.look_size) if self.look_size else None,
                0.5,
            ),
        )
        for name, value in self.extra.items():
            setattr(message, name, value)
        return message.SerializeToString()

    def batches(self, seqs: Iterable[int], *, end: bool = False) -> list[bytes]:
        """Messages of these numbers; with ``end`` the last one ends the session."""
        numbers = list(seqs)
        return [self.batch(seq, end=end and seq == numbers[-1]) for seq in numbers]


def look_of(number: int | None, frame: int, size: int) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """An appearance vector: a direction of its own for each number, seen a little differently in every frame; None: zeros."""
    if number is None or size == 0:
        return np.zeros(size, np.int8)
    own = np.random.default_rng(number).standard_normal(size)
    seen = own / np.linalg.norm(own) + 0.05 * np.random.default_rng((number, frame)).standard_normal(size)
    return np.rint(seen / np.linalg.norm(seen) * 127).astype(np.int8)


def walk(*points: tuple[float, float, float]) -> Path:
    """A path through (time in s, x, y), straight and steady between them; seen from the first to the last."""
    times, xs, ys = (np.array(column) for column in zip(*points, strict=True))

    def path(t: float) -> tuple[float, float] | None:
        if not times[0] <= t <= times[-1]:
            return None
        return float(np.interp(t, times, xs)), float(np.interp(t, times, ys))

    return path
