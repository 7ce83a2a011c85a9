"""Decoding DetectionBatch messages in bulk: one kernel walks the protobuf wire format of a whole micro-batch.

``decode`` joins the payloads into one buffer and fills one HEADER per message; strings and columns stay where they are,
told by place and length. The columns of messages of version 2 are unpacked behind them (``packed``), into the form that
version 1 has: all that comes after sees one form. What it refuses and what it reads are the same as
``sightline_contract.batch.parse_batch``, and a test holds them equal. No Python object is made per message.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline_contract.batch import BOX_SCALE, EVEN_SCALE, MAX_APPEARANCE_SIZE
from sightline_contract.ids import SCHEMA_VERSION
from sightline_contract.packing import UNITS_PER_PX
from sightline_streaming.core.kernel import Record, Records, kernel, leaf_kernel
from sightline_streaming.core.packed import DETECTION_BYTES, FRAME_BYTES, PACKED, count_varints, unpack

Bytes = npt.NDArray[np.uint8]

# A message as read. ``*_at`` are places in the buffer; 64-bit counts above int64 read as negative numbers.
HEADER = np.dtype(
    [
        ("session", np.int64),
        ("seq", np.int64),
        ("captured_us", np.int64),
        ("first_frame", np.int64),
        ("arrived_us", np.int64),  # set after reading
        ("node_at", np.int64),
        ("camera_at", np.int64),
        ("model_name_at", np.int64),
        ("model_at", np.int64),
        ("offsets_at", np.int64),
        ("counts_at", np.int64),
        ("boxes_at", np.int64),
        ("scores_at", np.int64),
        ("classes_at", np.int64),
        ("appearance_at", np.int64),
        ("px_per_unit_x", np.float64),  # of the boxes
        ("px_per_unit_y", np.float64),
        ("node_length", np.int32),
        ("camera_length", np.int32),
        ("model_name_length", np.int32),
        ("model_length", np.int32),
        ("frames", np.int32),
        ("detections", np.int32),
        ("width", np.uint32),
        ("height", np.uint32),
        ("frame_rate_mhz", np.uint32),
        ("frames_skipped", np.uint32),
        ("appearance_size", np.uint32),  # bytes a detection
        ("appearance_even", np.uint32),  # cosine * 1000
        ("model", np.int32),  # number of its model version, set after reading
        ("end_of_session", np.uint8),
        ("readable", np.uint8),
    ],
    align=True,
)

# Field numbers of detection.proto.
_SCHEMA_VERSION, _NODE_ID, _CAMERA_ID, _MODEL_NAME, _MODEL_VERSION = 1, 2, 3, 4, 5
_SESSION, _SEQ, _CAPTURED_US, _WIDTH, _HEIGHT, _FRAME_RATE, _FIRST_FRAME, _SKIPPED, _END = 7, 8, 9, 10, 11, 12, 13, 14, 15
_OFFSETS, _COUNTS, _BOXES, _SCORES, _CLASSES, _APPEARANCE = 16, 17, 18, 19, 20, 21
_APPEARANCE_SIZE, _APPEARANCE_EVEN = 22, 23
_STEPS, _FRAME_COUNTS, _REFERENCES, _BOX_CHANGES, _SCORE_CHANGES, _CLASS_CHANGES = 24, 25, 26, 27, 28, 29
_LAST_FIELD = 29

# How each field is encoded: 0 unknown, 1 varint, 2 bytes, 3 UTF-8 text.
_VARINT, _BYTES, _TEXT = 1, 2, 3
_FORM = np.array([0, 1, 3, 3, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 1, 1, 2, 2, 2, 2, 2, 2], np.uint8)

# Deeper nesting of groups than this is refused, as protobuf's own readers do.
_MAX_GROUPS = 100


class Messages(NamedTuple):
    """Messages of a micro-batch: all bytes, where each begins (one more than messages), what was read of each.

    Behind the messages the buffer holds what was unpacked of them.
    """

    buffer: Bytes
    starts: npt.NDArray[np.int64]
    headers: Records


def decode(payloads: Sequence[bytes | None]) -> Messages:
    """Read all ``payloads``; a message that breaks the contract has ``readable`` 0, and so has a missing one."""
    given = [payload or b"" for payload in payloads]
    buffer, starts = join(given)
    headers, packed = np.zeros(len(given), HEADER), np.zeros(len(given), PACKED)
    room = _read_all(buffer, starts, headers, packed)
    if packed["packed"].any():
        buffer = np.concatenate((buffer, np.empty(room, np.uint8)))
        _unpack_all(buffer, starts[-1], headers, packed)
        buffer.flags.writeable = False  # the kernels that read it are compiled for this, as ``join`` makes it
    return Messages(buffer, starts, headers)


def join(parts: Sequence[bytes]) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """All parts one after another, and the place where each begins, with the end as last."""
    starts = np.zeros(len(parts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), out=starts[1:])
    return np.frombuffer(b"".join(parts), np.uint8), starts


@leaf_kernel
def u16_at(buffer: Bytes, at: int) -> int:
    """The little-endian uint16 at ``at``."""
    return int(buffer[at]) | (int(buffer[at + 1]) << 8)


@kernel
def _read_all(buffer: Bytes, starts: npt.NDArray[np.int64], headers: Records, packed: Records) -> int:
    """Read all messages but for the packed columns; returns how many bytes these take once unpacked."""
    room = 0
    number = np.zeros(_LAST_FIELD + 1, np.int64)
    place = np.zeros(_LAST_FIELD + 1, np.int64)
    length = np.zeros(_LAST_FIELD + 1, np.int64)
    for i in range(headers.shape[0]):
        number[:] = 0
        place[:] = starts[i]
        length[:] = 0
        if _walk(buffer, starts[i], starts[i + 1], number, place, length):
            _fill(headers[i], number, place, length)
            version = number[_SCHEMA_VERSION] & 0xFFFFFFFF
            if not _is_sound(headers[i], version):
                continue
            if version == 1:
                _fill_plain(headers[i], place, length)
                headers[i].readable = _is_plain(buffer, headers[i], length) and _holds_looks(headers[i], length)
            elif length[_REFERENCES] == length[_SCORE_CHANGES] == length[_CLASS_CHANGES]:
                _fill_packed(buffer, headers[i], packed[i], place, length)
                headers[i].readable = packed[i].packed = _holds_looks(headers[i], length)
                if packed[i].packed:
                    room += FRAME_BYTES * headers[i].frames + DETECTION_BYTES * headers[i].detections
    return room


@leaf_kernel
def _unpack_all(buffer: Bytes, at: int, headers: Records, packed: Records) -> None:
    """Unpack the packed columns behind the messages; a message where they break the contract is not readable any more."""
    for i in range(headers.shape[0]):
        if packed[i].packed:
            headers[i].readable = unpack(buffer, headers[i], packed[i], at)
            at += FRAME_BYTES * headers[i].frames + DETECTION_BYTES * headers[i].detections


@leaf_kernel
def _walk(
    buffer: Bytes,
    at: int,
    end: int,
    number: npt.NDArray[np.int64],
    place: npt.NDArray[np.int64],
    length: npt.NDArray[np.int64],
) -> bool:
    """Note value or place of each field, the last one wins; False where the bytes are not protobuf."""
    while at < end:
        tag, at = _tag(buffer, at, end)
        if at < 0:
            return False
        field, wire_type = tag >> 3, tag & 7
        form = _FORM[field] if field <= _LAST_FIELD else 0
        if form == _VARINT and wire_type == 0:
            number[field], at = _varint(buffer, at, end)
        elif form >= _BYTES and wire_type == 2:
            size, at = _size(buffer, at, end)
            if at < 0 or (form == _TEXT and not _is_utf8(buffer, at, at + size)):
                return False
            place[field], length[field] = at, size
            at += size
        else:
            at = _skip(buffer, at, end, field, wire_type)
        if at < 0:
            return False
    return True


@leaf_kernel
def _fill(header: Record, number: npt.NDArray[np.int64], place: npt.NDArray[np.int64], length: npt.NDArray[np.int64]) -> None:
    header.session = number[_SESSION]
    header.seq = number[_SEQ]
    header.captured_us = number[_CAPTURED_US]
    header.first_frame = number[_FIRST_FRAME]
    header.width = number[_WIDTH] & 0xFFFFFFFF
    header.height = number[_HEIGHT] & 0xFFFFFFFF
    header.frame_rate_mhz = number[_FRAME_RATE] & 0xFFFFFFFF
    header.frames_skipped = number[_SKIPPED] & 0xFFFFFFFF
    header.end_of_session = number[_END] != 0
    header.node_at = place[_NODE_ID]
    header.node_length = length[_NODE_ID]
    header.camera_at = place[_CAMERA_ID]
    header.camera_length = length[_CAMERA_ID]
    header.model_name_at = place[_MODEL_NAME]
    header.model_name_length = length[_MODEL_NAME]
    header.model_at = place[_MODEL_VERSION]
    header.model_length = length[_MODEL_VERSION]
    header.appearance_at = place[_APPEARANCE]
    header.appearance_size = number[_APPEARANCE_SIZE] & 0xFFFFFFFF
    header.appearance_even = number[_APPEARANCE_EVEN] & 0xFFFFFFFF


@leaf_kernel
def _fill_plain(header: Record, place: npt.NDArray[np.int64], length: npt.NDArray[np.int64]) -> None:
    header.offsets_at = place[_OFFSETS]
    header.counts_at = place[_COUNTS]
    header.boxes_at = place[_BOXES]
    header.scores_at = place[_SCORES]
    header.classes_at = place[_CLASSES]
    header.px_per_unit_x = header.width / BOX_SCALE
    header.px_per_unit_y = header.height / BOX_SCALE
    header.frames = length[_OFFSETS] // 2
    header.detections = length[_SCORES]


@leaf_kernel
def _fill_packed(
    buffer: Bytes, header: Record, packed: Record, place: npt.NDArray[np.int64], length: npt.NDArray[np.int64]
) -> None:
    packed.steps_at, packed.steps_end = place[_STEPS], place[_STEPS] + length[_STEPS]
    packed.counts_at, packed.counts_end = place[_FRAME_COUNTS], place[_FRAME_COUNTS] + length[_FRAME_COUNTS]
    packed.references_at = place[_REFERENCES]
    packed.boxes_at, packed.boxes_end = place[_BOX_CHANGES], place[_BOX_CHANGES] + length[_BOX_CHANGES]
    packed.scores_at = place[_SCORE_CHANGES]
    packed.classes_at = place[_CLASS_CHANGES]
    header.px_per_unit_x = header.px_per_unit_y = 1.0 / UNITS_PER_PX
    header.frames = count_varints(buffer, packed.counts_at, packed.counts_end)
    header.detections = length[_SCORE_CHANGES]


@leaf_kernel
def _is_sound(header: Record, schema_version: int) -> bool:
    """The checks of ``parse_batch`` beyond protobuf's own, without those of the columns."""
    if schema_version < 1 or schema_version > SCHEMA_VERSION or header.camera_length == 0 or header.captured_us <= 0:
        return False
    if header.width == 0 or header.height == 0:
        return False
    return bool(header.appearance_size <= MAX_APPEARANCE_SIZE and header.appearance_even < EVEN_SCALE)


