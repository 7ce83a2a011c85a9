"""DetectionBatch: what is written is read, in both versions; what is broken is refused with its reason."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline_contract.batch import BOX_SCALE, Frames, get_frames, parse_batch, set_frames
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.errors import ContractError
from sightline_contract.ids import SCHEMA_VERSION
from sightline_contract.packing import MAX_FRAME_SIZE_PX

COUNTS = st.lists(st.integers(0, 40), max_size=30)
SEEDS = st.integers(0, 2**32 - 1)
LOOKS = st.sampled_from([0, 1, 64, 128])
WIDTH, HEIGHT = 640, 480


def frames_of(counts: list[int], seed: int, looks: int = 0) -> Frames:
    """Made-up detections; within a frame no two have the same score."""
    rng = np.random.default_rng(seed)
    total = sum(counts)
    scores = [rng.permutation(256)[:count] / 255 for count in counts]
    return Frames(
        offset_ms=np.arange(len(counts), dtype=np.uint16) * 33,
        counts=np.array(counts, dtype=np.uint16),
        boxes=rng.random((total, 4), dtype=np.float32),
        scores=np.concatenate([np.zeros(0), *scores]).astype(np.float32),
        classes=rng.integers(0, 256, total).astype(np.uint8),
        appearance=rng.integers(-127, 128, (total, looks)).astype(np.int8) if looks else None,
        appearance_even=0.875,
    )


def batch_of(frames: Frames, version: int = SCHEMA_VERSION, size: tuple[int, int] = (WIDTH, HEIGHT)) -> DetectionBatch:
    batch = DetectionBatch(schema_version=version, camera_id="gate-1", session=5, captured_us=1, first_frame=7)
    batch.frame_width, batch.frame_height = size
    set_frames(batch, frames)
    return batch


def read_back(batch: DetectionBatch) -> Frames:
    return get_frames(parse_batch(batch.SerializeToString()))


def in_order_of(read: Frames, frames: Frames) -> Frames:
    """``frames`` with the detections of each frame in the order in which they were read, told apart by their scores."""
    order: list[int] = []
    for end, count in zip(np.cumsum(frames.counts, dtype=int), frames.counts, strict=True):
        within = range(end - count, end)
        place = {round(255 * float(frames.scores[d])): d for d in within}
        order += [place[round(255 * float(read.scores[d]))] for d in within]
    looks = None if frames.appearance is None else frames.appearance[order]
    return replace(
        frames, boxes=frames.boxes[order], scores=frames.scores[order], classes=frames.classes[order], appearance=looks
    )


def assert_same_but_boxes(read: Frames, frames: Frames) -> None:
    np.testing.assert_array_equal(read.offset_ms, frames.offset_ms)
    np.testing.assert_array_equal(read.counts, frames.counts)
    np.testing.assert_array_equal(read.classes, frames.classes)
    np.testing.assert_allclose(read.scores, frames.scores, atol=0.51 / 255)
    assert (read.appearance is None) == (frames.appearance is None)
    if read.appearance is not None and frames.appearance is not None:
        np.testing.assert_array_equal(read.appearance, frames.appearance)
        assert read.appearance_even == 0.875


def assert_close(read: npt.NDArray[np.float32], boxes: npt.NDArray[np.float32], size: tuple[int, int]) -> None:
    px = np.array(2 * size)
    # Fractions of the frame are 32-bit numbers, themselves off by a ten-millionth.
    assert np.all(np.abs(read - boxes) * px <= 1 / 8 + 2e-7 * px)


@given(counts=COUNTS, seed=SEEDS, looks=LOOKS)
def test_version_1_comes_back_within_half_a_step(counts: list[int], seed: int, looks: int) -> None:
    frames = frames_of(counts, seed, looks)
    read = read_back(batch_of(frames, version=1))
    assert_same_but_boxes(read, frames)
    np.testing.assert_allclose(read.boxes, frames.boxes, atol=0.51 / BOX_SCALE)


@given(counts=COUNTS, seed=SEEDS, looks=LOOKS)
def test_version_2_comes_back_from_left_to_right(counts: list[int], seed: int, looks: int) -> None:
    frames = frames_of(counts, seed, looks)
    read = read_back(batch_of(frames))
    sent = in_order_of(read, frames)
    assert_same_but_boxes(read, sent)
    assert_close(read.boxes, sent.boxes, (WIDTH, HEIGHT))
    for end, count in zip(np.cumsum(frames.counts, dtype=int), frames.counts, strict=True):
        assert np.all(np.diff(read.boxes[end - count : end, 0]) >= 0)


SIDES = st.integers(1, MAX_FRAME_SIZE_PX)


@given(size=st.tuples(SIDES, SIDES), scale=st.floats(0.0, 1.0), seed=SEEDS)
def test_no_number_of_a_box_is_off_by_more_than_an_eighth_of_a_pixel(size: tuple[int, int], scale: float, seed: int) -> None:
    frames = frames_of([1] * 20, seed)
    frames.boxes[:, 2:] *= scale
    assert_close(read_back(batch_of(frames, size=size)).boxes, frames.boxes, size)


@given(counts=COUNTS, seed=SEEDS)
def test_what_was_read_is_written_again_as_it_was(counts: list[int], seed: int) -> None:
    batch = batch_of(frames_of(counts, seed))
    assert batch_of(read_back(batch)) == batch


@pytest.mark.parametrize("version", [1, 2])
def test_boxes_outside_the_frame_are_clipped_to_it(version: int) -> None:
    frames = frames_of([1], 0)
    frames.boxes[0] = [-0.5, 1.5, 0.25, 2.0]
    np.testing.assert_allclose(read_back(batch_of(frames, version)).boxes[0], [0, 1, 0.25, 1], atol=1e-4)


def walkers(frames: int, objects: int) -> Frames:
    """Objects that walk through the picture, every tenth one missed."""
    rng = np.random.default_rng(1)
    start, speed = rng.uniform(0.2, 0.8, (objects, 2)), rng.normal(0, 0.001, (objects, 2))
    size = rng.uniform(0.02, 0.15, (objects, 2))
    centre = start + speed * np.arange(frames)[:, None, None]
    boxes = np.concatenate((centre, np.broadcast_to(size, centre.shape)), axis=-1)
    boxes += rng.normal(0, 0.02, boxes.shape) * np.tile(size, 2)
    seen = rng.random((frames, objects)) >= 0.1
    return Frames(
        offset_ms=(np.arange(frames) * 1000 // 30).astype(np.uint16),
        counts=seen.sum(axis=1).astype(np.uint16),
        boxes=boxes[seen].astype(np.float32),
        scores=rng.uniform(0.5, 1, int(seen.sum())).astype(np.float32),
        classes=np.zeros(int(seen.sum()), np.uint8),
    )


def test_a_detection_of_version_2_takes_eight_bytes_where_version_1_takes_eleven() -> None:
    frames = walkers(30, 6)
    plain, packed = (len(batch_of(frames, version).SerializeToString()) / len(frames.scores) for version in (1, 2))
    assert 10 < plain < 11.5
    assert 7 < packed < 8.5


def test_walkers_are_told_from_the_frame_before_or_the_one_before_that() -> None:
    frames = walkers(30, 6)
    references = np.frombuffer(batch_of(frames).references, np.uint8)
    later = references[int(frames.counts[0]) :]
    assert np.all((later > 0) & (later <= 2 * frames.counts.max()))


def test_a_crowd_of_more_than_255_is_told_from_its_nearest_ones() -> None:
    frames = frames_of([200, 0, 250], 4)
    frames = replace(frames, counts=np.array([450], np.uint16), offset_ms=np.zeros(1, np.uint16))
    batch = batch_of(frames)
    read = read_back(batch)
    assert read.counts.tolist() == [450]
    assert batch.references[0] == 0
    order = np.argsort(frames.boxes[:, 0])
    assert np.all(np.abs(read.boxes[:, 0] - frames.boxes[order, 0]) * WIDTH <= 0.13)


def test_appearance_costs_its_own_bytes_and_nothing_where_it_is_absent() -> None:
    without, with_it = (batch_of(frames_of([6] * 30, 1, looks)) for looks in (0, 64))
    assert len(with_it.SerializeToString()) - len(without.SerializeToString()) < 64 * 180 + 20
    assert not without.appearance
    assert without.appearance_size == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": 0}, "schema_version 0"),
        ({"schema_version": 3}, "schema_version 3"),
        ({"camera_id": ""}, "camera_id is empty"),
        ({"captured_us": 0}, "captured_us 0"),
        ({"captured_us": -3}, "captured_us -3"),
        ({"frame_width": 0}, "frame size 0x480"),
        ({"appearance_size": 3}, "does not hold"),
        ({"appearance": b"123"}, "does not hold"),
        ({"appearance_even": 1000}, "appearance_even 1000"),
        ({"appearance_size": 129, "appearance": bytes(4 * 129)}, "appearance_size 129"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_broken_batch_is_refused_with_its_reason(version: int, change: dict[str, object], reason: str) -> None:
    refuse(batch_of(frames_of([1, 2, 1], 2), version), change, reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scores": b""}, "do not hold"),
        ({"boxes": b"1234567"}, "do not hold"),
        ({"frame_offset_ms": b"\x00"}, "differ in length"),
        ({"frame_offset_ms": b"\x02\x00\x01\x00\x05\x00"}, "goes back"),
        ({"schema_version": 2}, "do not hold 0 detections"),
    ],
)
def test_broken_columns_of_version_1_are_refused(change: dict[str, object], reason: str) -> None:
    batch = batch_of(frames_of([1, 2, 1], 2), version=1)
    if "schema_version" in change:
        batch.references = b"\x00"
    refuse(batch, change, reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"references": b""}, "do not hold 4 detections"),
        ({"score_changes": b"12345"}, "do not hold 4 detections"),
        ({"class_changes": b"123"}, "do not hold 4 detections"),
        ({"box_changes": bytes(15)}, "do not hold 4 detections"),
        ({"box_changes": bytes(15) + b"\x80"}, "box_changes is not a row of varints"),
        ({"box_changes": bytes(15) + b"\x80\x80\x80\x00"}, "box_changes is not a row of varints"),
        ({"references": b"\x01\x00\x00\x00"}, "references lead before the first detection"),
        ({"box_changes": bytes(15) + b"\x01", "references": bytes(4)}, "a box does not lie in the frame"),
        ({"box_changes": b"\x82\x28" + bytes(15), "references": bytes(4)}, "a box does not lie in the frame"),
        ({"frame_steps_ms": b"\x00"}, "differ in length"),
        ({"frame_counts": b"\x01\x02"}, "differ in length"),
        ({"frame_steps_ms": b"\x00\x00\xff\xff\x04"}, "over 65535 ms late"),
        ({"frame_counts": b"\x01\x02\x02"}, "do not hold 5 detections"),
        ({"frame_width": MAX_FRAME_SIZE_PX + 1}, "above 16383 px: scale the frames down"),
        ({"schema_version": 1}, "do not hold 1 detections"),
    ],
)
def test_broken_columns_of_version_2_are_refused(change: dict[str, object], reason: str) -> None:
    batch = batch_of(frames_of([1, 2, 1], 2))
    if "schema_version" in change:
        batch.frame_offset_ms, batch.detections_per_frame = b"\x00\x00", b"\x01\x00"
    refuse(batch, change, reason)


def refuse(batch: DetectionBatch, change: dict[str, object], reason: str) -> None:
    for field, value in change.items():
        setattr(batch, field, value)
    with pytest.raises(ContractError, match=reason):
        parse_batch(batch.SerializeToString())


def test_frames_that_go_back_and_frames_too_large_are_not_written() -> None:
    frames = frames_of([1, 1], 3)
    with pytest.raises(ContractError, match="frame times go back"):
        batch_of(replace(frames, offset_ms=np.array([5, 4], np.uint16)))
    with pytest.raises(ContractError, match="frame size 20000x480 is above 16383 px"):
        batch_of(frames, size=(20_000, 480))
    with pytest.raises(ContractError, match="schema_version 0"):
        batch_of(frames, version=0)


def test_bytes_that_are_no_protobuf_are_refused() -> None:
    with pytest.raises(ContractError, match="does not parse"):
        parse_batch(b"\xff\xff\xff poison")


def test_a_field_of_a_later_writer_is_ignored() -> None:
    batch = batch_of(frames_of([2], 3))
    later = batch.SerializeToString() + bytes([0xFA, 0x07, 3]) + b"new"  # field 127, three bytes
    assert parse_batch(later).camera_id == "gate-1"
