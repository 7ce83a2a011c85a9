"""A shard's state as the store keeps it: what goes in comes out, and what is damaged is refused in one line."""

import binascii
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seen import Camera, Seen, walk
from shards import Shard, camera

from sightline_contract.errors import StateError
from sightline_streaming.core.state import restore
from sightline_streaming.packed_state import BINARY_MAGIC, MAGIC, pack_state, unpack_state

STATE = np.random.default_rng(5).integers(0, 4, 20_000, np.uint8).tobytes()
HEAD_BYTES = 12  # magic, and how long the state is
WINDOW_US = 60_000_000


def shard_state() -> bytes:
    """What the tracker keeps of a camera after a second."""
    shard = Shard(camera(), window_s=WINDOW_US // 1_000_000)
    shard.take([Camera([Seen(walk((0, 100, 300), (9, 900, 300)))]).batch(0)])
    assert shard.state is not None
    return shard.state


SHARD_STATE = shard_state()


def refused(value: bytes) -> str:
    with pytest.raises(StateError) as caught:
        unpack_state(value)
    return str(caught.value)


@given(st.binary(max_size=5000))
def test_what_goes_in_comes_out(state: bytes) -> None:
    assert unpack_state(pack_state(state)) == state


def test_it_is_smaller_and_the_same_each_time() -> None:
    assert len(pack_state(STATE)) < len(STATE) / 2
    assert pack_state(STATE) == pack_state(STATE)


def test_it_is_ascii_that_the_jvm_copies_as_it_is() -> None:
    assert pack_state(STATE).isascii()


def in_bytes(value: bytes) -> bytes:
    """A packed state as releases before wrote it."""
    return binascii.a2b_base64(value[len(MAGIC) :])


def test_a_state_of_before_is_taken_as_it_is() -> None:
    assert unpack_state(SHARD_STATE) == SHARD_STATE
    assert unpack_state(in_bytes(pack_state(SHARD_STATE))) == SHARD_STATE
    assert restore(unpack_state(pack_state(SHARD_STATE)), WINDOW_US).names == [b"cam-1"]


@given(st.binary(max_size=200).filter(lambda value: not value.startswith((MAGIC, BINARY_MAGIC))))
def test_what_does_not_begin_with_the_mark_is_left_to_who_reads_states(value: bytes) -> None:
    assert unpack_state(value) == value


@pytest.mark.parametrize("size", [len(MAGIC), HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1, 500, len(pack_state(STATE)) - 1])
def test_a_value_that_was_cut_off_is_refused_in_one_line(size: int) -> None:
    message = refused(pack_state(STATE)[:size])
    assert message == (
        f"shard state of {size} bytes is damaged (cannot be decompressed): restore it from a copy, or start the query on a new "
        "checkpoint"
    )


@pytest.mark.parametrize("size", [0, 1, len(STATE) - 1, len(STATE) + 1, 2**31 + 1, 2**63, 2**64 - 1])
def test_a_value_that_claims_another_size_is_refused(size: int) -> None:
    value = BINARY_MAGIC + struct.pack("<Q", size) + in_bytes(pack_state(STATE))[HEAD_BYTES:]
    assert "\n" not in refused(value)
    assert "\n" not in refused(MAGIC + binascii.b2a_base64(value, newline=False))


@given(st.integers(len(MAGIC) * 8, len(pack_state(SHARD_STATE)) * 8 - 1))
def test_a_flipped_bit_is_refused_here_or_by_the_checksum_that_the_state_has(place: int) -> None:
    value = bytearray(pack_state(SHARD_STATE))
    value[place // 8] ^= 1 << place % 8
    complaint = damaged(bytes(value))
    assert "\n" not in (complaint or "")
    assert complaint or unpack_state(bytes(value)) == SHARD_STATE


def damaged(value: bytes) -> str | None:
    """Why the state in ``value`` cannot be read, or None where it can."""
    try:
        restore(unpack_state(value), WINDOW_US)
    except StateError as error:
        return str(error)
    return None


@given(st.binary(max_size=300))
def test_noise_behind_the_mark_is_refused_in_one_line(noise: bytes) -> None:
    assert "\n" not in refused(BINARY_MAGIC + struct.pack("<Q", 4000) + noise)
    assert "\n" not in refused(MAGIC + noise)


def test_what_stands_in_base64_must_be_a_packed_state() -> None:
    assert "\n" not in refused(MAGIC + binascii.b2a_base64(SHARD_STATE, newline=False))
