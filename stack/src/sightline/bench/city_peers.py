"""The same detections through the trackers of the package ``trackers``, in a plain Python loop on one core.

And through our core, messages to facts, on one core as well, in turns with them. Theirs are given ready-made detections; ours
has to read messages and tells lines, zones and windows besides.
"""

from collections.abc import Callable

import numpy as np

from sightline.bench.references import REFERENCES
from sightline.bench.stopwatch import Rate, race
from sightline.simulate.steady import CLASS_IDS, FRAME_SIZE, SteadyCity
from sightline_contract.batch import get_frames, parse_batch
from sightline_streaming.core.shard import process_shard
from sightline_streaming.core.site import shard_config

PEERS = ("SORT", "ByteTrack", "OC-SORT")
_CAMERAS, _SECONDS, _SECONDS_A_CALL = 8, 10, 2
_START_US = 1_760_000_000_000_000


def race_peers(fps: int, objects: int, repeats: int) -> dict[str, Rate]:
    """Frames per CPU second of our core and of each peer, on a few cameras of the city."""
    city = SteadyCity(_CAMERAS, fps, objects, 1, _START_US)
    frames = _CAMERAS * _SECONDS * fps
    contestants: dict[str, tuple[int, Callable[[], object]]] = {"sightline core": (frames, _core_call(city))}
    seen = _detections(city)
    for name in PEERS:
        contestants[name] = frames, _peer_call(name, seen, fps)
    return race(contestants, repeats)


def _core_call(city: SteadyCity) -> Callable[[], object]:
    config = shard_config(list(city.configs))
    calls = []
    for first in range(0, _SECONDS, _SECONDS_A_CALL):
        messages = [message for second in range(first, first + _SECONDS_A_CALL) for message in city.second(second)]
        calls.append(messages)

    def run() -> None:
        state = None
        for messages in calls:
            n = len(messages)
            arrived_us = np.array([message.arrives_us for message in messages], np.int64)
            keys: list[bytes | None] = [message.key.encode() for message in messages]
            payloads: list[bytes | None] = [message.payload for message in messages]
            state, _ = process_shard(config, state, payloads, keys, np.zeros(n, np.int32), np.arange(n), arrived_us)

    return run


def _detections(city: SteadyCity) -> list[list[object]]:
    """Per camera and class the package's own objects, a frame each: made ahead, so that they are no part of a timing."""
    import supervision

    size = np.array([*FRAME_SIZE, *FRAME_SIZE], np.float32)
    streams: list[list[object]] = [[] for _ in range(_CAMERAS * len(CLASS_IDS))]
    for second in range(_SECONDS):
        for message in city.second(second):
            frames = get_frames(parse_batch(message.payload))
            ends = np.cumsum(frames.counts.astype(np.int64))
            for first, last in zip(ends - frames.counts, ends, strict=True):
                for place, class_id in enumerate(CLASS_IDS):
                    own = np.arange(first, last)[frames.classes[first:last] == class_id]
                    boxes = frames.boxes[own] * size
                    corners = np.concatenate((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2), axis=1)
                    found = supervision.Detections(xyxy=corners, confidence=frames.scores[own])
                    streams[message.camera * len(CLASS_IDS) + place].append(found)
    return streams


def _peer_call(name: str, streams: list[list[object]], fps: int) -> Callable[[], object]:
    kind, _, always = REFERENCES[name]

    def run() -> None:
        for frames in streams:
            tracker = kind(frame_rate=float(fps), **always)
            for seen in frames:
                tracker.update(seen)

    return run
