"""Working arrays of the frame in hand, made once and used frame after frame: making arrays cost more than filling them.

What they hold is of no use after the frame. Room is made before a frame; what works on them takes it for granted.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline_contract.batch import MAX_APPEARANCE_SIZE
from sightline_streaming.core.kernel import kernel, leaf

Indices = npt.NDArray[np.int32]
Table = npt.NDArray[np.float64]


class Scratch(NamedTuple):
    """Room for S slots and N detections."""

    detection_of: Indices  # (S,)
    slot_of: Indices  # (N,)
    row_count: Indices  # (S,) possible pairs of each slot, and of each detection
    column_count: Indices  # (N,)
    young: Indices  # (S,) slots of tracks without a speed
    predicted: Table  # (S, 4)
    variance: Table  # (S, 4)
    worth: Table  # (S * N,) of pairs
    likeness: npt.NDArray[np.float32]  # (S * N,) of pairs
    edges: Table  # (4, N) x1 y1 x2 y2 of the detections that may be matched, nowhere where one may not
    touched: npt.NDArray[np.uint8]  # (N,) whether a slot's prediction shares anything with them
    lengths: Table  # (N,) of appearance vectors
    mean: Table  # (MAX_APPEARANCE_SIZE,) of two appearance vectors


@kernel
def scratch_for(slots: int, detections: int) -> Scratch:
    """Working arrays for so many slots and detections."""
    return Scratch(
        np.empty(slots, np.int32),
        np.empty(detections, np.int32),
        np.empty(slots, np.int32),
        np.empty(detections, np.int32),
        np.empty(slots, np.int32),
        np.empty((slots, 4), np.float64),
        np.empty((slots, 4), np.float64),
        np.empty(slots * detections, np.float64),
        np.empty(slots * detections, np.float32),
        np.empty((4, detections), np.float64),
        np.empty(detections, np.uint8),
        np.empty(detections, np.float64),
        np.empty(MAX_APPEARANCE_SIZE, np.float64),
    )


@leaf
def has_room(scratch: Scratch, slots: int, detections: int) -> bool:
    """Whether a frame with so many slots and detections can be worked on."""
    return bool(scratch.detection_of.shape[0] >= slots and scratch.slot_of.shape[0] >= detections)
