"""Version 2 of a DetectionBatch unpacked: the columns that version 1 has, written where the caller wants them.

A detection is told as the difference to one before it in the message, so they are resolved in one pass from the first to the
last. What is refused is what ``sightline_contract.packing`` and ``sightline_contract.batch`` refuse.
"""

import numpy as np
import numpy.typing as npt

from sightline_contract.batch import MAX_DETECTIONS_PER_FRAME, MAX_OFFSET_MS
from sightline_contract.packing import MAX_FRAME_SIZE_PX, MAX_VARINT_BYTES, UNITS_PER_PX
from sightline_streaming.core.kernel import Record, leaf, leaf_kernel

Bytes = npt.NDArray[np.uint8]

# Columns of a message as they lie in the buffer.
PACKED = np.dtype(
    [
        ("steps_at", np.int64),
        ("counts_at", np.int64),
        ("references_at", np.int64),
        ("boxes_at", np.int64),
        ("scores_at", np.int64),
        ("classes_at", np.int64),
        ("steps_end", np.int64),
        ("counts_end", np.int64),
        ("boxes_end", np.int64),
        ("packed", np.uint8),  # 0: a message of version 1, or one that cannot be read
    ],
    align=True,
)

FRAME_BYTES = 4  # of an unpacked frame: offset and count
DETECTION_BYTES = 10  # of an unpacked detection: box, score and class


@leaf_kernel
def count_varints(buffer: Bytes, at: int, end: int) -> int:
    """How many varints end in a stretch."""
    count = 0
    for i in range(at, end):
        count += buffer[i] < 0x80
    return count


@leaf_kernel
def unpack(buffer: Bytes, header: Record, packed: Record, at: int) -> bool:
    """Write the columns of a message from ``at`` on and note their places in its header; False where they break the contract.

    They take FRAME_BYTES a frame and DETECTION_BYTES a detection.
    """
    if header.width > MAX_FRAME_SIZE_PX or header.height > MAX_FRAME_SIZE_PX:
        return False
    header.offsets_at = at
    header.counts_at = at + 2 * header.frames
    header.boxes_at = at + 4 * header.frames
    header.scores_at = header.boxes_at + 8 * header.detections
    header.classes_at = header.scores_at + header.detections
    return _unpack_frames(buffer, header, packed) and _unpack_detections(buffer, header, packed)


@leaf
def _unpack_frames(buffer: Bytes, header: Record, packed: Record) -> bool:
    step_at, count_at, offset_ms, detections = packed.steps_at, packed.counts_at, 0, 0
    for frame in range(header.frames):
        step_ms, step_at = _short_varint(buffer, step_at, packed.steps_end)
        count, count_at = _short_varint(buffer, count_at, packed.counts_end)
        offset_ms += step_ms
        detections += count
        if step_at < 0 or count_at < 0 or offset_ms > MAX_OFFSET_MS or count > MAX_DETECTIONS_PER_FRAME:
            return False
        _put_u16(buffer, header.offsets_at + 2 * frame, offset_ms)
        _put_u16(buffer, header.counts_at + 2 * frame, count)
    return bool(step_at == packed.steps_end and count_at == packed.counts_end and detections == header.detections)


@leaf
def _unpack_detections(buffer: Bytes, header: Record, packed: Record) -> bool:
    # Fields are read once: the compiler must take it that each byte written may change them.
    references_at, scores_from, classes_from = packed.references_at, packed.scores_at, packed.classes_at
    change_at, end = packed.boxes_at, packed.boxes_end
    boxes_at, scores_at, classes_at = header.boxes_at, header.scores_at, header.classes_at
    most_x, most_y = int(header.width) * UNITS_PER_PX, int(header.height) * UNITS_PER_PX
    for d in range(header.detections):
        back = int(buffer[references_at + d])
        if back > d:
            return False
        score, class_id = int(buffer[scores_from + d]), int(buffer[classes_from + d])
        score, class_id = (score >> 1) ^ -(score & 1), (class_id >> 1) ^ -(class_id & 1)
        at = boxes_at + 8 * d
        if back > 0:
            score += buffer[scores_at + d - back]
            class_id += buffer[classes_at + d - back]
        buffer[scores_at + d] = score & 0xFF
        buffer[classes_at + d] = class_id & 0xFF
        for k in range(0, 8, 2):
            if change_at >= end:
                return False
            change = int(buffer[change_at])
            if change < 0x80:
                change_at += 1
            else:
                change, change_at = _short_varint(buffer, change_at, end)
                if change_at < 0:
                    return False
            value = (change >> 1) ^ -(change & 1)
            if back > 0:
                whence = at - 8 * back + k
                value += int(buffer[whence]) | (int(buffer[whence + 1]) << 8)
            if value < 0 or value > (most_y if k & 2 else most_x):
                return False
            _put_u16(buffer, at + k, value)
    return bool(change_at == end)


@leaf
def _short_varint(buffer: Bytes, at: int, end: int) -> tuple[int, int]:
    """A varint of up to MAX_VARINT_BYTES and the place behind it, or a negative place."""
    value = 0
    for i in range(MAX_VARINT_BYTES):
        if at + i >= end:
            break
        byte = int(buffer[at + i])
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    return 0, -1


@leaf
def _put_u16(buffer: Bytes, at: int, value: int) -> None:
    buffer[at] = value & 0xFF
    buffer[at + 1] = value >> 8
