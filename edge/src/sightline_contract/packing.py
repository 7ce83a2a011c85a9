"""The columns of version 2 of a DetectionBatch: detections told as what changed from a like one before.

A camera sees the same objects again in every frame. So each detection names a reference, one of up to 255 detections before
it in the message, and gives its box, score and class as differences to it: small numbers around zero in one byte each, which
a general compressor (zstd in Kafka) then makes small. The reference says nothing about identity: it is what was most alike.

Boxes are whole quarters of a pixel, off by 1/8 px at most: well below a detector's jitter. The detections of a frame are
sorted by the centre's x, so that their references repeat from frame to frame.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from sightline_contract.errors import ContractError

UNITS_PER_PX = 4
MAX_FRAME_SIZE_PX = 65535 // UNITS_PER_PX
MAX_BACK = 255
MAX_VARINT_BYTES = 3

# References are sought in the two frames before, in case that the detector missed the object in the last one.
_FRAMES_BACK = 2
# The reference that is usual in a message compresses to almost nothing: another one must be that much more alike, in units
# over all four numbers.
_UNUSUAL = 20
_FAR = 1 << 20

Ints = npt.NDArray[np.int64]
Octets = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Packed:
    """Columns of N detections as they go on the wire."""

    references: bytes
    box_changes: bytes
    score_changes: bytes
    class_changes: bytes


def to_units(boxes: npt.NDArray[np.float32], frame_size: tuple[int, int]) -> Ints:
    """Boxes (N, 4) in fractions of the frame as whole units, clipped to the frame."""
    most = np.array(2 * frame_size, np.int64) * UNITS_PER_PX
    whole: Ints = np.rint(np.clip(np.nan_to_num(boxes), 0.0, 1.0) * most).astype(np.int64)
    return whole


def frame_order(units: Ints, counts: Ints) -> Ints:
    """The order in which detections are sent: frame after frame, in each from left to right."""
    return np.lexsort((units[:, 0], np.repeat(np.arange(len(counts)), counts)))


def pack(units: Ints, scores: Octets, classes: Octets, counts: Ints) -> Packed:
    """Columns of detections in the order of ``frame_order``."""
    back = _references(units, counts)
    whence = np.arange(len(back)) - back
    told = back > 0
    return Packed(
        references=back.astype(np.uint8).tobytes(),
        box_changes=write_varints(_zigzag(units - units[whence] * told[:, None]).ravel()),
        score_changes=_small_zigzag(scores - scores[whence] * told),
        class_changes=_small_zigzag(classes - classes[whence] * told),
    )


def _references(units: Ints, counts: Ints) -> Ints:
    """How many detections back the most alike one is; 0 where zeros are more alike."""
    n = len(units)
    if not n:
        return np.zeros(0, np.int64)
    width = min(MAX_BACK, _FRAMES_BACK * int(counts.max()))
    difference = np.full((n, width), _UNUSUAL, np.int32)
    usual = int(np.median(counts))  # the same place in the frame before
    if 0 < usual <= width:
        difference[:, width - usual] = 0
    for column in units.T.astype(np.int32):
        before = np.concatenate((np.full(width, -_FAR, np.int32), column[:-1]))
        difference += np.abs(sliding_window_view(before, width) - column[:, None])
    back = 1 + np.argmin(difference[:, ::-1], axis=1)
    best = difference[np.arange(n), width - back]
    return np.where(units.sum(axis=1) <= best, 0, back)


def unpack(packed: Packed, detections: int, frame_size: tuple[int, int]) -> tuple[Ints, Octets, Octets]:
    """Units (N, 4), scores and classes of ``detections``; raises ContractError where a column is broken."""
    columns = packed.references, packed.score_changes, packed.class_changes
    changes = read_varints(packed.box_changes, "box_changes")
    if any(len(column) != detections for column in columns) or len(changes) != 4 * detections:
        raise ContractError(f"references, box, score and class changes do not hold {detections} detections")
    back = np.frombuffer(packed.references, np.uint8).astype(np.int64)
    if np.any(back > np.arange(detections)):
        raise ContractError("references lead before the first detection")
    told = np.empty((detections, 6), np.int64)
    told[:, :4] = ((changes >> 1) ^ -(changes & 1)).reshape(-1, 4)
    for k, column in ((4, packed.score_changes), (5, packed.class_changes)):
        folded = np.frombuffer(column, np.uint8).astype(np.int64)
        told[:, k] = (folded >> 1) ^ -(folded & 1)
    values = _resolve(told, back)
    units = values[:, :4]
    if np.any(units < 0) or np.any(units > np.array(2 * frame_size, np.int64) * UNITS_PER_PX):
        raise ContractError("a box does not lie in the frame")
    return units, (values[:, 4] & 255).astype(np.uint8), (values[:, 5] & 255).astype(np.uint8)


def _resolve(changes: Ints, back: Ints) -> Ints:
    """Sums along each chain of references: twice as far in each round."""
    # One row more, of zeros, that stands for no reference.
    n = len(back)
    values = np.vstack((changes, np.zeros((1, changes.shape[1]), np.int64)))
    whence = np.append(np.where(back > 0, np.arange(n) - back, n), n)
    while np.any(whence != n):
        values = values + values[whence]
        whence = whence[whence]
    return values[:n]


def _zigzag(values: Ints) -> Ints:
    return (values << 1) ^ (values >> 63)


def _small_zigzag(values: Octets) -> bytes:
    signed = values.view(np.int8)
    return ((signed << 1) ^ (signed >> 7)).tobytes()


def write_varints(values: Ints) -> bytes:
    """Numbers from 0 to 2^21 - 1 in 7 bits a byte, low ones first, the high bit set where more follow."""
    out = np.empty((len(values), MAX_VARINT_BYTES), np.uint8)
    size = 1 + (values >= 1 << 7) + (values >= 1 << 14)
    for k in range(MAX_VARINT_BYTES):
        out[:, k] = (values >> 7 * k & 0x7F) | ((size > k + 1) << 7)
    return out[np.arange(MAX_VARINT_BYTES) < size[:, None]].tobytes()


def read_varints(column: bytes, name: str) -> Ints:
    """The numbers of ``column``; raises ContractError where one is cut off or longer than 3 bytes."""
    octets = np.frombuffer(column, np.uint8)
    ends = np.flatnonzero(octets < 0x80)
    starts = np.concatenate((np.zeros(1, np.int64), ends + 1))
    sizes = np.diff(starts)
    if starts[-1] != len(octets) or np.any(sizes > MAX_VARINT_BYTES):
        raise ContractError(f"{name} is not a row of varints of up to {MAX_VARINT_BYTES} bytes")
    if not len(ends):
        return np.zeros(0, np.int64)
    place = np.arange(len(octets)) - np.repeat(starts[:-1], sizes)
    return np.add.reduceat((octets & 0x7F).astype(np.int64) << 7 * place, starts[:-1])
