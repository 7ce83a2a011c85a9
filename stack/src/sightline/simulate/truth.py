"""What really happened, from the noise-free world, by the product's own definitions.

Who counts. An object is visible in an analysed frame that was sent if at least 40 % of its box lie in the picture, the box is
14 px high or more, and nearer objects cover less than half of it. It counts once it was visible in ``LEAST_FRAMES`` frames.
A camera's restart begins all objects anew: nobody could know them again.

Crossing. The exact path of the foot-point (middle of the lower edge of the noise-free box), tick by tick from the first
visible frame on, cut the line and got beyond it by ``margin`` of the box's extent across it: once an object, line and
direction. It counts if the object was visible clearly on either side, before and after.

Visit. The foot-point was in the zone, with absences shorter than ``VISIT_GAP_US``; it counts if the object was visible inside
in ``LEAST_FRAMES`` frames.

Events follow the rules of the zone (docs/facts.md) with the world's own positions and speeds: standing is slower than
``STILL_MPS``; speeding lasts ``FAST_US``, and must be told of an object that was visible ``SPEED_KNOWN_US`` ago (a speed is one
of the last second's way), of others it may; congestion may break for ``BREAK_US`` before and is over ``OVER_US`` after its
last moment. An event's time is that at which it has lasted as long as its rule asks for, and the object was visible in the
zone in ``LEAST_FRAMES`` frames.
"""

from enum import IntEnum

import numpy as np

from sightline.simulate.kernel import Floats, Record, Records, kernel
from sightline.simulate.objects import Role

LEAST_FRAMES = 3
VISIT_GAP_US = 500_000
MAX_CORNERS = 8
STILL_MPS = 0.3
FAST_US, SPEED_KNOWN_US = 400_000, 1_400_000

# Bit of an object's told events behind those of the kinds.
ALLOWED = 128
BREAK_US, OVER_US = 3_000_000, 10_000_000

# Kinds of a row.
OBJECT_ROW, CROSSING, VISIT, SIGHTING, EVENT = range(5)


class Kind(IntEnum):
    """Of an event."""

    STOPPED = 0
    WRONG_WAY = 1
    RESTRICTED = 2
    SPEEDING = 3
    CONGESTION = 4
    ACCIDENT = 5


EVENT_NAMES = ("stopped_vehicle", "wrong_way", "restricted_zone", "speeding", "congestion", "possible_accident")

ROW = np.dtype(
    [
        ("number", np.int64),  # of the object, 0: none
        ("start_us", np.int64),
        ("end_us", np.int64),
        ("camera", np.int32),
        ("frames", np.int32),  # visible
        ("kind", np.uint8),
        ("place", np.uint8),  # line or zone
        ("what", np.uint8),  # 1 forward, or kind of event
        ("class_id", np.uint8),
        ("role", np.uint8),
        ("sound", np.uint8),  # crossing: visible on both sides; event: long enough in view to be told
        ("spare", np.uint8, (2,)),  # no hidden padding: equal rows are equal bytes
    ],
    align=True,
)

ZONE = np.dtype(
    [
        ("corners", np.float64, (MAX_CORNERS, 2)),
        ("n_corners", np.int64),
        # Of its rules, 0: none.
        ("stopped_us", np.int64),
        ("restricted_us", np.int64),
        ("accident_us", np.int64),  # how long both must stay
        ("congestion_us", np.int64),
        ("congestion_objects", np.int64),
        ("congestion_mps", np.float64),
        ("limit_mps", np.float64),
        ("heading", np.float64, (2,)),
        ("against_sizes", np.float64),
        # State of the zone.
        ("slow_since_us", np.int64),
        ("held_us", np.int64),
        ("told", np.uint8),
    ],
    align=True,
)


@kernel
def extent_across(line: Floats, width: float, height: float) -> float:
    """Length of a box across a line, px."""
    ax, ay = line[2] - line[0], line[3] - line[1]
    return float((abs(ay) * width + abs(ax) * height) / np.hypot(ax, ay))


@kernel
def side_of(line: Floats, x: float, y: float) -> float:
    """Distance, px, from the endless line: negative on the left hand of who walks on the picture from start to end."""
    ax, ay = line[2] - line[0], line[3] - line[1]
    return float((ax * (y - line[1]) - ay * (x - line[0])) / np.sqrt(ax * ax + ay * ay))


@kernel
def is_inside(zone: Record, x: float, y: float) -> bool:
    """Whether the point lies in the zone's polygon, by the even-odd rule."""
    inside, last = False, zone.n_corners - 1
    for k in range(zone.n_corners):
        x1, y1, x2, y2 = zone.corners[last, 0], zone.corners[last, 1], zone.corners[k, 0], zone.corners[k, 1]
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
        last = k
    return inside


