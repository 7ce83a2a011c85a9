"""What is sent: messages of simulated cameras, and of recordings with real detections, each with its numbers.

All that is told of a content's numbers is what its messages of the contract hold, so that every encoding tells the same.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sightline.bench.sequences import Choice, Sequence, find_sequences
from sightline.simulate.city import City, city_plans
from sightline_contract.batch import Frames, get_frames, parse_batch, set_frames
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.errors import ConfigError
from sightline_contract.ids import SCHEMA_VERSION
from sightline_contract.packing import UNITS_PER_PX, Ints
from sightline_streaming.motchallenge import NO_CLASS, Table

# Of the model that all cameras run: bytes that no compressor can guess, as a real one's.
_DIGEST = hashlib.sha256(b"model").digest()
_START_US = 1_760_000_040_000_000
SIX_FPS = 30
# A message of six objects a frame holds this many detections a frame, on average.
SIX = (5.5, 6.5)


@dataclass(frozen=True)
class Sample:
    """A message: what its head says, and its detections."""

    batch: DetectionBatch
    frames: Frames
    units: Ints  # (N, 4) boxes in 1/UNITS_PER_PX px


@dataclass(frozen=True)
class Content:
    """Messages of several cameras in the order in which they are sent."""

    name: str
    samples: tuple[Sample, ...]

    @property
    def detections(self) -> int:
        """All detections."""
        return sum(len(sample.units) for sample in self.samples)

    @property
    def frames(self) -> int:
        """All analysed frames."""
        return sum(len(sample.frames.counts) for sample in self.samples)

    @property
    def cameras(self) -> int:
        """Cameras that sent something."""
        return len({sample.batch.camera_id for sample in self.samples})


def simulated(cameras: int, seconds: int, seed: int) -> list[Content]:
    """The mixed city as it is, and of a dense one at 30 frames/s the messages with six objects a frame.

    Raises ConfigError where there is none.
    """
    mixed = City(city_plans(cameras, "mixed", "all", "none"), seconds, seed, _START_US)
    dense = City(city_plans(cameras, "dense", "all", "none", SIX_FPS), seconds, seed, _START_US)
    six = [each for each in _samples(dense) if SIX[0] <= len(each.units) / SIX_FPS <= SIX[1]]
    if not six:
        raise ConfigError(f"{cameras} cameras in {seconds} s saw no six objects a frame: give more cameras or seconds")
    return [Content("six objects a frame", tuple(six)), Content("mixed city", tuple(_samples(mixed)))]


def _samples(city: City) -> Iterator[Sample]:
    for message in city.messages():
        batch = parse_batch(message.payload)
        batch.model_digest = _DIGEST
        sample = sample_of(batch)
        if len(sample.units):
            yield sample


def sample_of(batch: DetectionBatch) -> Sample:
    """The message with its numbers."""
    frames = get_frames(batch)
    size = np.array([batch.frame_width, batch.frame_height] * 2, np.float64)
    return Sample(batch, frames, np.rint(frames.boxes * size * UNITS_PER_PX).astype(np.int64))


def recorded(sequences: Iterable[Sequence]) -> Content:
    """Messages of a second each, the sequences side by side as the cameras of a node."""
    messages = [(second, k, batch) for k, each in enumerate(sequences) for second, batch in enumerate(messages_of(each))]
    samples = (sample_of(batch) for _, _, batch in sorted(messages, key=lambda one: one[:2]))
    return Content("recordings", tuple(sample for sample in samples if len(sample.units)))


def read_recordings(data: Path) -> list[Sequence]:
    """All sequences below ``data``; raises SourceError."""
    return find_sequences(data, Choice(["*"], [], []))


def messages_of(sequence: Sequence, version: int = SCHEMA_VERSION) -> list[DetectionBatch]:
    """The sequence's detections as its camera's messages, a second each."""
    rows, rate = sequence.detections, sequence.frame_rate
    found, first, seq = [], 1, 0  # frames are numbered from 1
    while first <= sequence.n_frames:
        behind = min(int(np.ceil((seq + 1) * rate)) + 1, sequence.n_frames + 1)
        batch = _head(sequence, version, seq, first)
        inside = rows[(rows[:, 0] >= first) & (rows[:, 0] < behind)]
        set_frames(batch, _frames_of(inside, first, behind - first, sequence))
        found.append(batch)
        first, seq = behind, seq + 1
    return found


def as_sent(sequence: Sequence, version: int) -> Sequence:
    """The sequence with its detections as a reader of the contract's ``version`` gets them."""
    rows = []
    for batch in messages_of(sequence, version):
        frames = get_frames(batch)
        table = np.ones((len(frames.scores), 7))
        table[:, 0] = np.repeat(batch.first_frame + 1 + np.arange(len(frames.counts)), frames.counts)
        sides = frames.boxes.astype(np.float64) * np.tile(sequence.frame_size, 2)
        table[:, 1:3] = sides[:, :2] - sides[:, 2:] / 2
        table[:, 3:5] = sides[:, 2:]
        table[:, 5] = frames.scores
        table[:, 6] = np.where(frames.classes == NO_CLASS, -1.0, frames.classes)
        rows.append(table)
    return replace(sequence, detections=np.concatenate(rows))


def _head(sequence: Sequence, version: int, seq: int, first: int) -> DetectionBatch:
    return DetectionBatch(
        schema_version=version,
        node_id="node-1",
        camera_id=sequence.name,
        model_name="recorded",
        model_version="1",
        model_digest=_DIGEST,
        session=_START_US,
        seq=seq,
        captured_us=_START_US + round((first - 1) / sequence.frame_rate * 1e6),
        frame_width=sequence.frame_size[0],
        frame_height=sequence.frame_size[1],
        frame_rate_mhz=round(sequence.frame_rate * 1000),
        first_frame=first - 1,
    )


def _frames_of(rows: Table, first: int, n_frames: int, sequence: Sequence) -> Frames:
    size = np.array(sequence.frame_size, np.float64)
    corners = np.clip(np.concatenate((rows[:, 1:3], rows[:, 1:3] + rows[:, 3:5]), axis=1), 0, np.tile(size, 2))
    left_top, right_bottom = corners[:, :2], corners[:, 2:]
    boxes = np.concatenate(((left_top + right_bottom) / 2, right_bottom - left_top), axis=1) / np.tile(size, 2)
    return Frames(
        offset_ms=np.rint(np.arange(n_frames) * 1000 / sequence.frame_rate).astype(np.uint16),
        counts=np.bincount((rows[:, 0] - first).astype(np.int64), minlength=n_frames).astype(np.uint16),
        boxes=boxes.astype(np.float32),
        scores=rows[:, 5].astype(np.float32),
        classes=np.where(rows[:, 6] < 0, NO_CLASS, rows[:, 6]).astype(np.uint8),
    )
