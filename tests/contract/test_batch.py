"""DetectionBatch: what is written is read, what is broken is refused with its reason."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline_contract.batch import BOX_SCALE, Frames, get_frames, parse_batch, set_frames
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.errors import ContractError


def frames_of(counts: list[int], seed: int, looks: int = 0) -> Frames:
    rng = np.random.default_rng(seed)
    total = sum(counts)
    return Frames(
        offset_ms=np.arange(len(counts), dtype=np.uint16) * 33,
        counts=np.array(counts, dtype=np.uint16),
        boxes=rng.random((total, 4), dtype=np.float32),
        scores=rng.random(total, dtype=np.float32),
        classes=rng.integers(0, 80, total).astype(np.uint8),
        appearance=rng.integers(-127, 128, (total, looks)).astype(np.int8) if looks else None,
        appearance_even=0.875,
    )


def batch_of(frames: Frames) -> DetectionBatch:
    batch = DetectionBatch(
        schema_version=1, camera_id="gate-1", session=5, captured_us=1, frame_width=640, frame_height=480, first_frame=7
    )
    set_frames(batch, frames)
    return batch


@given(counts=st.lists(st.integers(0, 40), max_size=30), seed=st.integers(0, 2**32 - 1), looks=st.sampled_from([0, 1, 64, 128]))
def test_columns_come_back_within_half_a_step(counts: list[int], seed: int, looks: int) -> None:
    frames = frames_of(counts, seed, looks)
    read = get_frames(parse_batch(batch_of(frames).SerializeToString()))
    np.testing.assert_array_equal(read.offset_ms, frames.offset_ms)
    np.testing.assert_array_equal(read.counts, frames.counts)
    np.testing.assert_array_equal(read.classes, frames.classes)
    np.testing.assert_allclose(read.boxes, frames.boxes, atol=0.51 / BOX_SCALE)
    np.testing.assert_allclose(read.scores, frames.scores, atol=0.51 / 255)
    if looks:
        np.testing.assert_array_equal(read.appearance, frames.appearance)
        assert read.appearance_even == 0.875
    else:
        assert read.appearance is None


def test_boxes_outside_the_frame_are_clipped_to_it() -> None:
    frames = frames_of([1], 0)
    frames.boxes[0] = [-0.5, 1.5, 0.25, 2.0]
    read = get_frames(batch_of(frames))
    np.testing.assert_allclose(read.boxes[0], [0, 1, 0.25, 1], atol=1e-4)


def test_a_detection_costs_about_ten_bytes() -> None:
    size = len(batch_of(frames_of([6] * 30, 1)).SerializeToString())
    assert 10 * 180 < size < 11.5 * 180


def test_appearance_costs_its_own_bytes_and_nothing_where_it_is_absent() -> None:
    without, with_it = (batch_of(frames_of([6] * 30, 1, looks)) for looks in (0, 64))
    assert len(with_it.SerializeToString()) - len(without.SerializeToString()) < 64 * 180 + 20
    assert not without.appearance
    assert without.appearance_size == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": 0}, "schema_version 0"),
        ({"schema_version": 2}, "schema_version 2"),
        ({"camera_id": ""}, "camera_id is empty"),
        ({"captured_us": 0}, "captured_us 0"),
        ({"captured_us": -3}, "captured_us -3"),
        ({"frame_width": 0}, "frame size 0x480"),
        ({"scores": b""}, "do not hold"),
        ({"boxes": b"1234567"}, "do not hold"),
        ({"appearance_size": 3}, "does not hold"),
        ({"appearance": b"123"}, "does not hold"),
        ({"appearance_even": 1000}, "appearance_even 1000"),
        ({"appearance_size": 129, "appearance": bytes(4 * 129)}, "appearance_size 129"),
        ({"frame_offset_ms": b"\x00"}, "differ in length"),
        ({"frame_offset_ms": b"\x02\x00\x01\x00\x05\x00"}, "goes back"),
    ],
)
def test_a_broken_batch_is_refused_with_its_reason(change: dict[str, object], reason: str) -> None:
    batch = batch_of(frames_of([1, 2, 1], 2))
    for field, value in change.items():
        setattr(batch, field, value)
    with pytest.raises(ContractError, match=reason):
        parse_batch(batch.SerializeToString())


def test_bytes_that_are_no_protobuf_are_refused() -> None:
    with pytest.raises(ContractError, match="does not parse"):
        parse_batch(b"\xff\xff\xff poison")


def test_a_field_of_a_later_writer_is_ignored() -> None:
    batch = batch_of(frames_of([2], 3))
    later = batch.SerializeToString() + bytes([0xFA, 0x07, 3]) + b"new"  # field 127, three bytes
    assert parse_batch(later).camera_id == "gate-1"
