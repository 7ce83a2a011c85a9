"""What a detector makes of the objects: boxes with jitter and scores, misses and bursts of them, things that are not there.

A nearer object covers those behind it: the share of a box that nearer boxes lie on takes from the chance to be detected,
from ``COVER_BEGINS`` on, down to none at ``COVER_HIDES``. Numbers are drawn in a fixed order, frame by frame.

Appearance vectors have their place here, beside the box of each object: drawn around the object's own mean.
"""

import numpy as np
import numpy.typing as npt

from sightline.simulate.kernel import Record, Records, kernel

COVER_BEGINS, COVER_HIDES = 0.3, 0.8
# An object counts as visible where less than half of its box is covered, and enough of it is in the picture.
COVER_VISIBLE = 0.5
LEAST_IN_PICTURE = 0.4
LEAST_HEIGHT_PX = 14.0
LEAST_BURST_S = 0.2

SENSOR = np.dtype(
    [
        ("miss", np.float64),  # chance to miss a clear object in a frame
        ("bursts_per_s", np.float64),  # how often an object's misses come in a row; a burst lasts LEAST_BURST_S to burst_s
        ("burst_s", np.float64),
        ("false_per_frame", np.float64),  # boxes of nothing, anywhere
        ("ghosts_per_s", np.float64),  # boxes of nothing that linger on one spot, each detected in half of the frames
        ("ghost_s", np.float64),
        ("jitter", np.float64),  # of centre, width and height, in widths and heights of the box
        ("duplicate", np.float64),  # chance of a second box
        ("confusion", np.float64),  # chance of a class that looks alike
        ("score", np.float64),  # mean and deviation of the log odds of a clear object's score, and what full cover takes away
        ("score_spread", np.float64),
        ("score_cover", np.float64),
        ("false_score", np.float64),
        ("ghost_score", np.float64),
    ],
    align=True,
)

VIEW = np.dtype(
    [
        ("to_picture", np.float64, (3, 3)),
        ("width", np.float64),  # px
        ("height", np.float64),
        ("false_class", np.uint8),
        ("alike", np.uint8, (256,)),  # what a class is taken for
    ],
    align=True,
)

GHOST = np.dtype([("until_s", np.float64), ("box", np.float64, (4,)), ("class_id", np.uint8)], align=True)
MAX_GHOSTS = 4
_BOX_UNITS = 65535.0

# Most detections of one frame.
MOST_DETECTIONS = 250


@kernel
def project(me: Record, view: Record) -> None:
    """Put the object on the picture: foot-point and box, px; far behind the camera it has no height."""
    p = view.to_picture
    depth = p[2, 0] * me.x + p[2, 1] * me.y + p[2, 2]
    if depth < 0.5:
        me.u, me.v, me.w, me.h = -1e6, -1e6, 0.0, 0.0
        return
    me.u = (p[0, 0] * me.x + p[0, 1] * me.y + p[0, 2]) / depth
    me.v = (p[1, 0] * me.x + p[1, 1] * me.y + p[1, 2]) / depth
    px_per_m = p[0, 0] / depth
    me.w = (abs(me.heading_x) * me.length + abs(me.heading_y) * me.width) * px_per_m
    me.h = me.height * px_per_m


@kernel
def note_cover(objects: Records) -> None:
    """Tell for each object which share of its box nearer ones cover, at most 1; where these overlap it is told too large."""
    for k in range(objects.shape[0]):
        me = objects[k]
        if me.number == 0 or me.h <= 0.0:
            continue
        covered = 0.0
        for j in range(objects.shape[0]):
            other = objects[j]
            if other.number != 0 and (other.v > me.v or (other.v == me.v and j < k)):
                across = min(me.u + 0.5 * me.w, other.u + 0.5 * other.w) - max(me.u - 0.5 * me.w, other.u - 0.5 * other.w)
                down = min(me.v, other.v) - max(me.v - me.h, other.v - other.h)
                if across > 0.0 and down > 0.0:
                    covered += across * down
        me.cover = min(covered / (me.w * me.h), 1.0)


@kernel
def in_picture(me: Record, view: Record) -> bool:
    """Whether enough of the object lies in the picture, and is large enough."""
    if me.h < LEAST_HEIGHT_PX:
        return False
    across = min(me.u + 0.5 * me.w, view.width) - max(me.u - 0.5 * me.w, 0.0)
    down = min(me.v, view.height) - max(me.v - me.h, 0.0)
    return bool(across > 0.0 and down > 0.0 and across * down >= LEAST_IN_PICTURE * me.w * me.h)


