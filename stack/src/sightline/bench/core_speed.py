"""How fast the core is, on made-up cameras: the tracker alone, and everything from messages to facts.

Objects walk straight through the picture and turn round at its edges; boxes jitter and some are missed, so that tracks meet,
compete and are lost as they are in use. Seeded: every run times the same work.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sightline.bench.stopwatch import Rate, race
from sightline_contract.batch import Frames, set_frames
from sightline_contract.camera import CameraConfig
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.ids import SCHEMA_VERSION
from sightline_streaming.core.params import FIXED_CAMERA
from sightline_streaming.core.shard import process_shard
from sightline_streaming.core.site import shard_config
from sightline_streaming.motchallenge import Table, track_detections

OBJECTS_A_FRAME = (6, 20, 60)
FRAME_RATE = 25
WIDTH, HEIGHT = 1920, 1080

_MISSED = 0.05
_START_US = 1_760_000_040_000_000
_CAMERAS, _SECONDS, _SECONDS_A_CALL = 8, 20, 5
_TRACKER_FRAMES = 2000


def core_speed(repeats: int) -> dict[str, dict[int, Rate]]:
    """Frames per CPU second of "tracker" and "whole core", by objects a frame."""
    contestants: dict[str, tuple[int, Callable[[], object]]] = {}
    for objects in OBJECTS_A_FRAME:
        contestants[f"tracker {objects}"] = _TRACKER_FRAMES, _tracker_call(objects)
        contestants[f"whole core {objects}"] = _CAMERAS * _SECONDS * FRAME_RATE, _core_call(objects)
    rates = race(contestants, repeats)
    return {what: {n: rates[f"{what} {n}"] for n in OBJECTS_A_FRAME} for what in ("tracker", "whole core")}


def _tracker_call(objects: int) -> Callable[[], object]:
    boxes, seen = walkers(objects, _TRACKER_FRAMES, seed=objects)
    frame, which = np.nonzero(seen)
    rows: Table = np.ones((len(frame), 7))
    rows[:, 0] = frame + 1
    rows[:, 1:5] = boxes[frame, which]
    rows[:, 5:] = 0.95, 0
    return lambda: track_detections(FIXED_CAMERA, rows, FRAME_RATE)


def _core_call(objects: int) -> Callable[[], object]:
    """A run of all calls of a shard, on messages of a second each, the cameras' in turn."""
    config = shard_config([_camera(f"cam-{number}") for number in range(_CAMERAS)])
    by_camera = [messages(f"cam-{number}", objects, seed=number) for number in range(_CAMERAS)]
    payloads = [messages[second] for second in range(_SECONDS) for messages in by_camera]
    a_call = _CAMERAS * _SECONDS_A_CALL
    calls = [payloads[first : first + a_call] for first in range(0, len(payloads), a_call)]
    partitions = np.zeros(a_call, np.int32)
    arrived_us = np.full(a_call, _START_US + _SECONDS * 1_000_000, np.int64)

    def run() -> None:
        state = None
        for number, call in enumerate(calls):
            offsets = np.arange(number * a_call, (number + 1) * a_call, dtype=np.int64)
            state, _ = process_shard(config, state, call, None, partitions, offsets, arrived_us)

    return run


def _camera(camera_id: str) -> CameraConfig:
    return CameraConfig.model_validate(
        {
            "camera_id": camera_id,
            "frame_size": (WIDTH, HEIGHT),
            "frame_rate": FRAME_RATE,
            "classes": ("person",),
            "lines": [
                {"name": "across", "start": (0, 600), "end": (WIDTH, 600)},
                {"name": "along", "start": (900, 0), "end": (900, HEIGHT)},
            ],
            "zones": [{"name": "middle", "polygon": ((600, 300), (1300, 300), (1300, 800), (600, 800))}],
        }
    )


def messages(camera_id: str, objects: int, seed: int) -> list[bytes]:
    """DetectionBatch messages of one camera, each of a second."""
    boxes, seen = walkers(objects, _SECONDS * FRAME_RATE, seed)
    sizes = boxes[..., 2:]
    shares = np.concatenate((boxes[..., :2] + sizes / 2, sizes), axis=-1) / np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])
    offset_ms = (np.arange(FRAME_RATE) * 1000 // FRAME_RATE).astype(np.uint16)
    payloads = []
    for second in range(_SECONDS):
        frames = slice(second * FRAME_RATE, (second + 1) * FRAME_RATE)
        n = int(seen[frames].sum())
        message = DetectionBatch(
            schema_version=SCHEMA_VERSION,
            node_id="node-1",
            camera_id=camera_id,
            model_version="1",
            session=_START_US,
            seq=second,
            captured_us=_START_US + second * 1_000_000,
            frame_width=WIDTH,
            frame_height=HEIGHT,
            frame_rate_mhz=FRAME_RATE * 1000,
            first_frame=second * FRAME_RATE,
        )
        columns = Frames(
            offset_ms,
            seen[frames].sum(axis=1).astype(np.uint16),
            shares[frames][seen[frames]].astype(np.float32),
            np.full(n, 0.95, np.float32),
            np.zeros(n, np.uint8),
        )
        set_frames(message, columns)
        payloads.append(message.SerializeToString())
    return payloads


def walkers(objects: int, frames: int, seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Boxes (F, N, 4) left, top, width, height in px of N objects in F frames, and which of them a detector sees."""
    random = np.random.default_rng(seed)
    size = random.uniform((30, 60), (60, 140), (objects, 2))
    room = np.array([WIDTH, HEIGHT]) - size
    start = random.uniform(0, 1, (objects, 2)) * room
    speed = random.normal(0, 80, (objects, 2))
    gone = start + speed * (np.arange(frames)[:, None, None] / FRAME_RATE)
    place = room - np.abs(np.mod(gone, 2 * room) - room)  # there and back again
    boxes = np.concatenate((place, np.broadcast_to(size, place.shape)), axis=-1)
    boxes = np.maximum(boxes + random.normal(0, 1.0, boxes.shape), (0, 0, 10, 10))
    return boxes, random.random((frames, objects)) >= _MISSED