@kernel
def trace(me: Record, lines: Floats, zones: Records, margin: float, t_us: int, tick_us: int, rows: Records, used: int) -> int:
    """Take a tick of an object's path into account; returns how many rows are there then."""
    if not me.traced:
        return used
    for k in range(lines.shape[0]):
        _pass_line(me, k, lines[k], margin, t_us, tick_us)
    for k in range(zones.shape[0]):
        used = _pass_zone(me, k, zones[k], t_us, rows, used)
    me.last_u, me.last_v = me.u, me.v
    return used


@kernel
def _pass_line(me: Record, k: int, line: Floats, margin: float, t_us: int, tick_us: int) -> None:
    before, after = side_of(line, me.last_u, me.last_v), side_of(line, me.u, me.v)
    side = 1 if after >= 0.0 else -1
    if (before >= 0.0) != (after >= 0.0):
        share = before / (before - after)
        u, v = me.last_u + share * (me.u - me.last_u), me.last_v + share * (me.v - me.last_v)
        ax, ay = line[2] - line[0], line[3] - line[1]
        place = ((u - line[0]) * ax + (v - line[1]) * ay) / (ax * ax + ay * ay)
        me.towards[k] = side if 0.0 <= place < 1.0 else 0
        me.cut_us[k] = t_us - int((1.0 - share) * tick_us)
    if abs(after) < margin * extent_across(line, me.w, me.h):
        return
    way = 1 if side > 0 else 0
    if me.side[k] == -side and me.towards[k] == side and me.crossed_us[k, way] == 0:
        me.crossed_us[k, way] = me.cut_us[k]
        me.seen_before[k, way] = me.seen_on[k, 1 - way]
    me.side[k] = side
    me.towards[k] = 0


@kernel
def _pass_zone(me: Record, k: int, zone: Record, t_us: int, rows: Records, used: int) -> int:
    if me.phase[k] == 2 and t_us - me.left_us[k] >= VISIT_GAP_US:
        used = _end_visit(me, k, rows, used)
    if is_inside(zone, me.u, me.v):
        if me.phase[k] == 0:
            me.entered_us[k], me.inside_frames[k], me.told[k] = t_us, 0, 0
            me.still_us[k], me.fast_us[k], me.against[k] = 0, 0, 0.0
        me.phase[k] = 1
        return _judge(me, k, zone, t_us, rows, used)
    if me.phase[k] == 1:
        me.phase[k], me.left_us[k] = 2, t_us
    return used


@kernel
def _judge(me: Record, k: int, zone: Record, t_us: int, rows: Records, used: int) -> int:
    """Whether the object, inside, breaks a rule of the zone now."""
    if me.class_id == 0:
        if zone.restricted_us > 0 and t_us - me.entered_us[k] >= zone.restricted_us:
            used = _tell(me, k, Kind.RESTRICTED, True, t_us, rows, used)
        return used
    if me.speed >= STILL_MPS:
        me.still_us[k] = 0
    elif me.still_us[k] == 0:
        me.still_us[k] = t_us
    if me.still_us[k] > 0:
        stands_us = t_us - me.still_us[k]
        if zone.stopped_us > 0 and stands_us >= zone.stopped_us:
            used = _tell(me, k, Kind.STOPPED, True, t_us, rows, used)
        if zone.accident_us > 0 and me.role == Role.CRASHED and stands_us >= zone.accident_us:
            used = _tell(me, k, Kind.ACCIDENT, True, t_us, rows, used)
    if zone.limit_mps > 0.0 and _speeds(me, k, zone, t_us):
        known = t_us - me.first_us >= SPEED_KNOWN_US
        used = _tell(me, k, Kind.SPEEDING, known, t_us, rows, used)
    if zone.against_sizes > 0.0:
        step = ((me.u - me.last_u) * zone.heading[0] + (me.v - me.last_v) * zone.heading[1]) / (0.5 * (me.w + me.h))
        me.against[k] = max(me.against[k] - step, 0.0)
        if me.against[k] >= zone.against_sizes:
            used = _tell(me, k, Kind.WRONG_WAY, True, t_us, rows, used)
    return used


@kernel
def _speeds(me: Record, k: int, zone: Record, t_us: int) -> bool:
    if me.speed <= zone.limit_mps:
        me.fast_us[k] = 0
    elif me.fast_us[k] == 0:
        me.fast_us[k] = t_us
    return bool(me.fast_us[k] > 0 and t_us - me.fast_us[k] >= FAST_US)


