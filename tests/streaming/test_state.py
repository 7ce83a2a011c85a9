"""The shard's state: nothing is lost or told twice however a stream is cut, and what cannot be read is refused in one line."""

import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from old_states import as_version_2
from seen import CAR, PERSON, START_US, Camera, Path, Seen, walk
from shards import Row, Shard, boxes_of, camera

from sightline_contract.camera import Line, Zone
from sightline_contract.errors import StateError
from sightline_contract.rules import StoppedRule
from sightline_streaming.core.memory import ALARM, CAMERA, HABIT, TALLY, WINDOW
from sightline_streaming.core.records import LOOK, SCENE, TRACK
from sightline_streaming.core.state import MAGIC, VERSION, Identity

PLACES = {
    "lines": (Line(name="gate", start=(0, 360), end=(1280, 360)), Line(name="side", start=(640, 0), end=(640, 720))),
    "zones": (Zone(name="yard", polygon=((300, 200), (900, 200), (900, 600), (300, 600))),),
}
CAMERAS = [camera(f"cam-{k}", **PLACES) for k in range(3)]
SECONDS = 24
LOOK_SIZES = (0, 24, 128)  # bytes of the appearance vectors that each camera sends


def wanderer(seed: int) -> Path:
    rng = np.random.default_rng(seed)
    times = np.linspace(rng.uniform(0, 4), rng.uniform(14, SECONDS), 5)
    return walk(*zip(times.tolist(), rng.uniform(80, 1200, 5).tolist(), rng.uniform(120, 700, 5).tolist(), strict=True))


def stream(cameras: int = 3) -> list[bytes]:
    """Messages of some cameras with some objects each, one after another in time."""
    seen = [
        Camera(
            [Seen(wanderer(10 * k + n), PERSON if n % 2 else CAR, looks=n) for n in range(4)],
            f"cam-{k}", fps=10, frames=10, look_size=LOOK_SIZES[k],
        )
        for k in range(cameras)
    ]  # fmt: skip
    return [one.batch(seq, end=seq == SECONDS - 1) for seq in range(SECONDS) for one in seen]


STREAM = stream()


def told(shard: Shard) -> dict[str, object]:
    """Facts without what depends on where calls were cut: segments are joined, health rows are added up."""
    paths: dict[tuple[str, int], list[Row]] = {}
    for row in shard.of("segment"):
        paths.setdefault((row["camera_id"], row["track_no"]), []).append(row)
    joined = {}
    for track, segments in paths.items():
        segments.sort(key=lambda row: row["start_us"])
        assert [row["first_segment"] for row in segments] == [True] + [False] * (len(segments) - 1)
        joined[track] = (
            b"".join(row["boxes"] for row in segments),
            b"".join(row["sources"] for row in segments),
            sum(row["observations"] for row in segments),
            round(sum(row["distance_px"] for row in segments), 1),
        )
    totals: dict[str, int] = {}
    for row in shard.of("health"):
        for name in ("frames_received", "frames_expected", "detections", "late_rows", "batches_received", "batches_missing"):
            totals[name] = totals.get(name, 0) + row[name]
    others = [
        tuple((name, value) for name, value in row.items() if name != "arrived_us")
        for kind in ("crossing", "visit", "count")
        for row in shard.of(kind)
    ]
    return {"paths": joined, "totals": totals, "others": sorted(others, key=repr)}


def taken_whole() -> Shard:
    shard = Shard(*CAMERAS, window_s=5)
    shard.take(STREAM)
    return shard


WHOLE = told(taken_whole())


def test_the_stream_of_these_tests_has_facts_of_every_kind() -> None:
    shard = taken_whole()
    assert {row["kind"] for row in shard.rows} == {"segment", "crossing", "visit", "count", "health"}
    assert all(len(boxes_of(row)) * 4 == len(row["times_ms"]) for row in shard.of("segment"))


@settings(max_examples=25)
@given(st.sets(st.integers(1, len(STREAM) - 1), max_size=12))
def test_a_stream_cut_anywhere_tells_the_same(cuts: set[int]) -> None:
    shard = Shard(*CAMERAS, window_s=5)
    edges = [0, *sorted(cuts), len(STREAM)]
    for begin, end in pairwise(edges):
        shard.take(STREAM[begin:end], first_offset=begin)
    assert told(shard) == WHOLE


@settings(max_examples=15)
@given(st.integers(1, len(STREAM) - 1))
def test_a_call_that_is_run_again_gives_the_same_bytes_and_facts(cut: int) -> None:
    shard = Shard(*CAMERAS, window_s=5)
    shard.take(STREAM[:cut])
    before = shard.state
    first = shard.take(STREAM[cut:])
    after, shard.state = shard.state, before
    assert shard.take(STREAM[cut:]) == first
    assert shard.state == after


