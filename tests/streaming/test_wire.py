"""Bulk decoding: what it accepts and reads is what the contract's own reader accepts and reads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline_contract.batch import Frames, get_frames, parse_batch, set_frames
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.errors import ContractError
from sightline_streaming.core.wire import decode, number_texts

U64 = st.integers(0, 2**63 - 1)


PACKED_COLUMNS = ("frame_steps_ms", "frame_counts", "references", "box_changes", "score_changes", "class_changes")


def near(column: bytes) -> st.SearchStrategy[bytes]:
    """The column with one byte changed, put in or taken out."""
    at, octet = st.integers(0, len(column)), st.integers(0, 255)
    return st.builds(lambda k, b, gone: column[:k] + bytes([b]) + column[k + gone :], at, octet, st.integers(0, 2))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Messages that keep the contract, or nearly."""
    counts = np.array(draw(st.lists(st.integers(0, 3), max_size=4)), np.uint16)
    n = int(counts.sum())
    offsets = draw(st.lists(st.integers(0, 999), min_size=len(counts), max_size=len(counts)))
    message = DetectionBatch(
        schema_version=draw(st.sampled_from([1, 2])),
        node_id=draw(st.text(max_size=3)),
        camera_id=draw(st.sampled_from(["cam-1", "cam-1", "kamera-ä", "a" * 200, ""])),
        model_version=draw(st.text(max_size=3)),
        session=draw(U64),
        seq=draw(U64),
        captured_us=draw(st.sampled_from([1_760_000_000_000_000, 1, 0, -7])),
        frame_width=draw(st.sampled_from([640, 640, 640, 0])),
        frame_height=480,
        first_frame=draw(U64),
        frames_skipped=draw(st.integers(0, 2**32 - 1)),
        detections_withheld=draw(st.integers(0, 2**32 - 1)),
        end_of_session=draw(st.booleans()),
    )
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    boxes, scores = rng.random((n, 4), np.float32), rng.random(n, np.float32)
    size = draw(st.sampled_from([None, 0, 1, 3, 128, 129]))
    looks = None if size is None else rng.integers(-127, 128, (n, size)).astype(np.int8)
    classes = rng.integers(0, 256, n).astype(np.uint8)
    set_frames(message, Frames(np.sort(offsets).astype(np.uint16), counts, boxes, scores, classes, looks, 0.5))
    if draw(st.integers(0, 9)) == 0:
        message.schema_version = draw(st.sampled_from([0, 1, 2, 3, 2**32 - 1]))
    if draw(st.integers(0, 9)) == 0:
        message.appearance_size = draw(st.sampled_from([0, 2, 2**32 - 1]))
    if draw(st.integers(0, 9)) == 0:
        message.appearance_even = draw(st.sampled_from([0, 999, 1000, 2**32 - 1]))
    if draw(st.integers(0, 9)) == 0:
        message.frame_offset_ms = np.array(offsets, "<u2").tobytes()
    if draw(st.integers(0, 4)) == 0:
        column = draw(st.sampled_from(PACKED_COLUMNS))
        setattr(message, column, draw(st.one_of(st.binary(max_size=12), near(getattr(message, column)))))
    return message.SerializeToString()


def tag(field: int, wire_type: int) -> bytes:
    number, out = field << 3 | wire_type, b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