@leaf_kernel
def _holds_looks(header: Record, length: npt.NDArray[np.int64]) -> bool:
    return bool(length[_APPEARANCE] == header.appearance_size * header.detections)


@leaf_kernel
def _is_plain(buffer: Bytes, header: Record, length: npt.NDArray[np.int64]) -> bool:
    """The checks of version 1's columns."""
    if length[_OFFSETS] % 2 != 0 or length[_COUNTS] != length[_OFFSETS]:
        return False
    detections, before = 0, 0
    for i in range(header.frames):
        offset_ms = u16_at(buffer, header.offsets_at + 2 * i)
        if offset_ms < before:
            return False
        before = offset_ms
        detections += u16_at(buffer, header.counts_at + 2 * i)
    return bool(length[_BOXES] == 8 * detections and length[_SCORES] == detections and length[_CLASSES] == detections)


@leaf_kernel
def _varint(buffer: Bytes, at: int, end: int) -> tuple[int, int]:
    """A varint of up to 10 bytes as int64, higher bits dropped, and the place behind it, or a negative place."""
    value = np.uint64(0)
    for i in range(10):
        if at + i >= end:
            break
        byte = buffer[at + i]
        value |= np.uint64(byte & 0x7F) << np.uint64(7 * i)
        if byte < 0x80:
            return int(np.int64(value)), at + i + 1
    return 0, -1


