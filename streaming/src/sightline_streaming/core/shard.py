"""One shard, one micro-batch: ``process_shard`` takes messages and the shard's state, and gives facts and the new state.

A pure function: the same input gives the same bytes and the same facts; the order of messages and of cameras in a call does
not matter. Python works per call and per distinct camera; everything per message, frame or detection is in kernels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.desk import empty_desk
from sightline_streaming.core.gate import DeadLetter, refuse
from sightline_streaming.core.memory import CAMERA, NO_SESSION, Memory, Parts, Records, empty_memory, empty_parts
from sightline_streaming.core.records import SCENE
from sightline_streaming.core.rows import Log, empty_log
from sightline_streaming.core.sessions import Work, run_shard
from sightline_streaming.core.site import Rules, ShardConfig
from sightline_streaming.core.state import restore, snapshot
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


def process_shard(
    config: ShardConfig,
    state: bytes | None,
    payloads: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None,
    partitions: npt.NDArray[np.int32],
    offsets: Ints,
    arrived_us: Ints,
) -> tuple[bytes, Facts]:
    """Take a micro-batch of one shard's messages.

    ``payloads`` are DetectionBatch messages and ``keys`` their Kafka keys (None: not checked); ``partitions`` and ``offsets``
    say where they come from, ``arrived_us`` when they reached the broker. Returns the state for the next call, and the facts.
    Raises StateError where ``state`` cannot be read; a message that cannot be used is a dead letter among the facts.
    """
    window_us = config.rules.window_us
    memory = empty_memory() if state is None else restore(state, window_us)
    messages = decode(payloads)
    arrived_us = np.ascontiguousarray(arrived_us, np.int64)
    good, dead_letters = refuse(messages, payloads, keys, partitions, offsets, arrived_us, config.max_future_us)
    memory, camera_of, model_of = _meet(memory, messages, good)
    order = good[np.lexsort((partitions[good], offsets[good], messages.headers["seq"][good], messages.headers["session"][good], camera_of))]
    work = Work(
        messages.buffer,
        messages.headers,
        arrived_us,
        model_of,
        order,
        np.searchsorted(np.sort(camera_of), np.arange(len(memory.names) + 1)).astype(np.int64),
        np.array([config.site_of.get(name, 0) for name in memory.names], np.int64),
        int(arrived_us[good].max(initial=0)) - config.forget_after_us,
    )
    rules = _long_enough(config.rules, memory)
    parts, log = run_shard(
        rules, config.sites, work, memory.cameras, memory.scenes, memory.parts, empty_parts(), empty_desk(),
        empty_ring(rules), empty_log(),
    )  # fmt: skip
    facts = Facts(config, memory.names, memory.models, log, dead_letters)
    return snapshot(_without_forgotten(memory, parts), window_us), facts


def _meet(memory: Memory, messages: Messages, good: Ints) -> tuple[Memory, Ints, npt.NDArray[np.int32]]:
    """The memory with all cameras and models of the messages in it; camera of each good message, model of every message."""
    headers = messages.headers
    camera_names, camera_of = _distinct(messages, good, "camera")
    model_names, model_of_good = _distinct(messages, good, "model")
    known = dict.fromkeys(memory.names)
    new = [name for name in camera_names if name not in known]
    names = sorted(memory.names + new)
    place = {name: k for k, name in enumerate(names)}
    models = memory.models + sorted(set(model_names) - set(memory.models))
    model_place = {name: k for k, name in enumerate(models)}
    model_of = np.zeros(len(headers), np.int32)
    model_of[good] = np.array([model_place[name] for name in model_names], np.int32)[model_of_good]
    camera_place = np.array([place[name] for name in camera_names], np.int64)
    if new:
        old_places = np.array([place[name] for name in memory.names], np.int64)
        cameras, scenes = np.zeros(len(names), CAMERA), np.zeros(len(names), SCENE)
        cameras["session"] = NO_SESSION
        cameras[old_places], scenes[old_places] = memory.cameras, memory.scenes
        memory = Memory(names, models, cameras, scenes, memory.parts)
    else:
        memory = Memory(names, models, memory.cameras, memory.scenes, memory.parts)
    return memory, camera_place[camera_of], model_of


def _distinct(messages: Messages, good: Ints, text: str) -> tuple[list[bytes], npt.NDArray[np.int32]]:
    """The distinct values of a text field, and which of them each good message has."""
    places = messages.headers[f"{text}_at"][good]
    lengths = messages.headers[f"{text}_length"][good]
    numbers, firsts = number_texts(messages.buffer, places, lengths)
    return [messages.buffer[places[k] : places[k] + lengths[k]].tobytes() for k in firsts], numbers


def _long_enough(rules: Rules, memory: Memory) -> Rules:
    """Rules whose ring holds all windows in memory, which an earlier configuration may have kept open for longer."""
    windows = memory.parts.windows[: memory.parts.used[1]]
    owner_before = np.repeat(memory.cameras["closed_before"], memory.cameras["n_windows"])
    span = int((windows["number"] - owner_before).max(initial=0)) + 1
    return rules._replace(open_windows=max(rules.open_windows, span))


def _without_forgotten(memory: Memory, parts: Parts) -> Memory:
    """The memory without dropped cameras, which have no parts any more, and without models that no camera refers to."""
    kept = np.flatnonzero(memory.cameras["dropped"] == 0)
    cameras, scenes = memory.cameras[kept], memory.scenes[kept]
    used, places = np.unique(cameras["model"], return_inverse=True)
    cameras["model"] = places
    cameras["index"] = 0
    return Memory([memory.names[k] for k in kept], [memory.models[k] for k in used], cameras, scenes, parts)