@settings(max_examples=15)
@given(st.randoms(use_true_random=False), st.lists(st.sampled_from(STREAM), max_size=20))
def test_order_and_repetition_within_a_call_change_nothing_but_the_count_of_duplicates(rng: object, again: list[bytes]) -> None:
    messages = STREAM + again
    rng.shuffle(messages)  # type: ignore[attr-defined]
    shard = Shard(*CAMERAS, window_s=5)
    shard.take(messages)
    assert told(shard) == WHOLE
    assert sum(row["batches_duplicate"] for row in shard.of("health")) == len(again)
    assert shard.state == taken_whole().state


def test_no_two_tracks_of_a_session_share_a_number_and_none_changes_its_class() -> None:
    shard = Shard(*CAMERAS, window_s=5)
    for begin in range(0, len(STREAM), 5):
        shard.take(STREAM[begin : begin + 5])
    classes: dict[tuple[str, int, int], set[int]] = {}
    for row in shard.of("segment"):
        classes.setdefault((row["camera_id"], row["session"], row["track_no"]), set()).add(row["class_id"])
    assert {len(found) for found in classes.values()} == {1}


@pytest.mark.parametrize("kind", [CAMERA, SCENE, TRACK, LOOK, WINDOW, TALLY, ALARM, HABIT])
def test_state_records_have_no_hidden_bytes_that_copies_could_leave_behind(kind: "np.dtype[np.void]") -> None:
    assert kind.itemsize == sum(kind[name].itemsize for name in kind.names or ())


def test_a_silent_camera_is_forgotten_and_its_open_facts_are_told() -> None:
    shard = Shard(*CAMERAS, window_s=60, forget_after_s=3600)
    shard.take(STREAM[:30], arrived_us=START_US + 60_000_000)
    assert shard.of("count") == []
    other = Camera(camera_id="cam-9")
    shard.take(other.batches([0]), arrived_us=START_US + 3_661_000_000)
    assert {row["camera_id"] for row in shard.of("count")} == {"cam-0", "cam-1", "cam-2"}
    assert shard.state is not None
    assert b"cam-1" not in shard.state
    assert b"cam-9" in shard.state


def test_a_forgotten_camera_leaves_nothing_of_its_own_among_what_others_remember() -> None:
    """Protection: what is forgotten is not packed; otherwise the state contradicts itself, and the next call refuses it."""
    yard = Zone(name="yard", polygon=PLACES["zones"][0].polygon, rules=(StoppedRule(kind="stopped"),))
    stays, leaves = camera("cam-2", zones=(yard,)), camera("cam-1", zones=(yard,))
    alone, beside = Shard(stays, window_s=5), Shard(stays, leaves, window_s=5, forget_after_s=3600)
    own, other = [Camera([Seen(wanderer(3)), Seen(wanderer(4))], name, fps=10, frames=10) for name in ("cam-2", "cam-1")]
    alone.take(own.batches(range(12)), arrived_us=START_US + 60_000_000)
    beside.take(own.batches(range(12)) + other.batches(range(12)), arrived_us=START_US + 60_000_000)
    for seqs, hours in (((12, 13), 2), ((14, 15), 3)):
        for shard in (alone, beside):
            shard.take(own.batches(seqs), arrived_us=START_US + hours * 3_600_000_000)
    assert beside.state == alone.state


def test_state_keeps_only_what_lives() -> None:
    shard = Shard(camera())
    crowd = Camera([Seen(walk((0, 40 * k + 20, 300), (3, 40 * k + 20, 330)), width=20) for k in range(30)])
    shard.take(crowd.batches(range(2)))
    full = len(shard.state or b"")
    shard.take(crowd.batches(range(2, 12)))
    assert len(shard.state or b"") < full / 3


def test_looks_are_kept_for_cameras_that_send_vectors_and_take_no_room_elsewhere() -> None:
    sizes = {}
    for size in (0, 16, 64):
        shard = Shard(camera())
        shard.take(Camera([Seen(walk((0, 400, 300), (9, 400, 330)), looks=1)], look_size=size).batches(range(2)))
        sizes[size] = len(shard.state or b"")
    assert sizes[16] - sizes[0] == 2 * 16
    assert sizes[64] - sizes[0] == 2 * 64


def turn_back_behind_something(size: int) -> Camera:
    """Two walk towards each other, are hidden for 0.4 s, and walk back whence they came."""

    def path(x: float, towards: float) -> Path:
        def at(t: float) -> tuple[float, float] | None:
            return None if 2.0 < t < 2.4 else (x + towards * (100 * t if t < 2.2 else 200 - 100 * (t - 2.4)), 300)

        return at

    return Camera([Seen(path(300, 1), looks=1), Seen(path(740, -1), looks=2)], fps=25, frames=25, look_size=size)


@pytest.mark.parametrize(("size", "swap"), [(0, True), (32, False)])
def test_two_who_part_again_keep_their_numbers_where_the_node_sends_vectors(size: int, swap: bool) -> None:
    shard = Shard(camera())
    for message in turn_back_behind_something(size).batches(range(4), end=True):
        shard.take([message])
    ends: dict[int, list[float]] = {}
    for row in shard.of("segment"):
        ends.setdefault(row["track_no"], []).extend(boxes_of(row)[:, 0].tolist())
    assert len(ends) == 2
    assert [abs(xs[-1] - xs[0]) > 250 for xs in ends.values()] == [swap, swap]