@leaf_kernel
def _tag(buffer: Bytes, at: int, end: int) -> tuple[int, int]:
    """A field's tag and the place behind it; negative where it is longer than 5 bytes or its field number is none."""
    tag, behind = _varint(buffer, at, end)
    if behind > at + 5 or tag > 0xFFFFFFFF or tag < 8:
        return 0, -1
    return tag, behind


@leaf_kernel
def _size(buffer: Bytes, at: int, end: int) -> tuple[int, int]:
    """A length and the place behind it; negative where the bytes it announces are not there."""
    size, behind = _varint(buffer, at, end)
    if behind < 0 or size < 0 or size > end - behind:
        return 0, -1
    return size, behind


@kernel
def _skip(buffer: Bytes, at: int, end: int, field: int, wire_type: int) -> int:
    """The place behind a field that is not ours, or a negative one."""
    open_groups = np.empty(_MAX_GROUPS, np.int64)
    depth = 0
    while True:
        if wire_type == 0:
            _, at = _varint(buffer, at, end)
        elif wire_type == 1:
            at += 8
        elif wire_type == 2:
            size, at = _size(buffer, at, end)
            at = at + size if at >= 0 else -1
        elif wire_type == 5:
            at += 4
        elif wire_type == 3 and depth < _MAX_GROUPS:
            open_groups[depth] = field
            depth += 1
        elif wire_type == 4 and depth > 0 and open_groups[depth - 1] == field:
            depth -= 1
        else:
            return -1
        if at < 0 or at > end:
            return -1
        if depth == 0:
            return at
        tag, at = _tag(buffer, at, end)
        if at < 0:
            return -1
        field, wire_type = tag >> 3, tag & 7


