"""Lines and polygons on the picture: x to the right, y down, pixels of the camera file's frame."""

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.kernel import leaf_kernel

Floats = npt.NDArray[np.float64]


@leaf_kernel
def length_of(line: Floats) -> float:
    """Length, px, of ``line`` (x1, y1, x2, y2)."""
    return float(np.hypot(line[2] - line[0], line[3] - line[1]))


@leaf_kernel
def side_of(line: Floats, length: float, x: float, y: float) -> float:
    """Signed distance, px, from the endless line through ``line`` of this ``length``: negative on its left-hand side.

    That is the left hand of who walks on the picture from start to end. A point on the line counts to the right.
    """
    along_x, along_y = line[2] - line[0], line[3] - line[1]
    return float((along_x * (y - line[1]) - along_y * (x - line[0])) / length)


@leaf_kernel
def extent_across(line: Floats, length: float, width: float, height: float) -> float:
    """How long a box of this width and height is across ``line``, px: its extent along the line's normal."""
    along_x, along_y = line[2] - line[0], line[3] - line[1]
    return float((abs(along_y) * width + abs(along_x) * height) / length)


@leaf_kernel
def cut_at(line: Floats, x0: float, y0: float, x1: float, y1: float, before: float, after: float) -> float:
    """Where a step from (x0, y0) to (x1, y1), 0 to 1 of its length, cuts ``line``, or -1 where it passes beyond its ends.

    ``before`` and ``after`` are the two points' ``side_of``, of different sign. The line's start belongs to it and its end
    does not: where two lines share a point, a path through that point cuts one of them.
    """
    step = before / (before - after)
    along_x, along_y = line[2] - line[0], line[3] - line[1]
    x, y = x0 + step * (x1 - x0) - line[0], y0 + step * (y1 - y0) - line[1]
    place = (x * along_x + y * along_y) / (along_x * along_x + along_y * along_y)
    return step if 0.0 <= place < 1.0 else -1.0


@leaf_kernel
def is_inside(points: Floats, x: float, y: float) -> bool:
    """Whether (x, y) lies in the polygon ``points`` (n, 2), by the even-odd rule."""
    inside = False
    last = points.shape[0] - 1
    for k in range(points.shape[0]):
        x1, y1, x2, y2 = points[last, 0], points[last, 1], points[k, 0], points[k, 1]
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
        last = k
    return inside
