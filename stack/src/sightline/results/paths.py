"""Whole tracks as arrays, put together from their segments.

Times are microseconds since the clip's first frame; boxes are x1, y1, x2, y2 in pixels of the camera's frame. The times of a
path strictly increase.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sightline.results.reading import microseconds

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

INTERPOLATED = 2


@dataclass(frozen=True)
class TrackPath:
    """One track from its first box to its last."""

    track_id: str
    class_name: str
    times_us: Ints  # (n,)
    boxes: Floats  # (n, 4)
    observed: npt.NDArray[np.bool_]  # (n,) False where the tracker filled a gap

    @property
    def number(self) -> str:
        """The tracker's counter: the part of the track's id that differs within a clip."""
        return self.track_id.rpartition("/")[2]

    @property
    def duration_s(self) -> float:
        """Time from the first box to the last."""
        return float(self.times_us[-1] - self.times_us[0]) / 1e6


def feet(boxes: Floats) -> Floats:
    """Where objects stood, (n, 2): the middle of the lower edge of each of (n, 4) boxes."""
    return np.column_stack(((boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]))


def track_paths(segments: pa.Table, start_us: int) -> list[TrackPath]:
    """Join ``silver.track_segments`` into paths, in the order of their first box."""
    rows = segments.sort_by([("track_id", "ascending"), ("start_time", "ascending")]).combine_chunks()
    if not rows.num_rows:
        return []
    boxes_per_row = _integers(pc.list_value_length(rows["times_ms"]))
    times_us = np.repeat(microseconds(rows["start_time"]) - start_us, boxes_per_row)
    times_us += _integers(pc.list_flatten(rows["times_ms"])) * 1000
    boxes = np.asarray(pc.list_flatten(rows["boxes"]), dtype=np.float64).reshape(-1, 4)
    observed = _integers(pc.list_flatten(rows["sources"])) != INTERPOLATED

    ids = np.asarray(rows["track_id"].to_pylist(), dtype=object)
    classes = rows["class_name"].to_pylist()
    first_rows = np.flatnonzero(np.append(True, ids[1:] != ids[:-1]))
    first_boxes = np.append(0, np.cumsum(boxes_per_row))[np.append(first_rows, len(ids))]
    paths = [
        _path(str(ids[row]), classes[row], times_us[begin:end], boxes[begin:end], observed[begin:end])
        for row, begin, end in zip(first_rows, first_boxes[:-1], first_boxes[1:], strict=True)
        if end > begin
    ]
    return sorted(paths, key=lambda path: int(path.times_us[0]))


def _path(track_id: str, class_name: str, times_us: Ints, boxes: Floats, observed: npt.NDArray[np.bool_]) -> TrackPath:
    # A segment may begin with the box that ended the one before.
    times_us, first = np.unique(times_us, return_index=True)
    return TrackPath(track_id, class_name, times_us, boxes[first], observed[first])


def _integers(column: pa.ChunkedArray) -> Ints:
    return np.asarray(column, dtype=np.int64)
