"""What moves through a scene: one record an object, of fixed size; and the classes, with their measures.

Invariants: ``number`` is 0 where a place is free, and never used twice by a camera. ``lane`` -1 means that the object goes
along its plan of stops, otherwise it keeps its lane behind others. Truth's fields are the truth module's own.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from sightline_contract.labels import COCO_80

MAX_OBJECTS = 96  # of a camera at a time
MAX_STOPS = 10
MAX_LINES = 4
MAX_ZONES = 4

# Columns of a plan.
STOP_X, STOP_Y, STOP_SPEED, STOP_WAIT = range(4)


class Role(IntEnum):
    """What an object does, for tables of examples; never known to the detector."""

    ORDINARY = 0
    FAST = 1  # passes the line between two frames
    U_TURN = 2
    OVERTAKING = 3
    STOPPED = 4
    WRONG_WAY = 5
    SPEEDING = 6
    CRASHED = 7
    TURNING_ROUND = 8
    LINGERING = 9  # on the line
    CYCLING = 10
    INTRUDING = 11
    SHOPPING = 12


class Measures(NamedTuple):
    """Of a class of objects, in metres."""

    class_id: int
    length: float
    width: float
    height: float


def _measures(name: str, length: float, width: float, height: float) -> Measures:
    return Measures(COCO_80.index(name), length, width, height)


PERSON = _measures("person", 0.6, 0.6, 1.72)
BICYCLE = _measures("bicycle", 1.75, 0.65, 1.75)
CAR = _measures("car", 4.4, 1.8, 1.5)
MOTORCYCLE = _measures("motorcycle", 2.1, 0.8, 1.6)
BUS = _measures("bus", 10.0, 2.6, 3.1)
TRUCK = _measures("truck", 7.0, 2.4, 3.0)

# What a detector takes a class for when it errs.
LOOKS_LIKE = {PERSON: BICYCLE, BICYCLE: MOTORCYCLE, CAR: TRUCK, MOTORCYCLE: BICYCLE, BUS: TRUCK, TRUCK: BUS}

OBJECT = np.dtype(
    [
        ("number", np.int64),
        ("born_s", np.float64),
        # On the ground, metres and seconds.
        ("x", np.float64),
        ("y", np.float64),
        ("heading_x", np.float64),
        ("heading_y", np.float64),
        ("speed", np.float64),
        ("wanted", np.float64),
        ("brake", np.float64),
        ("length", np.float64),
        ("width", np.float64),
        ("height", np.float64),
        ("plan", np.float64, (MAX_STOPS, 4)),
        ("wait_until_s", np.float64),  # 0: going
        ("sway", np.float64),  # how far the object moves about while it waits: a standard deviation
        ("sway_x", np.float64),
        ("sway_y", np.float64),
        ("hidden_until_s", np.float64),  # a burst of misses lasts until then
        # On the picture, px: foot-point and box.
        ("u", np.float64),
        ("v", np.float64),
        ("w", np.float64),
        ("h", np.float64),
        ("cover", np.float64),  # share of the box behind nearer ones
        # Truth.
        ("last_u", np.float64),
        ("last_v", np.float64),
        ("first_us", np.int64),
        ("last_us", np.int64),
        ("window", np.int64),
        ("cut_us", np.int64, (MAX_LINES,)),
        ("crossed_us", np.int64, (MAX_LINES, 2)),
        ("entered_us", np.int64, (MAX_ZONES,)),
        ("left_us", np.int64, (MAX_ZONES,)),
        ("still_us", np.int64, (MAX_ZONES,)),  # since when it stands
        ("fast_us", np.int64, (MAX_ZONES,)),  # since when it is too fast
        ("against", np.float64, (MAX_ZONES,)),  # sizes gone against the heading
        ("seen_frames", np.int32),
        ("inside_frames", np.int32, (MAX_ZONES,)),
        ("told", np.uint8, (MAX_ZONES,)),  # bit per kind of event
        ("side", np.int8, (MAX_LINES,)),
        ("towards", np.int8, (MAX_LINES,)),
        ("seen_on", np.uint8, (MAX_LINES, 2)),
        ("seen_before", np.uint8, (MAX_LINES, 2)),
        ("seen_after", np.uint8, (MAX_LINES, 2)),
        ("phase", np.uint8, (MAX_ZONES,)),
        ("traced", np.uint8),
        ("lane", np.int8),
        ("n_plan", np.int8),
        ("at", np.int8),
        ("class_id", np.uint8),
        ("role", np.uint8),
    ],
    align=True,
)
