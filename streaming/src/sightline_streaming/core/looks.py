"""What tracks look like: a running mean of the appearance vectors of their detections, for a camera whose node sends some.

DeepSORT's idea (Wojke et al., 2017) with StrongSORT's running mean (Du et al., 2022). A detection teaches a track how it looks
only where it shows the object alone: sure, and hardly covered by another box. Surer ones teach more.
Vectors are directions; only their cosine counts, on the scale of the model that they come from. All zero: not known.
Nothing here costs anything where there are no vectors.
"""

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.kernel import Record, Records, leaf
from sightline_streaming.core.params import TrackerParams
from sightline_streaming.core.scratch import Scratch, Table

# In place of a likeness where a track or a detection has no vector.
UNKNOWN = -2.0

# Length of a track's vector: fine enough that a small step towards a detection's is not lost in rounding.
SCALE = 16384.0

# Part of the way to its detection's vector that a track's goes, times the score.
LEARNING = 0.1

# A detection that shares more of its box with another one may show somebody else.
MOST_COVERED = 0.3

Looks = npt.NDArray[np.int8]
Likeness = npt.NDArray[np.float32]


@leaf
def compare(looks: Records, tracks: Records, seen: Looks, even: float, likeness: Likeness, lengths: Table) -> None:
    """Write how alike each slot's track and each detection look (S, N), UNKNOWN where one of them is; (0, 0) without vectors.

    1 is the same, 0 at cosine ``even``, where it is as likely one object as two; not below -1.
    """
    n, size = seen.shape
    likeness[:] = UNKNOWN
    for d in range(n if likeness.shape[0] > 0 else 0):
        lengths[d] = _length(seen[d])
    for slot in range(likeness.shape[0]):
        vector = looks[slot].vector
        length = _track_length(vector, size) if tracks[slot].live else 0.0
        if length == 0.0:
            continue
        for d in range(n):
            if lengths[d] > 0.0:
                cosine = _dot(vector, seen[d]) / (length * lengths[d])
                likeness[slot, d] = max((cosine - even) / (1.0 - even), -1.0)


@leaf
def is_known(looks: Records, slot: int, seen: Looks) -> bool:
    """Whether a slot's track has a vector, where detections have some."""
    size = seen.shape[1]
    return size > 0 and _track_length(looks[slot].vector, size) > 0.0


@leaf
def forget(look: Record) -> None:
    """Make a vector unknown."""
    for k in range(look.vector.shape[0]):
        look.vector[k] = 0


@leaf
def learn(
    params: TrackerParams, look: Record, seen: Looks, d: int, boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32],
    scratch: Scratch,
) -> None:  # fmt: skip
    """Move a track's vector towards that of its detection ``d``, if that can be trusted."""
    length = _length(seen[d])
    if length == 0.0 or scores[d] < params.high_score or _covered(params, d, boxes, scores):
        return
    size = seen.shape[1]
    before = _track_length(look.vector, size)
    share = LEARNING * scores[d] if before > 0.0 else 1.0
    mean, squares = scratch.mean, 0.0
    for k in range(size):
        mean[k] = share * seen[d, k] / length
        if before > 0.0:
            mean[k] += (1.0 - share) * look.vector[k] / before
        squares += mean[k] * mean[k]
    if squares > 0.0:
        for k in range(size):
            look.vector[k] = np.int16(np.rint(mean[k] * SCALE / np.sqrt(squares)))


@leaf
def _covered(params: TrackerParams, d: int, boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32]) -> bool:
    """Whether another detection of any class lies on a good part of the box."""
    a = boxes[d]
    area = (a[2] - a[0]) * (a[3] - a[1])
    for e in range(boxes.shape[0]):
        b = boxes[e]
        width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        if e != d and scores[e] >= params.min_score and width > 0.0 and height > 0.0 and width * height > MOST_COVERED * area:
            return True
    return False


@leaf
def _length(vector: npt.NDArray[np.int8]) -> float:
    squares = 0
    for k in range(vector.shape[0]):
        squares += int(vector[k]) * int(vector[k])
    return float(np.sqrt(float(squares)))


@leaf
def _track_length(vector: npt.NDArray[np.int16], size: int) -> float:
    squares = 0
    for k in range(size):
        squares += int(vector[k]) * int(vector[k])
    return float(np.sqrt(float(squares)))


@leaf
def _dot(vector: npt.NDArray[np.int16], seen: npt.NDArray[np.int8]) -> float:
    total = 0
    for k in range(seen.shape[0]):
        total += int(vector[k]) * int(seen[k])
    return float(total)