@kernel
def _tell(me: Record, k: int, kind: int, due: bool, t_us: int, rows: Records, used: int) -> int:
    """Note an event once; not ``due``: in too short a view to be sure, right to be told and no fault if it is not."""
    bit = 1 << kind if due else ALLOWED
    if me.told[k] & bit or (due and me.inside_frames[k] < LEAST_FRAMES):
        return used
    me.told[k] |= bit
    row = rows[used]
    _name(row, me, EVENT)
    row.place, row.what, row.start_us, row.end_us, row.sound = k, kind, t_us, t_us, due
    return used + 1


@kernel
def watch_congestion(objects: Records, zone: Record, place: int, t_us: int, rows: Records, used: int) -> int:
    """Whether the zone is full of slow vehicles, and long enough."""
    if zone.congestion_us == 0:
        return used
    n, speeds = 0, 0.0
    for k in range(objects.shape[0]):
        if objects[k].number != 0 and objects[k].traced and objects[k].class_id != 0 and objects[k].phase[place] == 1:
            n += 1
            speeds += objects[k].speed
    slow = n >= zone.congestion_objects and speeds < n * zone.congestion_mps
    if zone.told:
        if n >= 0.75 * zone.congestion_objects and speeds < 1.5 * n * zone.congestion_mps:
            zone.held_us = t_us
        elif t_us - zone.held_us >= OVER_US:
            zone.told, zone.slow_since_us = 0, 0
        return used
    if not slow:
        if t_us - zone.held_us > BREAK_US:
            zone.slow_since_us = 0
        return used
    if zone.slow_since_us == 0:
        zone.slow_since_us = t_us
    zone.held_us = t_us
    if t_us - zone.slow_since_us < zone.congestion_us:
        return used
    zone.told = 1
    row = rows[used]
    row.kind, row.number, row.place, row.what = EVENT, 0, place, Kind.CONGESTION
    row.start_us = row.end_us = t_us
    row.sound = 1
    return used + 1


@kernel
def note_visible(me: Record, lines: Floats, margin: float, window_us: int, t_us: int, rows: Records, used: int) -> int:
    """Note that the object is visible in an analysed frame that is sent."""
    if not me.traced:
        me.traced, me.first_us, me.window = 1, t_us, -1
        me.last_u, me.last_v = me.u, me.v
    me.seen_frames += 1
    me.last_us = t_us
    for k in range(lines.shape[0]):
        distance = side_of(lines[k], me.u, me.v)
        if abs(distance) >= margin * extent_across(lines[k], me.w, me.h):
            way = 1 if distance >= 0.0 else 0
            me.seen_on[k, way] = 1
            if me.crossed_us[k, way] > 0:
                me.seen_after[k, way] = 1
    for k in range(me.phase.shape[0]):
        me.inside_frames[k] += me.phase[k] == 1
    window = t_us // window_us
    if window == me.window:
        return used
    me.window = window
    row = rows[used]
    _name(row, me, SIGHTING)
    row.start_us = window * window_us
    return used + 1


@kernel
def end_object(me: Record, n_lines: int, n_zones: int, rows: Records, used: int) -> int:
    """Write what is known of an object that leaves, or that nobody can know again."""
    if not me.traced:
        return used
    for k in range(n_zones):
        if me.phase[k] != 0:
            if me.phase[k] == 1:
                me.left_us[k] = me.last_us
            used = _end_visit(me, k, rows, used)
    for k in range(n_lines):
        for way in range(2):
            if me.crossed_us[k, way] > 0:
                row = rows[used]
                _name(row, me, CROSSING)
                row.place, row.what, row.start_us = k, way, me.crossed_us[k, way]
                row.sound = me.seen_before[k, way] and me.seen_after[k, way]
                used += 1
    row = rows[used]
    _name(row, me, OBJECT_ROW)
    row.start_us, row.end_us, row.frames = me.first_us, me.last_us, me.seen_frames
    return used + 1


@kernel
def begin_anew(me: Record) -> None:
    """Forget all of truth's own about an object."""
    me.traced, me.seen_frames = 0, 0
    me.side[:] = 0
    me.towards[:] = 0
    me.crossed_us[:] = 0
    me.seen_on[:] = 0
    me.seen_before[:] = 0
    me.seen_after[:] = 0
    me.phase[:] = 0
    me.told[:] = 0


@kernel
def _end_visit(me: Record, k: int, rows: Records, used: int) -> int:
    row = rows[used]
    _name(row, me, VISIT)
    row.place, row.start_us, row.end_us, row.frames = k, me.entered_us[k], me.left_us[k], me.inside_frames[k]
    me.phase[k] = 0
    return used + 1


@kernel
def _name(row: Record, me: Record, kind: int) -> None:
    row.kind = kind
    row.number = me.number
    row.class_id = me.class_id
    row.role = me.role
