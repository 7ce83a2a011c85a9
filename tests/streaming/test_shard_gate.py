"""Messages that cannot be used: each is a dead letter with its reason and coordinates, and touches nothing else."""

import pytest
from seen import START_US, Camera, Seen, walk
from shards import Shard, camera

STANDING = Seen(walk((0, 400, 400), (1e6, 400, 400)))
GOOD = Camera([STANDING])
HOUR_US = 3_600_000_000
WILD = Camera(extra={"seq": 2**50}).batch(0)
AHEAD = Camera(start_us=START_US + HOUR_US + 400_000_000).batch(0)
FIVE_MINUTES = Camera(start_us=START_US + HOUR_US + 300_000_000).batch(0)
LATER_SESSION = Camera(session=START_US + 2 * HOUR_US).batch(0)


@pytest.mark.parametrize(
    ("payload", "key", "reason"),
    [
        (b"\xffpoison", b"cam-1", "not a DetectionBatch (protobuf does not parse)"),
        (None, b"cam-1", "message has no payload"),
        (b"", b"cam-1", "schema_version 0 is not spoken here (1 to 2)"),
        (Camera(extra={"schema_version": 9}).batch(0), b"cam-1", "schema_version 9 is not spoken here (1 to 2)"),
        (Camera(extra={"frame_width": 0}).batch(0), b"cam-1", "frame size 0x720 is empty"),
        (GOOD.batch(0), b"cam-2", "key 'cam-2' is not the message's camera_id"),
        (WILD, b"cam-1", f"counts cannot be true: session {START_US}, seq {2**50}, first_frame 0"),
        (AHEAD, b"cam-1", "clock ahead by 400 s (captured_us against arrival)"),
        (FIVE_MINUTES, b"cam-1", "clock ahead by 300 s (captured_us against arrival)"),
        (LATER_SESSION, b"cam-1", "clock ahead by 3600 s (session against arrival)"),
    ],
)
def test_a_message_that_cannot_be_used_is_a_dead_letter_with_its_reason(payload: bytes | None, key: bytes, reason: str) -> None:
    shard = Shard(camera())
    rows = shard.take([payload], keys=[key], first_offset=77)
    (row,) = rows
    assert (row["kind"], row["reason"], row["camera_id"]) == ("dead_letter", reason, key.decode())
    assert (row["source_partition"], row["source_offset"], row["payload"]) == (0, 77, payload)
    assert row["start_us"] == row["arrived_us"] == START_US + HOUR_US


def test_without_a_key_the_message_says_whose_it_is() -> None:
    ahead = Camera(camera_id="cam-7", start_us=START_US + 2 * HOUR_US).batch(0)
    assert [row["camera_id"] for row in Shard().take([ahead, b"junk"])] == ["cam-7", ""]


def test_dead_letters_among_good_messages_change_nothing_else() -> None:
    clean, dirty = Shard(camera(), window_s=10), Shard(camera(), window_s=10)
    good = GOOD.batches(range(20), end=True)
    clean.take(good)
    ahead = Camera([STANDING], start_us=START_US + 2 * HOUR_US).batch(30)
    dirty.take([b"junk", *good[:10], ahead, None, *good[10:]])
    assert len(dirty.of("dead_letter")) == 3
    assert [row for row in dirty.rows if row["kind"] != "dead_letter"] == clean.rows
    assert dirty.state == clean.state


def test_a_clock_that_is_a_little_ahead_is_borne_with() -> None:
    shard = Shard(camera())
    shard.take([Camera([STANDING], start_us=START_US + HOUR_US + 40_000_000).batch(0)])
    assert shard.of("dead_letter") == []