@leaf_kernel
def _is_utf8(buffer: Bytes, at: int, end: int) -> bool:
    """Whether the bytes are UTF-8 as RFC 3629 has it: shortest forms, no surrogates, nothing above U+10FFFF."""
    while at < end:
        first = buffer[at]
        if first < 0x80:
            at += 1
            continue
        if 0xC2 <= first <= 0xDF:
            more = 1
        elif 0xE0 <= first <= 0xEF:
            more = 2
        elif 0xF0 <= first <= 0xF4:
            more = 3
        else:
            return False
        if at + more >= end:
            return False
        second = buffer[at + 1]
        if (first == 0xE0 and second < 0xA0) or (first == 0xED and second > 0x9F):
            return False
        if (first == 0xF0 and second < 0x90) or (first == 0xF4 and second > 0x8F):
            return False
        for k in range(1, more + 1):
            if buffer[at + k] & 0xC0 != 0x80:
                return False
        at += more + 1
    return True


@leaf_kernel
def same_bytes(a: Bytes, a_at: int, b: Bytes, b_at: int, length: int) -> bool:
    """Whether two stretches of ``length`` bytes are equal."""
    for i in range(length):  # noqa: SIM110  numba knows no all() of a generator
        if a[a_at + i] != b[b_at + i]:
            return False
    return True


@kernel
def number_texts(
    buffer: Bytes, places: npt.NDArray[np.int64], lengths: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Number equal texts alike, from 0 in order of appearance; returns the numbers and which text was the first of each."""
    n = places.shape[0]
    size = 16
    while size < 2 * n:
        size *= 2
    table = np.full(size, -1, np.int64)
    numbers, firsts = np.empty(n, np.int32), np.empty(n, np.int64)
    distinct = 0
    for i in range(n):
        # FNV-1a, folded.
        hashed = np.uint64(14695981039346656037)
        for k in range(lengths[i]):
            hashed = (hashed ^ np.uint64(buffer[places[i] + k])) * np.uint64(1099511628211)
        at = np.int64((hashed ^ (hashed >> np.uint64(32))) & np.uint64(size - 1))
        while table[at] >= 0:
            first = firsts[table[at]]
            if lengths[first] == lengths[i] and same_bytes(buffer, places[first], buffer, places[i], lengths[i]):
                break
            at = (at + 1) & (size - 1)
        if table[at] < 0:
            table[at] = distinct
            firsts[distinct] = i
            distinct += 1
        numbers[i] = table[at]
    return numbers, firsts[:distinct]
