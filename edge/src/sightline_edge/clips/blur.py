"""Regions of a picture made unrecognisable, before anything is encoded.

A region becomes 2 x 4 flat cells, each the mean of its pixels rounded to 16 steps a channel. That is at most 96 bits of a
region and frame, whatever its size in the picture: details are discarded, not weakened. A Gaussian blur only weakens them and
can be undone in part by deconvolution; a mosaic of many cells was shown to be read by trained networks (McPherson et al.,
"Defeating Image Obfuscation with Deep Learning", 2016) and can be refined over the frames of a video. Here a face fills about
one cell of a standing person, eight of a close-up, and the rounding hides what a shift by a few pixels would tell.

What stays: where a region is, how large, how it moves, and the rough colours of clothes. What the detector does not see is
not blurred at all: weak detections count too, since a region too many costs less than a person too few.
"""

import itertools
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from sightline_contract.errors import ConfigError
from sightline_edge.frame import Pixels
from sightline_edge.postprocessing import Detections
from sightline_edge.preprocessing import Floats

CELLS = (2, 4)  # across, down
STEPS = 16  # of a channel's 256 values
# Boxes are seldom exact, and hair, hands and a codec's blocks reach over them.
MARGIN = 0.15  # of the box's width and height, on each side
MIN_MARGIN_PX = 8


class BlurredClasses:
    """Finds the regions that ``ClipsConfig.blur`` names among a frame's detections, of every score that the detector gives."""

    def __init__(self, classes: Iterable[str], labels: tuple[str, ...]) -> None:
        """``labels`` are the model's; raises ConfigError where a class is none of them, and thus would never be blurred."""
        for name in classes:
            if name not in labels:
                known = ", ".join(labels[:5])
                raise ConfigError(
                    f"clips.blur: {name!r} is no label of the model ({known}, ...) and would never be blurred: correct it"
                )
        self._wanted = np.array([labels.index(name) for name in classes], np.int64)

    def boxes(self, found: Detections, frame_size: tuple[int, int]) -> Floats:
        """(N, 4) corners x1, y1, x2, y2 in px of a frame of ``frame_size`` (width, height)."""
        chosen = found.boxes[np.isin(found.labels, self._wanted)]
        return np.asarray(chosen * np.array([*frame_size, *frame_size], np.float32), np.float32)


def blur(pixels: Pixels, boxes: npt.NDArray[np.floating]) -> Pixels:
    """A copy of a BGR picture in which the boxes, (N, 4) corners in px, and a margin around them are unrecognisable.

    Raises ValueError for a box that is not finite: where a region is unknown the whole picture must not be kept.
    """
    if not np.isfinite(boxes).all():
        raise ValueError("a box to blur is not finite")
    blurred = pixels.copy()
    height, width = pixels.shape[:2]
    for x1, y1, x2, y2 in boxes:
        grow_x, grow_y = max(MARGIN * (x2 - x1), MIN_MARGIN_PX), max(MARGIN * (y2 - y1), MIN_MARGIN_PX)
        left, right = int(max(0, np.floor(x1 - grow_x))), int(min(width, np.ceil(x2 + grow_x)))
        top, bottom = int(max(0, np.floor(y1 - grow_y))), int(min(height, np.ceil(y2 + grow_y)))
        if left < right and top < bottom:
            _flatten(blurred[top:bottom, left:right])
    return blurred


def _flatten(region: Pixels) -> None:
    columns = np.linspace(0, region.shape[1], min(CELLS[0], region.shape[1]) + 1).astype(int)
    rows = np.linspace(0, region.shape[0], min(CELLS[1], region.shape[0]) + 1).astype(int)
    step = 256 // STEPS
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            cell = region[top:bottom, left:right]
            cell[:] = (cell.mean(axis=(0, 1)) // step * step + step // 2).astype(np.uint8)