def test_vectors_of_another_length_are_not_compared_with_those_before() -> None:
    shard, seen = Shard(camera()), [Seen(walk((0, 400, 300), (9, 700, 330)), looks=1)]
    for seq, size in enumerate((16, 64, 0, 8)):
        shard.take([Camera(seen, look_size=size).batch(seq)])
    assert {row["track_no"] for row in shard.of("segment")} == {1}


def test_lines_that_changed_since_are_watched_from_now_on() -> None:
    before, after = Shard(CAMERAS[0]), Shard(camera("cam-0", lines=(Line(name="new", start=(0, 500), end=(1280, 500)),)))
    seen = Camera([Seen(walk((0, 400, 100), (10, 400, 700)))], "cam-0")
    before.take(seen.batches(range(5)))
    after.state = before.state
    after.take(seen.batches(range(5, 10), end=True))
    assert [row["place"] for row in before.of("crossing") + after.of("crossing")] == ["gate", "new"]


def test_a_shorter_lateness_reads_the_state_of_a_longer_one() -> None:
    patient, hasty = Shard(CAMERAS[0], window_s=1, allowed_lateness_s=20), Shard(CAMERAS[0], window_s=1, allowed_lateness_s=1)
    seen = Camera([Seen(walk((0, 400, 300), (30, 700, 300)))], "cam-0")
    patient.take(seen.batches(range(15)))
    hasty.state = patient.state
    hasty.take(seen.batches(range(15, 20), end=True))
    windows = [row["window_start_us"] for row in hasty.of("count") if row["class_id"] == CAR]
    assert windows == [START_US + second * 1_000_000 for second in range(20)]


def state_bytes() -> bytes:
    state = taken_whole().state
    assert state is not None
    return state


@settings(max_examples=60)
@given(st.data())
def test_damaged_state_is_refused(data: st.DataObject) -> None:
    state = bytearray(state_bytes() if not STATE else STATE[0])
    at = data.draw(st.integers(0, len(state) - 1))
    if data.draw(st.booleans()):
        del state[at:]
    else:
        state[at] ^= 1 << data.draw(st.integers(0, 7))
    shard = Shard(*CAMERAS, window_s=5)
    shard.state = bytes(state)
    if at in (6, 7) and len(state) == len(STATE[0]):
        return  # padding of the head
    with pytest.raises(StateError) as refused:
        shard.take(STREAM[:1])
    assert "\n" not in str(refused.value)


STATE: list[bytes] = [state_bytes()]


def test_state_of_a_newer_release_is_refused_by_its_version() -> None:
    body = STATE[0][12:]
    shard = Shard(*CAMERAS, window_s=5)
    shard.state = struct.pack("<4sHxxI", MAGIC, VERSION + 1, zlib.crc32(body)) + body
    with pytest.raises(StateError, match=f"has version {VERSION + 1}, this release reads up to {VERSION}"):
        shard.take([])


def test_a_stream_goes_on_from_a_state_of_the_version_before() -> None:
    """Protection: UPGRADES[2]; without it version 2 is refused as one that is not read any more."""
    shard = Shard(*CAMERAS, window_s=5)
    for begin in range(0, len(STREAM), 9):
        shard.take(STREAM[begin : begin + 9], first_offset=begin)
        assert shard.state is not None
        shard.state = as_version_2(shard.state)
    assert told(shard) == WHOLE
    shard.take([])
    assert shard.state == taken_whole().state


def test_state_of_a_version_that_is_too_old_is_refused() -> None:
    body = STATE[0][12:]
    shard = Shard(*CAMERAS, window_s=5)
    shard.state = struct.pack("<4sHxxI", MAGIC, 1, zlib.crc32(body)) + body
    with pytest.raises(StateError, match="has version 1, which this release does not read any more"):
        shard.take([])


def test_the_state_of_another_shard_or_of_another_number_of_shards_is_refused() -> None:
    """Protection: the identity in the state; without it a camera would be tracked where its messages do not come."""
    own = Shard(*CAMERAS, window_s=5, identity=Identity(3, 8))
    own.take(STREAM[:9])
    for identity in (Identity(3, 4), Identity(2, 8)):
        other = Shard(*CAMERAS, window_s=5, identity=identity)
        other.state = own.state
        told_as = f"is that of shard 3 of 8, and read as shard {identity.number} of {identity.shards}: set shards back"
        with pytest.raises(StateError, match=told_as):
            other.take([])
    own.take(STREAM[9:])
    unchecked = Shard(*CAMERAS, window_s=5)
    unchecked.state = own.state
    unchecked.take([])


def test_windows_of_another_length_are_refused_with_the_way_out() -> None:
    shard = Shard(*CAMERAS, window_s=60)
    shard.state = STATE[0]
    with pytest.raises(StateError, match="windows of 5 s, the configuration in windows of 60 s: set window_s back"):
        shard.take([])
