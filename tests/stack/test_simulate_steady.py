"""Steady load: its sums are those of its messages, and the core counts who crosses."""

from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest

from sightline.simulate.encoding import Message
from sightline.simulate.steady import LOOP_S, MOST_OBJECTS, Sent, SteadyCity, _ways
from sightline_contract.batch import get_frames, parse_batch
from sightline_contract.errors import ConfigError
from sightline_streaming.core.shard import process_shard
from sightline_streaming.core.site import shard_config
from sightline_streaming.fact_frames import to_arrow

START_US = 1_760_000_040_000_000


def city(cameras: int = 4, fps: int = 10, objects: int = 6, seed: int = 3) -> SteadyCity:
    return SteadyCity(cameras, fps, objects, seed, START_US)


def messages(city: SteadyCity, seconds: int) -> list[Message]:
    return [message for second in range(seconds) for message in city.second(second)]


def test_the_sums_are_those_that_the_messages_hold() -> None:
    load, seconds = city(), LOOP_S + 5
    batches = [parse_batch(message.payload) for message in messages(load, seconds)]
    frames = [get_frames(batch) for batch in batches]
    held = Sent(len(batches), sum(len(one.counts) for one in frames), sum(len(one.scores) for one in frames))
    assert held == load.sent(seconds)
    assert held.frames == 4 * seconds * 10
    assert held.detections == pytest.approx(held.frames * 6, rel=0.02)  # as many are false as are missed


def test_a_camera_numbers_its_messages_and_frames_and_keeps_its_session() -> None:
    batches = [parse_batch(message.payload) for message in messages(city(), 8)]
    for name in city().names:
        own = [batch for batch in batches if batch.camera_id == name]
        assert [batch.seq for batch in own] == list(range(8))
        assert [batch.first_frame for batch in own] == [10 * seq for seq in range(8)]
        assert {later.captured_us - one.captured_us for one, later in pairwise(own)} == {1_000_000}
        assert {batch.session for batch in own} == {own[0].captured_us}


def test_messages_arrive_in_order_after_their_last_frame() -> None:
    load = messages(city(), 4)
    arrivals = [message.arrives_us for message in load]
    assert arrivals == sorted(arrivals)
    for message in load:
        batch = parse_batch(message.payload)
        assert batch.captured_us + int(get_frames(batch).offset_ms[-1]) * 1000 <= message.arrives_us


def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    first, again, other = (messages(city(seed=seed), 3) for seed in (3, 3, 4))
    assert first == again
    assert Counter(message.payload for message in first).keys().isdisjoint(message.payload for message in other)


@pytest.mark.parametrize("seed", range(5))
def test_the_seam_of_the_loop_shows_in_no_path(seed: int) -> None:
    """Who leaves at one edge enters at an edge: only at a journey's end does an object's place change by more than a step."""
    fps, objects = 10, 12
    centres, _, _ = _ways(np.random.default_rng(seed), LOOP_S * fps, fps, objects)
    steps = np.abs(np.diff(np.concatenate((centres, centres[:1])), axis=0)).max(axis=2)  # (F, N), the last one is the seam
    journeys_end = steps > 1 / fps / 5  # the fastest crosses the picture in more than 5 s
    assert journeys_end.sum(axis=0).max() <= 6
    walking = np.where(journeys_end, 0, steps)
    assert walking[-1].max() <= walking[:-1].max()


def test_the_core_counts_who_crosses() -> None:
    load, seconds = city(fps=15), 130
    wanted = load.crossings(seconds)
    state, counted = None, 0
    config = shard_config(list(load.configs))
    sent = iter(messages(load, seconds))
    while part := list(islice(sent, 100)):
        state, facts = process_shard(
            config,
            state,
            [message.payload for message in part],
            [message.key.encode() for message in part],
            np.zeros(len(part), np.int32),
            np.arange(len(part)),
            np.array([message.arrives_us for message in part]),
        )
        counted += to_arrow(facts)["kind"].to_pylist().count("crossing")
    assert wanted > 200
    assert counted == pytest.approx(wanted, rel=0.05)


def test_crossings_add_up_over_the_loop() -> None:
    load = city()
    assert load.crossings(0) == 0
    assert load.crossings(LOOP_S) == 4 * 6 * 6  # six journeys of each object
    assert load.crossings(2 * LOOP_S) == 2 * load.crossings(LOOP_S)
    assert 0 < load.crossings(LOOP_S // 2) < load.crossings(LOOP_S)


@pytest.mark.parametrize(
    ("cameras", "fps", "objects"), [(0, 10, 6), (-1, 10, 6), (4, 0, 6), (4, 121, 6), (4, 10, 0), (4, 10, MOST_OBJECTS + 1)]
)
def test_a_number_out_of_range_is_one_line(cameras: int, fps: int, objects: int) -> None:
    with pytest.raises(ConfigError, match=r"^a city of [^\n]*: give a camera or more, [^\n]*$"):
        city(cameras, fps, objects)