fields = st.integers(1, 40)
loose_ends = st.one_of(
    st.binary(max_size=12),
    st.builds(lambda f, v: tag(f, 0) + v, fields, st.binary(max_size=11)),
    st.builds(lambda f: tag(f, 1) + bytes(8), fields),
    st.builds(lambda f: tag(f, 5) + bytes(4), fields),
    st.builds(lambda f, v: tag(f, 2) + bytes([len(v)]) + v, fields, st.binary(max_size=9)),
    st.builds(lambda f, g, v: tag(f, 3) + tag(g, 0) + b"\x01" + v + tag(f, 4), fields, fields, st.binary(max_size=3)),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Messages cut, flipped, or with something more in them."""
    payload = bytearray(draw(messages()))
    at = draw(st.integers(0, len(payload)))
    how = draw(st.sampled_from(["whole", "cut", "flip", "more", "before", "twice", "without"]))
    if how == "cut":
        del payload[at:]
    elif how == "flip" and at < len(payload):
        payload[at] ^= 1 << draw(st.integers(0, 7))
    elif how == "more":
        payload += draw(loose_ends)
    elif how == "before":
        payload[:0] = draw(loose_ends)
    elif how == "twice":
        payload += draw(messages())
    elif how == "without" and at < len(payload):
        del payload[at]
    return bytes(payload)


@settings(max_examples=300)
@given(st.lists(damaged(), min_size=1, max_size=20))
def test_a_message_is_read_as_the_contract_reads_it(payloads: list[bytes]) -> None:
    read = decode(payloads)
    for payload, header in zip(payloads, read.headers, strict=True):
        try:
            batch = parse_batch(payload)
        except ContractError:
            assert not header["readable"], payload.hex()
            continue
        assert header["readable"], payload.hex()

        def column(name: str, length: int, header: np.void = header) -> bytes:
            at = int(header[f"{name}_at"])
            return read.buffer[at : at + length].tobytes()

        assert column("camera", header["camera_length"]).decode() == batch.camera_id
        assert column("model", header["model_length"]).decode() == batch.model_version
        for name in ("session", "seq", "first_frame"):
            assert int(header[name]) % 2**64 == getattr(batch, name)
        for name in ("captured_us", "frame_rate_mhz", "frames_skipped", "end_of_session"):
            assert header[name] == getattr(batch, name)
        assert (header["width"], header["height"]) == (batch.frame_width, batch.frame_height)
        frames = get_frames(batch)
        assert column("offsets", 2 * header["frames"]) == frames.offset_ms.astype("<u2").tobytes()
        assert column("counts", 2 * header["frames"]) == frames.counts.astype("<u2").tobytes()
        units = np.frombuffer(column("boxes", 8 * header["detections"]), "<u2").reshape(-1, 4)
        px = units * np.tile([header["px_per_unit_x"], header["px_per_unit_y"]], 2)
        np.testing.assert_allclose(px, frames.boxes * np.tile([batch.frame_width, batch.frame_height], 2), rtol=1e-6)
        assert column("scores", header["detections"]) == np.rint(frames.scores * 255).astype(np.uint8).tobytes()
        assert column("classes", header["detections"]) == frames.classes.tobytes()
        assert header["appearance_even"] == batch.appearance_even
        assert header["appearance_size"] == batch.appearance_size
        assert column("appearance", header["detections"] * int(header["appearance_size"])) == batch.appearance


def test_messages_of_both_versions_are_read_side_by_side() -> None:
    boxes = np.array([[0.5, 0.5, 0.25, 0.5]], np.float32)
    payloads = []
    for version in (1, 2, 1, 2):
        batch = DetectionBatch(schema_version=version, camera_id="c", captured_us=1, frame_width=640, frame_height=480)
        one = Frames(np.array([7], np.uint16), np.ones(1, np.uint16), boxes, np.ones(1, np.float32), np.full(1, 3, np.uint8))
        set_frames(batch, one)
        payloads.append(batch.SerializeToString())
    read = decode(payloads)
    for header in read.headers:
        units = read.buffer[header["boxes_at"] :][:8].view("<u2").astype(float)
        px = units * np.tile([header["px_per_unit_x"], header["px_per_unit_y"]], 2)
        assert px.tolist() == pytest.approx([320, 240, 160, 240], abs=0.01)
        assert read.buffer[header["offsets_at"]] == 7
        assert (read.buffer[header["scores_at"]], read.buffer[header["classes_at"]]) == (255, 3)
    assert read.headers["readable"].tolist() == [1] * 4


def test_messages_do_not_read_into_each_other() -> None:
    whole = DetectionBatch(schema_version=1, camera_id="c", captured_us=1, frame_width=1, frame_height=1).SerializeToString()
    read = decode([whole[:-1], whole, b"", None, whole])
    assert read.headers["readable"].tolist() == [0, 1, 0, 0, 1]


@pytest.mark.parametrize("text", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"])
def test_text_that_is_not_utf8_is_refused(text: bytes) -> None:
    good = DetectionBatch(schema_version=1, captured_us=1, frame_width=1, frame_height=1).SerializeToString()
    assert decode([good + tag(3, 2) + bytes([len(text)]) + text]).headers["readable"].tolist() == [0]


def test_equal_texts_get_equal_numbers_in_order_of_appearance() -> None:
    texts = [b"b", b"", b"a", b"b", b"ab", b"", b"a"]
    buffer = np.frombuffer(b"".join(texts), np.uint8)
    lengths = np.array([len(text) for text in texts], np.int32)
    numbers, firsts = number_texts(buffer, np.cumsum(lengths) - lengths, lengths)
    assert numbers.tolist() == [0, 1, 2, 0, 3, 1, 2]
    assert firsts.tolist() == [0, 1, 2, 4]
