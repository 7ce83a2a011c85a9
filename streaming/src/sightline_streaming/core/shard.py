"""One shard, one micro-batch: ``process_shard`` takes messages and the shard's state, and gives facts and the new state.

A pure function: the same input gives the same bytes and the same facts; the order of messages and of cameras in a call does
not matter. Python works per call and per distinct camera; everything per message, frame or detection is in kernels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.desk import empty_desk
from sightline_streaming.core.gate import DeadLetter, refuse
from sightline_streaming.core.memory import CAMERA, NO_SESSION, WINDOWS, Memory, Parts, empty_memory, empty_parts
from sightline_streaming.core.records import SCENE
from sightline_streaming.core.rows import ROWS, Log, empty_log
from sightline_streaming.core.sessions import run_shard
from sightline_streaming.core.site import Rules, ShardConfig
from sightline_streaming.core.state import UNKNOWN, Identity, restore, snapshot
from sightline_streaming.core.windows import empty_ring
from sightline_streaming.core.wire import Messages, decode, number_texts

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Facts:
    """What one call states. Rows of ``log`` name cameras and models by place in ``cameras`` and ``models``."""

    config: ShardConfig
    cameras: list[bytes]
    models: list[bytes]
    log: Log
    dead_letters: list[DeadLetter]

    @cached_property
    def row_kinds(self) -> npt.NDArray[np.uint8]:
        """Kind of each row of the log: side by side, as records are too long to look through once for every kind."""
        return np.ascontiguousarray(self.log.rows["kind"][: self.log.used[ROWS]])


def process_shard(
    config: ShardConfig,
    state: bytes | None,
    payloads: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None,
    partitions: npt.NDArray[np.int32],
    offsets: Ints,
    arrived_us: Ints,
    identity: Identity = UNKNOWN,
) -> tuple[bytes, Facts]:
    """Take a micro-batch of one shard's messages.

    ``payloads`` are DetectionBatch messages and ``keys`` their Kafka keys (None: not checked); ``partitions`` and ``offsets``
    say where they come from, ``arrived_us`` when they reached the broker; ``identity`` is the shard's, unless nobody checks it.
    Returns the state for the next call, and the facts.
    Raises StateError where ``state`` cannot be read; a message that cannot be used is a dead letter among the facts.
    """
    window_us = config.rules.window_us
    memory = empty_memory() if state is None else restore(state, window_us, identity)
    messages = decode(payloads)
    messages.headers["arrived_us"] = arrived_us
    good, dead_letters = refuse(messages, payloads, keys, partitions, offsets, config.max_future_us)
    memory, camera_of = _meet(config, memory, messages, good)
    headers = messages.headers[good]
    order = np.lexsort((partitions[good], offsets[good], headers["seq"], headers["session"], camera_of))
    memory.cameras["n_messages"] = np.bincount(camera_of, minlength=len(memory.names))
    newest_us = int(headers["arrived_us"].max(initial=0))
    rules = _long_enough(config.rules, memory)
    # Both grow as needed, but to grow is to copy all.
    room, boxes = (memory.parts.used + memory.parts.used // 8).tolist(), int(headers["detections"].sum())
    parts, log = run_shard(
        rules, config.sites, config.corners, config.watches, messages.buffer, headers[order], memory.cameras, memory.scenes,
        memory.parts, empty_parts(room), empty_desk(), empty_ring(rules), empty_log(boxes), newest_us - config.forget_after_us,
    )  # fmt: skip
    facts = Facts(config, memory.names, memory.models, log, dead_letters)
    return snapshot(_without_forgotten(memory, parts), window_us, identity), facts


def _meet(config: ShardConfig, memory: Memory, messages: Messages, good: Ints) -> tuple[Memory, Ints]:
    """The memory with all cameras and models of the messages in it, and the camera of each good message.

    Notes each message's model, and each camera's configuration.
    """
    camera_names, camera_of = _distinct(messages, good, "camera")
    model_names, model_of = _distinct(messages, good, "model")
    models = memory.models + sorted(set(model_names) - set(memory.models))
    model_place = {name: k for k, name in enumerate(models)}
    messages.headers["model"][good] = np.array([model_place[name] for name in model_names], np.int32)[model_of]
    names = sorted(set(memory.names).union(camera_names))
    place = {name: k for k, name in enumerate(names)}
    cameras, scenes = memory.cameras, memory.scenes
    if len(names) > len(memory.names):
        known = np.array([place[name] for name in memory.names], np.int64)
        cameras, scenes = np.zeros(len(names), CAMERA), np.zeros(len(names), SCENE)
        cameras["session"] = NO_SESSION
        cameras[known], scenes[known] = memory.cameras, memory.scenes
    cameras["index"] = np.arange(len(names))
    cameras["site"] = [config.site_of.get(name, 0) for name in names]
    places = np.array([place[name] for name in camera_names], np.int64)
    return Memory(names, models, cameras, scenes, memory.parts), places[camera_of]


def _distinct(messages: Messages, good: Ints, text: str) -> tuple[list[bytes], npt.NDArray[np.int32]]:
    """The distinct values of a text field, and which of them each good message has."""
    places = messages.headers[f"{text}_at"][good]
    lengths = messages.headers[f"{text}_length"][good]
    numbers, firsts = number_texts(messages.buffer, places, lengths)
    return [messages.buffer[places[k] : places[k] + lengths[k]].tobytes() for k in firsts], numbers


def _long_enough(rules: Rules, memory: Memory) -> Rules:
    """Rules whose ring holds all windows in memory, which an earlier configuration may have kept open for longer."""
    windows = memory.parts.windows[: memory.parts.used[WINDOWS]]
    owner_before = np.repeat(memory.cameras["closed_before"], memory.cameras["n_windows"])
    span = int((windows["number"] - owner_before).max(initial=0)) + 1
    return rules._replace(open_windows=max(rules.open_windows, span))


def _without_forgotten(memory: Memory, parts: Parts) -> Memory:
    """The memory without dropped cameras, which have no parts any more, and without models that no camera refers to."""
    kept = np.flatnonzero(memory.cameras["dropped"] == 0)
    cameras, scenes = memory.cameras[kept], memory.scenes[kept]
    used, places = np.unique(cameras["model"], return_inverse=True)
    cameras["model"] = places
    for name in ("index", "site", "n_messages"):
        cameras[name] = 0
    return Memory([memory.names[k] for k in kept], [memory.models[k] for k in used], cameras, scenes, parts)
