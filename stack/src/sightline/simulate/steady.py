"""Steady traffic for load: any number of cameras with the same number of objects in every frame, cheap enough for a whole city.

A few *scripts* are made ahead: a minute of a scene, its columns encoded second by second. A camera plays one of them again and
again from a second of its own, so that a message costs three joined byte strings. Every object's way fits the minute, so that
the seam shows in no path. What was sent is counted, and so is who crossed the counting line: the sums that facts must equal.

Objects cross the picture from edge to edge; one leaves, the next enters. Boxes jitter by 2 % of their size, 3 % are missed and
as many are false. This is a load, not a street: how well streets are counted is what ``City`` is for.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline.simulate.encoding import Message, template
from sightline_contract.batch import Frames, set_frames
from sightline_contract.camera import CameraConfig, Line, Zone
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.errors import ConfigError
from sightline_contract.ids import SCHEMA_VERSION

LOOP_S = 60
SCRIPTS = 32
FRAME_SIZE = (1920, 1080)
CLASSES = ("person", "car")
CLASS_IDS = _PERSON, _CAR = 0, 2  # of labels.py
MIN_SCORE = 0.5
MOST_OBJECTS = 500

_MISSED, _FALSE, _JITTER = 0.03, 0.03, 0.02
_JOURNEY_S = (6.0, 15.0)


@dataclass(frozen=True)
class Script:
    """A minute of a scene: per second the encoded columns, and how many detections are in them."""

    columns: tuple[bytes, ...]
    detections: tuple[int, ...]
    # Seconds of the loop in which objects cross the line, one entry a crossing.
    crossings: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sent:
    """Sums of what was sent."""

    messages: int
    frames: int
    detections: int


class SteadyCity:
    """N cameras of ``fps`` frames/s with ``objects`` objects in every frame, from ``start_us`` on, each a message a second.

    Raises ConfigError where a number is out of range.
    """

    def __init__(self, cameras: int, fps: int, objects: int, seed: int, start_us: int) -> None:
        if not (cameras >= 1 and 1 <= fps <= 120 and 1 <= objects <= MOST_OBJECTS):
            raise ConfigError(
                f"a city of {cameras} cameras, {fps} frames/s and {objects} objects: give a camera or more, up to 120 frames/s "
                f"and up to {MOST_OBJECTS} objects"
            )
        self.cameras, self.fps, self.objects, self.start_us = cameras, fps, objects, start_us
        self._scripts = [_script(fps, objects, seed * SCRIPTS + k) for k in range(min(SCRIPTS, cameras))]
        rng = np.random.default_rng(seed)
        self._first_second = rng.integers(0, LOOP_S, cameras)
        # Cameras' seconds do not begin together: their messages come spread over the second.
        self._phase_us = np.sort(rng.integers(0, 1_000_000, cameras))
        self.names = [f"load-{k:06d}" for k in range(cameras)]
        self._heads = [_head(name, start_us + int(phase)) for name, phase in zip(self.names, self._phase_us, strict=True)]

    def beginning(self, start_us: int) -> "SteadyCity":
        """The same city, from another moment on."""
        city = copy.copy(self)
        city.start_us = start_us
        city._heads = [_head(name, start_us + int(phase)) for name, phase in zip(self.names, self._phase_us, strict=True)]
        return city

    @property
    def configs(self) -> Iterator[CameraConfig]:
        """The camera files: a counting line down the middle, a zone on the right."""
        width, height = FRAME_SIZE
        line = Line(name="middle", start=(width / 2, height), end=(width / 2, 0))
        zone = Zone(name="right", polygon=((1200, 300), (1800, 300), (1800, 900), (1200, 900)))
        for name in self.names:
            yield CameraConfig(
                camera_id=name, frame_size=FRAME_SIZE, frame_rate=self.fps, classes=CLASSES, min_score=MIN_SCORE,
                lines=(line,), zones=(zone,),
            )  # fmt: skip

    def second(self, number: int) -> Iterator[Message]:
        """The messages of one second, in order of arrival: each is sent when its last frame was captured."""
        middle = DetectionBatch(seq=number, first_frame=number * self.fps)
        for k, (name, head) in enumerate(zip(self.names, self._heads, strict=True)):
            captured_us = self.start_us + number * 1_000_000 + int(self._phase_us[k])
            middle.captured_us = captured_us
            payload = head + middle.SerializeToString() + self._script(k).columns[self._place(k, number)]
            yield Message(captured_us + 1_000_000, k, number, name, payload)

    def sent(self, seconds: int) -> Sent:
        """Sums over the first ``seconds`` seconds."""
        detections = 0
        for k in range(self.cameras):
            by_second = self._script(k).detections
            detections += sum(by_second[self._place(k, number)] for number in range(seconds))
        messages = seconds * self.cameras
        return Sent(messages, messages * self.fps, detections)

    def crossings(self, seconds: int) -> int:
        """How many objects cross the line in the first ``seconds`` seconds."""
        total = 0
        for k in range(self.cameras):
            since = np.mod(self._script(k).crossings - float(self._first_second[k]), LOOP_S)
            total += int(np.ceil((seconds - since) / LOOP_S).clip(0).sum())
        return total

    def _script(self, camera: int) -> Script:
        return self._scripts[camera % len(self._scripts)]

    def _place(self, camera: int, number: int) -> int:
        return int(self._first_second[camera] + number) % LOOP_S


def _head(camera_id: str, session: int) -> bytes:
    """What stays the same in a camera's messages; protobuf fields may follow each other in any order."""
    batch = template(camera_id, FRAME_SIZE)
    batch.session = session
    return batch.SerializeToString()


