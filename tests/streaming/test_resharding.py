"""Shards dealt out anew: nothing of a camera is lost under any number, and the stream tells what it would have told."""

from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seen import CAR, PERSON, Camera, Seen, walk
from shards import Row, Shard, camera

from sightline_contract.camera import Line, Zone
from sightline_contract.errors import StateError
from sightline_contract.ids import shard_of
from sightline_contract.rules import StoppedRule
from sightline_streaming.core.memory import Memory, empty_memory
from sightline_streaming.core.resharding import reshard
from sightline_streaming.core.state import Identity, restore, snapshot

WINDOW_S, SECONDS = 5, 16
YARD = ((300, 200), (900, 200), (900, 600), (300, 600))
LINES = (Line(name="gate", start=(0, 360), end=(1280, 360)), Line(name="side", start=(640, 0), end=(640, 720)))
ZONES = (Zone(name="yard", polygon=YARD, rules=(StoppedRule(kind="stopped"),)), Zone(name="lawn", polygon=YARD))
# Of each kind of camera one or more: with lines, with zones and rules, with appearance vectors, without all that.
CAMERAS = [camera(f"cam-{k}", lines=LINES[: k % 3], zones=ZONES[: k % 3]) for k in range(7)]
SHARDS = st.integers(1, 9)


def wanderer(seed: int) -> Seen:
    rng = np.random.default_rng(seed)
    times = np.linspace(rng.uniform(0, 3), rng.uniform(10, SECONDS), 4)
    xs, ys = rng.uniform(80, 1200, 4), rng.uniform(120, 700, 4)
    return Seen(walk(*zip(times.tolist(), xs.tolist(), ys.tolist(), strict=True)), (CAR, PERSON)[seed % 2], looks=seed)


SEEN = [
    Camera(
        [wanderer(10 * k + n) for n in range(k % 4 + 1)], f"cam-{k}", fps=10, frames=10, look_size=(0, 16)[k % 2],
        model_version=("old", "new")[k % 3 == 1],
    )
    for k in range(7)
]  # fmt: skip
STREAM = [(one.camera_id, one.batch(seq, end=seq == SECONDS - 1)) for seq in range(SECONDS) for one in SEEN]


class City:
    """All shards of a query."""

    def __init__(self, shards: int, states: list[bytes | None] | None = None) -> None:
        identities = [Identity(number, shards) for number in range(shards)]
        self.shards = [Shard(*CAMERAS, identity=one, window_s=WINDOW_S, allowed_lateness_s=1) for one in identities]
        for shard, state in zip(self.shards, states or [None] * shards, strict=True):
            shard.state = state
        self.rows: list[Row] = []

    def take(self, begin: int, end: int) -> None:
        for number, shard in enumerate(self.shards):
            chosen = [payload for name, payload in STREAM[begin:end] if shard_of(name, len(self.shards)) == number]
            if chosen:
                self.rows += shard.take(chosen)

    def rescaled(self, shards: int) -> "City":
        """Another number of shards, that goes on; its rows hold those until now."""
        memories = reshard(self.memories(), shards)
        states: list[bytes | None] = [
            snapshot(memory, WINDOW_S * 1_000_000, Identity(number, shards)) if memory.names else None
            for number, memory in enumerate(memories)
        ]
        city = City(shards, states)
        city.rows = self.rows
        return city

    def memories(self) -> list[Memory]:
        window_us = WINDOW_S * 1_000_000
        return [restore(shard.state, window_us) if shard.state else empty_memory() for shard in self.shards]


def facts(city: City) -> "Counter[str]":
    """All rows of a city, which calls have cut alike."""
    return Counter(repr({name: value for name, value in row.items() if name != "source_offset"}) for row in city.rows)


@cache
def halfway() -> list[Memory]:
    city = City(4)
    city.take(0, len(STREAM) // 2)
    return city.memories()


def states(memories: list[Memory]) -> list[bytes]:
    return [snapshot(memory, WINDOW_S * 1_000_000) for memory in memories]


def test_the_memories_of_these_tests_hold_records_of_every_kind() -> None:
    assert np.all(sum(memory.parts.used for memory in halfway()) > 0)
    assert {model for memory in halfway() for model in memory.models} == {b"new", b"old"}


@settings(max_examples=40)
@given(st.lists(SHARDS, max_size=4), SHARDS)
def test_shards_that_are_split_and_merged_again_are_the_same_bytes(between: list[int], last: int) -> None:
    memories = halfway()
    for shards in between:
        memories = reshard(memories, shards)
    assert states(reshard(memories, last)) == states(reshard(halfway(), last))


@settings(max_examples=20)
@given(SHARDS)
def test_each_camera_is_in_its_own_shard_with_its_own_records(shards: int) -> None:
    dealt = reshard(halfway(), shards)
    assert [shard_of(name.decode(), shards) for memory in dealt for name in memory.names] == [
        number for number, memory in enumerate(dealt) for _ in memory.names
    ]
    assert all(memory.names == sorted(memory.names) for memory in dealt)
    records: dict[bytes, tuple[bytes, bytes]] = {}
    for memory in (*halfway(), *dealt):
        starts = np.cumsum(memory.cameras["n_tracks"]) - memory.cameras["n_tracks"]
        for name, start, count in zip(memory.names, starts, memory.cameras["n_tracks"], strict=True):
            own = memory.parts.tracks[start : start + count].tobytes(), memory.parts.paths["x"][start : start + count].tobytes()
            assert records.setdefault(name, own) == own
    assert len(records) == len(CAMERAS)


@settings(max_examples=15)
@given(SHARDS, st.lists(st.tuples(st.integers(1, len(STREAM) - 1), SHARDS), min_size=1, max_size=4))
def test_a_stream_with_rescales_in_it_tells_the_same_facts(first: int, rescales: list[tuple[int, int]]) -> None:
    rescaled, plain = City(first), City(first)
    begin = 0
    for cut, shards in sorted(rescales):
        rescaled.take(begin, cut)
        plain.take(begin, cut)
        rescaled = rescaled.rescaled(shards)
        begin = cut
    rescaled.take(begin, len(STREAM))
    plain.take(begin, len(STREAM))
    assert {row["kind"] for row in plain.rows} >= {"segment", "crossing", "visit", "count", "health"}
    assert facts(rescaled) == facts(plain)


def test_a_camera_whose_messages_have_no_key_stays_in_shard_0() -> None:
    assert shard_of("cam-0", 4) != 0
    shard = Shard(*CAMERAS, window_s=WINDOW_S)
    shard.take(SEEN[0].batches([0]))
    lost = City(4, [shard.state, None, None, None]).memories()
    assert [memory.names for memory in reshard(lost, 3)] == [[b"cam-0"], [], []]


def test_a_camera_in_a_wrong_shard_or_in_two_that_would_be_one_is_refused() -> None:
    shard = Shard(*CAMERAS, window_s=WINDOW_S)
    shard.take(SEEN[0].batches([0]))
    own = shard_of("cam-0", 4)
    wrong = City(4, [shard.state if number == own % 3 + 1 else None for number in range(4)]).memories()
    with pytest.raises(StateError, match=f"cam-0 is in shard {own % 3 + 1} of 4, and its own is {own}"):
        reshard(wrong, 2)
    twice = City(4, [shard.state if number in (0, own) else None for number in range(4)]).memories()
    with pytest.raises(StateError, match="cam-0 is in two shards, once of messages without a key"):
        reshard(twice, 1)
