"""Rows that the shard kernel writes, in arrays that grow as needed.

One record type for all kinds of fact; ``kind`` says which fields count, and the others are 0. Rows name camera, model version,
line and zone by number: names are put back where rows leave the shard.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.kernel import Record, Records, inner

SEGMENT, CROSSING, VISIT, COUNT, HEALTH, ANOMALY = range(6)

ROW = np.dtype(
    [
        ("session", np.int64),
        ("arrived_us", np.int64),  # of the newest message behind the row
        ("track_no", np.int64),
        ("window", np.int64),  # number of the counting window
        ("start_us", np.int64),  # or the time of a crossing
        ("end_us", np.int64),
        ("first_box", np.int64),  # place in the log's boxes
        ("detections", np.int64),
        ("frames_received", np.int64),
        ("frames_expected", np.int64),
        ("late_rows", np.int64),
        ("batches_received", np.int64),
        ("batches_duplicate", np.int64),
        ("batches_missing", np.int64),
        ("batches_late", np.int64),
        ("score_sum", np.float64),  # over the observations
        ("distance_px", np.float64),
        ("lag_us", np.int64),  # least time from a message's last frame to its arrival
        ("expected", np.float64),  # usual count, and its standard deviation
        ("deviation", np.float64),
        ("camera", np.int32),
        ("model", np.int32),
        ("class_id", np.int32),
        ("place", np.int32),  # line of a crossing, zone of a visit
        ("observations", np.int32),
        ("objects", np.int32),
        ("new_objects", np.int32),
        ("days", np.int32),  # behind what is usual
        ("x", np.float32),
        ("y", np.float32),
        ("kind", np.uint8),
        ("forward", np.uint8),
        ("first_segment", np.uint8),
    ],
    align=True,
)
BOX = np.dtype([("box", np.float32, (4,)), ("time_ms", np.int32), ("source", np.uint8)], align=True)

# Places in Log.used.
ROWS, BOXES = 0, 1


class Log(NamedTuple):
    """All rows of one call, and the boxes of its segments, segment after segment; ``used`` says how many are filled."""

    used: npt.NDArray[np.int64]
    rows: Records
    boxes: Records


def empty_log() -> Log:
    """A log without rows."""
    return Log(np.zeros(2, np.int64), np.zeros(1024, ROW), np.zeros(4096, BOX))


@inner
def at_least(records: Records, used: int, more: int) -> Records:
    """``records`` itself, or a larger copy with room for ``more`` than the ``used`` ones."""
    if records.shape[0] >= used + more:
        return records
    larger = np.zeros(max(used + more, 2 * records.shape[0]), records.dtype)
    for k in range(used):  # a slice of records takes numba ten times as long to compile
        larger[k] = records[k]
    return larger


@inner
def with_room(log: Log, rows: int, boxes: int) -> Log:
    """The log with room for so many more rows and boxes."""
    return Log(log.used, at_least(log.rows, log.used[ROWS], rows), at_least(log.boxes, log.used[BOXES], boxes))


@inner
def add_row(log: Log, kind: int, camera: Record) -> int:
    """Place of a new row of the camera's session; needs room."""
    place = int(log.used[ROWS])
    log.used[ROWS] = place + 1
    row = log.rows[place]
    row.kind = kind
    row.session = camera.session
    row.arrived_us = camera.arrived_us
    row.camera = camera.index
    row.model = camera.model
    return place