def _script(fps: int, objects: int, seed: int) -> Script:
    rng = np.random.default_rng(seed)
    frames = LOOP_S * fps
    centres, sizes, crossings = _ways(rng, frames, fps, objects)
    classes = np.where(rng.random(objects) < 0.7, _CAR, _PERSON).astype(np.uint8)
    boxes = np.concatenate((centres, np.broadcast_to(sizes, centres.shape)), axis=-1)  # (F, N, 4) shares of the frame
    boxes = boxes + rng.normal(0, _JITTER, boxes.shape) * np.tile(sizes, 2)
    seen = rng.random((frames, objects)) >= _MISSED
    columns, detections = [], []
    for second in range(LOOP_S):
        span = range(second * fps, (second + 1) * fps)
        one = [_frame(rng, boxes[f], seen[f], classes, sizes) for f in span]
        counts = np.array([len(found[2]) for found in one], np.uint16)
        batch = DetectionBatch(
            schema_version=SCHEMA_VERSION, frame_width=FRAME_SIZE[0], frame_height=FRAME_SIZE[1], frame_rate_mhz=fps * 1000
        )
        offsets = (np.arange(fps) * 1000 // fps).astype(np.uint16)
        boxes_of, scores_of, classes_of = (np.concatenate([found[part] for found in one]) for part in range(3))
        set_frames(batch, Frames(offsets, counts, boxes_of, scores_of, classes_of))
        columns.append(batch.SerializeToString())
        detections.append(int(counts.sum()))
    return Script(tuple(columns), tuple(detections), crossings)


def _frame(
    rng: np.random.Generator, boxes: npt.NDArray[np.float64], seen: npt.NDArray[np.bool_], classes: npt.NDArray[np.uint8],
    sizes: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.uint8]]:  # fmt: skip
    """Boxes, scores and classes of one frame's detections, false ones among them."""
    false = rng.binomial(len(seen), _FALSE)
    who = rng.integers(0, len(seen), false)
    elsewhere = np.concatenate((rng.uniform(0.1, 0.9, (false, 2)), sizes[who]), axis=-1)
    found = np.concatenate((boxes[seen], elsewhere)).astype(np.float32)
    scores = np.concatenate((rng.beta(12, 2, int(seen.sum())), rng.uniform(0.3, 0.6, false))).astype(np.float32)
    order = rng.permutation(len(found))
    return found[order], scores[order], np.concatenate((classes[seen], classes[who]))[order]


def _ways(
    rng: np.random.Generator, frames: int, fps: int, objects: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Centres (F, N, 2) and sizes (N, 2) in shares of the frame, and the seconds at which somebody is in the middle."""
    # Many objects are small ones: a frame has room for them.
    scale = min(1.0, (12 / objects) ** 0.5)
    sizes = rng.uniform((0.03, 0.07), (0.07, 0.16), (objects, 2)) * scale
    centres = np.empty((frames, objects, 2))
    at_s = np.arange(frames) / fps
    crossings: list[float] = []
    for n in range(objects):
        journeys = rng.uniform(*_JOURNEY_S, size=6)
        ends = np.cumsum(journeys) / journeys.sum() * LOOP_S
        begins = np.concatenate(((0.0,), ends[:-1]))
        which = np.searchsorted(ends, at_s, side="right")
        gone = (at_s - begins[which]) / (ends - begins)[which]
        to_right = rng.random(len(ends)) < 0.5
        lane, drift = rng.uniform(0.25, 0.75, len(ends)), rng.normal(0, 0.05, len(ends))
        left, right = sizes[n, 0] / 2, 1 - sizes[n, 0] / 2
        centres[:, n, 0] = np.where(to_right[which], left + (right - left) * gone, right - (right - left) * gone)
        centres[:, n, 1] = lane[which] + drift[which] * (gone - 0.5)
        # An object's journeys begin at a moment of its own.
        shift = int(rng.integers(0, frames))
        centres[:, n] = np.roll(centres[:, n], shift, axis=0)
        crossings += (((begins + ends) / 2 + shift / fps) % LOOP_S).tolist()
    return centres, sizes, np.array(crossings)
