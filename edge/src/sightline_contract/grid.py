"""Zones as cells of a grid, so that "in a zone" is an equality that a stream can join on.

The frame is cut into GRID_COLUMNS x GRID_ROWS cells, numbered row by row from the top left. A cell belongs to a zone when
its centre lies in the polygon (even-odd rule). An event names the cell of its foot-point.
"""

import numpy as np
import numpy.typing as npt

GRID_COLUMNS = 64
GRID_ROWS = 36


def cell_of(x: float, y: float) -> int:
    """Cell of a point given in fractions of the frame; points outside count to the nearest cell."""
    column = min(max(int(x * GRID_COLUMNS), 0), GRID_COLUMNS - 1)
    row = min(max(int(y * GRID_ROWS), 0), GRID_ROWS - 1)
    return row * GRID_COLUMNS + column


def cells_in(polygon: npt.ArrayLike) -> list[int]:
    """Cells of a polygon, an (n, 2) array of points in fractions of the frame."""
    points = np.asarray(polygon, dtype=np.float64)
    rows, columns = np.divmod(np.arange(GRID_ROWS * GRID_COLUMNS), GRID_COLUMNS)
    x = (columns + 0.5) / GRID_COLUMNS
    y = (rows + 0.5) / GRID_ROWS
    inside = np.zeros(x.shape, dtype=bool)
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        between = (y1 > y) != (y2 > y)
        inside ^= between & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return [int(cell) for cell in np.flatnonzero(inside)]