@kernel
def sense(
    objects: Records, ghosts: Records, view: Record, sensor: Record, t_s: float, interval_s: float, rng: np.random.Generator,
    boxes: npt.NDArray[np.uint16], scores: npt.NDArray[np.uint8], classes: npt.NDArray[np.uint8], used: int,
) -> int:  # fmt: skip
    """Write the detections of one frame behind the ``used`` ones; returns how many are there then."""
    most = used + MOST_DETECTIONS
    for k in range(objects.shape[0]):
        me = objects[k]
        if me.number == 0 or used >= most - 2 or not in_picture(me, view) or not _is_detected(me, sensor, t_s, interval_s, rng):
            continue
        score = sensor.score + sensor.score_spread * rng.standard_normal() - sensor.score_cover * me.cover
        class_id = view.alike[me.class_id] if rng.random() < sensor.confusion else me.class_id
        used = _detect(me.u, me.v, me.w, me.h, score, class_id, sensor.jitter, view, rng, boxes, scores, classes, used)
        if rng.random() < sensor.duplicate:
            used = _detect(
                me.u, me.v, me.w, me.h, score - 1.5, class_id, 2.5 * sensor.jitter, view, rng, boxes, scores, classes, used
            )
    return _invent(ghosts, view, sensor, t_s, interval_s, rng, boxes, scores, classes, used, most)


@kernel
def _is_detected(me: Record, sensor: Record, t_s: float, interval_s: float, rng: np.random.Generator) -> bool:
    if t_s < me.hidden_until_s or me.cover >= COVER_HIDES:
        return False
    if rng.random() < sensor.bursts_per_s * interval_s:
        me.hidden_until_s = t_s + rng.uniform(LEAST_BURST_S, sensor.burst_s)
        return False
    chance = 1.0 - sensor.miss
    if me.cover > COVER_BEGINS:
        chance *= (COVER_HIDES - me.cover) / (COVER_HIDES - COVER_BEGINS)
    return bool(rng.random() < chance)


@kernel
def _invent(
    ghosts: Records, view: Record, sensor: Record, t_s: float, interval_s: float, rng: np.random.Generator,
    boxes: npt.NDArray[np.uint16], scores: npt.NDArray[np.uint8], classes: npt.NDArray[np.uint8], used: int, most: int,
) -> int:  # fmt: skip
    """Boxes of nothing: one anywhere, and those that linger."""
    if rng.random() < sensor.false_per_frame:
        h = view.height * rng.uniform(0.05, 0.25)
        u, v, w = view.width * rng.random(), h + (view.height - h) * rng.random(), h * rng.uniform(0.4, 2.0)
        score = sensor.false_score + 0.8 * rng.standard_normal()
        used = _detect(u, v, w, h, score, view.false_class, 0.0, view, rng, boxes, scores, classes, used)
    comes = rng.random() < sensor.ghosts_per_s * interval_s
    for k in range(ghosts.shape[0]):
        ghost = ghosts[k]
        if comes and ghost.until_s < t_s:
            comes = False
            ghost.until_s = t_s + rng.exponential(sensor.ghost_s)
            ghost.box[3] = view.height * rng.uniform(0.05, 0.25)
            ghost.box[2] = ghost.box[3] * rng.uniform(0.4, 2.0)
            ghost.box[0], ghost.box[1] = view.width * rng.random(), ghost.box[3] + (view.height - ghost.box[3]) * rng.random()
            ghost.class_id = view.false_class
        if ghost.until_s >= t_s and used < most and rng.random() < 0.5:
            u, v, w, h = ghost.box[0], ghost.box[1], ghost.box[2], ghost.box[3]
            score = sensor.ghost_score + 0.5 * rng.standard_normal()
            used = _detect(u, v, w, h, score, ghost.class_id, sensor.jitter, view, rng, boxes, scores, classes, used)
    return used


@kernel
def _detect(
    u: float, v: float, w: float, h: float, score: float, class_id: int, jitter: float, view: Record,
    rng: np.random.Generator, boxes: npt.NDArray[np.uint16], scores: npt.NDArray[np.uint8],
    classes: npt.NDArray[np.uint8], used: int,
) -> int:  # fmt: skip
    """Write one detection as it goes on the wire, its box clipped to the frame; returns the number of detections then."""
    x = u + jitter * w * rng.standard_normal()
    y = v - 0.5 * h + jitter * h * rng.standard_normal()
    wide = w * max(1.0 + jitter * rng.standard_normal(), 0.2)
    high = h * max(1.0 + jitter * rng.standard_normal(), 0.2)
    left, right = max(x - 0.5 * wide, 0.0), min(x + 0.5 * wide, view.width)
    top, bottom = max(y - 0.5 * high, 0.0), min(y + 0.5 * high, view.height)
    if right - left < 2.0 or bottom - top < 2.0:
        return used
    boxes[used, 0] = int(0.5 * (left + right) / view.width * _BOX_UNITS + 0.5)
    boxes[used, 1] = int(0.5 * (top + bottom) / view.height * _BOX_UNITS + 0.5)
    boxes[used, 2] = int((right - left) / view.width * _BOX_UNITS + 0.5)
    boxes[used, 3] = int((bottom - top) / view.height * _BOX_UNITS + 0.5)
    scores[used] = int(255.0 / (1.0 + np.exp(-score)) + 0.5)
    classes[used] = class_id
    return used + 1


def sensor(**numbers: float) -> Record:
    """A SENSOR record of the given numbers, the others 0."""
    record = np.zeros(1, SENSOR)
    for name, value in numbers.items():
        record[name] = value
    return record[0]
