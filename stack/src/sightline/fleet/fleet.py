"""Hundreds of simulated nodes in one process, on the real Kafka: what the centre desires comes in, what nodes say goes out.

A tick is a stretch of simulated time; every node sees a few pictures in it, and tells what its models did. The simulation's
clock is in the messages, so judge and agents see days where people see minutes.
"""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from sightline.fleet.engines import Engines
from sightline.fleet.node import Place, SimulatedNode
from sightline.fleet.picture import Sample
from sightline.fleet.scenes import pictures, streets
from sightline.hush import Hush
from sightline_contract.rollout import DesiredModels
from sightline_contract.targets import Precision, Runtime, Target
from sightline_contract.topics import DETECTIONS, MODEL_ROLLOUT, MODEL_STATUS

# Two kinds of hardware, each a stratum; what runs is ONNX Runtime on this machine for both.
TARGETS = tuple(
    Target(runtime=Runtime.ONNXRUNTIME, version="any", architecture=architecture, precision=Precision.FP32)
    for architecture in ("x86_64", "aarch64")
)
_MINUTE_US = 60_000_000
_DAY_US = 24 * 60 * _MINUTE_US
_MORNING_US = 6 * 60 * _MINUTE_US
_POLL_S = 0.0
# So many nodes with the same models see all their frames; of more, each sees fewer.
_FEW = 20


@dataclass(frozen=True)
class FleetOptions:
    """How large, and how its time goes."""

    nodes: int = 500
    sites: int = 5
    tick_minutes: float = 15.0  # of simulated time, in which a node reports once
    frames: int = 8  # that a node sees in a tick
    least_frames: int | None = None  # that it sees where many nodes have the same models; None: all see ``frames``
    start_us: int = field(default_factory=lambda: next_morning_us(time.time_ns() // 1000))
    seed: int = 1


class Fleet:
    """The nodes, and their clock."""

    def __init__(self, options: FleetOptions, bootstrap: str, baseline: Path, trust: Path, state: Path) -> None:
        """Start every node with the model folder ``baseline`` as its own; ``trust`` is the authority's certificate."""
        self.options = options
        self.now_us = options.start_us
        self.samples: list[Sample] = []
        self._rng = np.random.default_rng(options.seed)
        self._traffic = streets(options.nodes, self._rng)
        # What five hundred nodes log is for nobody: what they do shows in their reports.
        self._hush = Hush("sightline_edge")
        engines = Engines()
        self.nodes = [
            SimulatedNode(place, baseline, trust, state / place.node_id, engines, self.now_us) for place in _places(options)
        ]
        self._by_id = {node.place.node_id: node for node in self.nodes}
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "compression.type": "zstd"})
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "fleet", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        )
        self._consumer.assign([TopicPartition(MODEL_ROLLOUT.name, 0, 0)])

    def tick(self) -> None:
        """Let a stretch of time pass for every node."""
        self.now_us += round(self.options.tick_minutes * _MINUTE_US)
        self._hear()
        seen = pictures(self.now_us, self._traffic, self.options.frames, self._rng)
        # One version after the other, each run once for nobody first: nodes of a rare version would look slower otherwise,
        # since this one processor runs them all.
        version, alike = "", Counter(node.models for node in self.nodes)
        for i in sorted(range(len(self.nodes)), key=lambda i: self.nodes[i].version):
            node = self.nodes[i]
            its = seen[i, : self._frames_of(alike[node.models])]
            if node.version != version:
                version = node.version
                node.warm()
            statuses, batches = node.live(its, self.now_us)
            for status in statuses:
                self._send(MODEL_STATUS.name, status.node_id, status.model_dump_json().encode())
            for batch in batches:
                self._send(DETECTIONS.name, batch.camera_id, batch.SerializeToString())
        self.samples.append(self.sample())

    def sample(self) -> Sample:
        """Who serves what now."""
        serving = Counter(node.version for node in self.nodes)
        return Sample(self.now_us, dict(serving), sum(node.in_shadow is not None for node in self.nodes))

    def touched(self, version: str) -> int:
        """Nodes that ever served ``version``."""
        return sum(version in node.served for node in self.nodes)

    @property
    def unserved(self) -> int:
        """Frames for which a node had no model."""
        return sum(node.unserved for node in self.nodes)

    def cut(self, nodes: Iterable[int], *, linked: bool) -> None:
        """Take the link to the centre from these nodes, or give it back."""
        for i in nodes:
            self.nodes[i].linked = linked

    def close(self) -> None:
        """End every node."""
        for node in self.nodes:
            node.close()
        self._consumer.close()
        self._producer.flush(10)
        self._hush.close()

    def _frames_of(self, alike: int) -> int:
        """That each of ``alike`` nodes with the same models sees in a tick: a comparison knows as much as its smaller side."""
        most, least = self.options.frames, self.options.least_frames
        return most if least is None else min(most, max(least, most * _FEW // alike))

    def _hear(self) -> None:
        while (message := self._consumer.poll(_POLL_S)) is not None:
            if message.error() is None and message.value():
                desired = DesiredModels.model_validate_json(message.value() or b"")
                if node := self._by_id.get(desired.node_id):
                    node.tell(desired)

    def _send(self, topic: str, key: str, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def next_morning_us(now_us: int) -> int:
    """06:00 UTC after ``now_us``: certificates that are made before a simulation are valid in it."""
    return (now_us // _DAY_US + 1) * _DAY_US + _MORNING_US


def _places(options: FleetOptions) -> list[Place]:
    width = len(str(options.nodes - 1))
    return [
        Place(f"node-{i:0{width}d}", f"site-{i % options.sites + 1}", TARGETS[i // options.sites % len(TARGETS)])
        for i in range(options.nodes)
    ]
