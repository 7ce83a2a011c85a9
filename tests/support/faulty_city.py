"""A small simulated city's messages as they were handed to Kafka, and what the jobs must make of them.

What must come out follows from the messages that the broker acknowledged: frames, detections and repetitions by camera from
the messages themselves (which the simulator's own tallies confirm), facts from one call of the core over all of them. Facts
follow from the messages alone where each camera's come in order, repeated or not; where they are shuffled, sums do.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from confluent_kafka import Producer

from sightline.broker import require_broker
from sightline.simulate.city import City, city_plans
from sightline.simulate.encoding import Message
from sightline_contract.batch import get_frames, parse_batch
from sightline_contract.topics import DETECTIONS
from sightline_streaming.core.shard import process_shard
from sightline_streaming.core.site import shard_config
from sightline_streaming.fact_frames import to_arrow

WINDOW_S = 10
LATENESS_S = 5.0


class Sums(NamedTuple):
    """What a camera's health rows add up to."""

    frames: int
    detections: int
    batches: int
    repeated: int


@dataclass
class SmallCity:
    """Six cameras, of all shards, that give five frames a second: one message a camera and second."""

    seconds: int
    seed: int = 1
    messages: list[Message] = field(init=False)

    def __post_init__(self) -> None:
        # In the past, so that nothing is ahead of its arrival.
        start_us = (int(time.time()) // 60 - 20) * 60_000_000
        city = City(city_plans(6, "dense", faults="none", frame_rate=5), self.seconds, self.seed, start_us)
        self.configs = city.configs
        self.messages = list(city.messages())
        tallies = zip(self.configs, city.truth().tallies, strict=True)
        told = {
            c.camera_id: (sum(t.frames_sent for t in each), sum(t.detections for t in each), sum(t.messages for t in each))
            for c, each in tallies
        }
        assert {camera: sums[:3] for camera, sums in sums_of(self.messages).items()} == told

    def facts(self) -> pa.Table:
        """The facts of all messages, from one call of the core."""
        config = shard_config(self.configs, window_s=float(WINDOW_S), allowed_lateness_s=LATENESS_S)
        places = np.arange(len(self.messages), dtype=np.int64)
        keys: list[bytes | None] = [message.key.encode() for message in self.messages]
        arrived_us = np.full(len(places), time.time_ns() // 1000, np.int64)
        payloads = [message.payload for message in self.messages]
        return to_arrow(process_shard(config, None, payloads, keys, np.zeros(len(places), np.int32), places, arrived_us)[1])


def sums_of(messages: Iterable[Message]) -> dict[str, Sums]:
    """What the messages of each camera hold, each (session, seq) once, and how many were repetitions."""
    met: Counter[tuple[str, int, int]] = Counter()
    sums: dict[str, Sums] = {}
    for message in messages:
        batch = parse_batch(message.payload)
        frames = get_frames(batch)
        name = (batch.camera_id, batch.session, batch.seq)
        met[name] += 1
        so_far = sums.get(batch.camera_id, Sums(0, 0, 0, 0))
        if met[name] > 1:
            sums[batch.camera_id] = so_far._replace(repeated=so_far.repeated + 1)
        else:
            sums[batch.camera_id] = Sums(
                so_far.frames + len(frames.counts), so_far.detections + len(frames.scores), so_far.batches + 1, so_far.repeated
            )
    return sums


class Uplink:
    """A producer as an edge node has it: idempotent, with acks=all; ``acknowledged`` are the messages that the broker has."""

    def __init__(self, bootstrap: str) -> None:
        require_broker(bootstrap)
        options = {"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 5, "log_level": 0}
        self._producer = Producer(options)
        self.acknowledged: list[Message] = []

    def send(self, messages: Sequence[Message]) -> None:
        """Hand messages over; keeps nobody waiting."""
        for message in messages:

            def note(error: object, _sent: object, message: Message = message) -> None:
                if error is None:
                    self.acknowledged.append(message)

            self._producer.produce(DETECTIONS.name, key=message.key, value=message.payload, on_delivery=note)
            self._producer.poll(0)

    def flush(self, timeout_s: float = 60) -> None:
        """Wait until the broker has acknowledged or refused everything."""
        assert self._producer.flush(timeout_s) == 0
