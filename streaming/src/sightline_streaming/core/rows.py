"""Rows that the shard kernel writes, in arrays that grow as needed.

One record type for all kinds of fact; ``kind`` says which fields count, and the others are 0. Rows name camera, model version,
line and zone by number: names are put back where rows leave the shard.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.kernel import Record, Records, inner, leaf

SEGMENT, CROSSING, VISIT, COUNT, HEALTH, EVENT, ANOMALY = range(7)

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
        ("paced_us", np.int64),  # time that speeds told in the segment stand for, and the way in it
        ("moved_px", np.float64),
        ("paced_m_us", np.int64),  # the same where metres are known
        ("moved_m", np.float64),
        ("top_m_s", np.float64),
        ("speed_px", np.float64),  # of a segment in which no speed was told: the last one known
        ("speed_m", np.float64),  # the same in m/s, or of a crossing; not a number where unknown
        ("value", np.float64),  # of an event, in its rule's unit
        ("first_evidence", np.int64),  # place in the log's evidence
        ("n_evidence", np.int64),
        ("lag_us", np.int64),  # least time from a message's last frame to its arrival
        ("expected", np.float64),  # usual count, and its standard deviation
        ("deviation", np.float64),
        ("camera", np.int32),
        ("model", np.int32),
        ("class_id", np.int32),
        ("place", np.int32),  # line of a crossing, zone of a visit, rule of an event
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

# One box of one of an event's tracks.
EVIDENCE = np.dtype([("track_no", np.int64), ("t_us", np.int64), ("box", np.float32, (4,))], align=True)

# Places in Log.used.
ROWS, BOXES, EVIDENCES = 0, 1, 2


class Log(NamedTuple):
    """All rows of one call, the boxes of its segments and the evidence of its events, one segment or event after another.

    ``used`` says how many of each are filled.
    """

    used: npt.NDArray[np.int64]
    rows: Records
    boxes: Records
    evidence: Records


def empty_log(boxes: int = 0) -> Log:
    """A log without rows, with room for so many boxes at the least: to grow is to copy all."""
    return Log(np.zeros(3, np.int64), np.zeros(1024, ROW), np.zeros(max(boxes, 4096), BOX), np.zeros(16, EVIDENCE))


@inner
def at_least(records: Records, used: int, more: int) -> Records:
    """``records`` itself, or a larger copy with room for ``more`` than the ``used`` ones."""
    if records.shape[0] >= used + more:
        return records
    larger = np.zeros(max(used + more, 2 * records.shape[0]), records.dtype)
    for k in range(used):
        copy_record(larger, k, records, k)
    return larger


@leaf
def copy_record(to: Records, place: int, records: Records, k: int) -> None:
    """``to[place] = records[k]``, word by word: as one value, a record of a kilobyte takes seconds to compile.

    Records are whole words of 8 bytes long. Byte by byte, this was half of the shard kernel's time.
    """
    size = records.itemsize // 8
    target, source = to.view(np.int64), records.view(np.int64)
    for at in range(size):
        target[place * size + at] = source[k * size + at]


@inner
def with_room(log: Log, rows: int, boxes: int) -> Log:
    """The log with room for so many more rows and boxes."""
    rows_now, boxes_now = at_least(log.rows, log.used[ROWS], rows), at_least(log.boxes, log.used[BOXES], boxes)
    return Log(log.used, rows_now, boxes_now, log.evidence)


@inner
def with_evidence(log: Log, boxes: int) -> Log:
    """The log with room for so many more boxes of evidence."""
    return Log(log.used, log.rows, log.boxes, at_least(log.evidence, log.used[EVIDENCES], boxes))


@leaf
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
