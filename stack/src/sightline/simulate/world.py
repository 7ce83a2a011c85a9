"""One scene's world, tick by tick: who is due comes in, all move, truth is traced, and each analysed frame is sensed."""

import numpy as np
import numpy.typing as npt

from sightline.simulate.kernel import Floats, Record, Records, kernel
from sightline.simulate.motion import along, gap_ahead, has_left, move
from sightline.simulate.sensing import COVER_VISIBLE, in_picture, note_cover, project, sense
from sightline.simulate.truth import begin_anew, end_object, note_visible, trace, watch_congestion

# What a frame is: nothing, given by the camera but never analysed (or lost on the way), analysed and delivered.
NO_FRAME, UNSEEN, ANALYSED = range(3)

# Most rows of truth that one tick can give.
MOST_ROWS_A_TICK = 512
_ROOM_M = 4.0


@kernel
def run_ticks(
    first_tick: int, n_ticks: int, ticks_per_s: int, begin_us: int, window_us: int, margin: float, interval_s: float,
    frames: npt.NDArray[np.uint8], restarts: npt.NDArray[np.uint8], objects: Records, arrivals: Records, ghosts: Records,
    lanes: Records, lines: Floats, zones: Records, view: Record, sensor: Record, rng: np.random.Generator, numbers: int,
    boxes: npt.NDArray[np.uint16], scores: npt.NDArray[np.uint8], classes: npt.NDArray[np.uint8],
    counts: npt.NDArray[np.int64], rows: Records,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Run ``n_ticks``; ``frames`` and ``restarts`` hold one entry a tick, times are ``begin_us`` and later.

    Writes the detections of analysed frames into boxes, scores and classes, their number per tick into ``counts``, and truth
    into ``rows``. Stops early where rows may run out. Returns (ticks run, detections, rows, numbers given so far).
    """
    used, told, dt_s, top = 0, 0, 1.0 / ticks_per_s, objects.shape[0]
    tick_us = 1_000_000 // ticks_per_s
    for k in range(n_ticks):
        if told + MOST_ROWS_A_TICK > rows.shape[0]:
            return k, used, told, numbers
        tick = first_tick + k
        t_s, t_us = tick * dt_s, begin_us + tick * 1_000_000 // ticks_per_s
        if restarts[k]:
            told, numbers = _restart(objects, lines.shape[0], zones, rows, told, numbers)
        numbers = _admit(objects, arrivals, lanes, t_s, numbers)
        top = _last_place(objects, top)
        there = objects[:top]
        move(there, lanes, t_s, dt_s, rng)
        for i in range(there.shape[0]):
            if there[i].number != 0:
                project(there[i], view)
                told = trace(there[i], lines, zones, margin, t_us, tick_us, rows, told)
                if has_left(there[i], lanes):
                    told = end_object(there[i], lines.shape[0], zones.shape[0], rows, told)
                    there[i].number = 0
        for z in range(zones.shape[0]):
            told = watch_congestion(there, zones[z], z, t_us, rows, told)
        if frames[k] != ANALYSED:
            continue
        note_cover(there)
        for i in range(there.shape[0]):
            if there[i].number != 0 and there[i].cover < COVER_VISIBLE and in_picture(there[i], view):
                told = note_visible(there[i], lines, margin, window_us, t_us, rows, told)
        before = used
        used = sense(there, ghosts, view, sensor, t_s, interval_s, rng, boxes, scores, classes, used)
        counts[k] = used - before
    return n_ticks, used, told, numbers


@kernel
def end_world(objects: Records, n_lines: int, n_zones: int, rows: Records) -> int:
    """Write the truth of all who are still there; returns the number of rows."""
    told = 0
    for i in range(objects.shape[0]):
        if objects[i].number != 0:
            told = end_object(objects[i], n_lines, n_zones, rows, told)
            objects[i].number = 0
    return told


@kernel
def _restart(objects: Records, n_lines: int, zones: Records, rows: Records, told: int, numbers: int) -> tuple[int, int]:
    for i in range(objects.shape[0]):
        if objects[i].number != 0:
            told = end_object(objects[i], n_lines, zones.shape[0], rows, told)
            begin_anew(objects[i])
            numbers += 1
            objects[i].number = numbers
    return told, numbers


@kernel
def _admit(objects: Records, arrivals: Records, lanes: Records, t_s: float, numbers: int) -> int:
    """Let in who is due and finds room; ``number`` of those who wait is -1."""
    for a in range(arrivals.shape[0]):
        if arrivals[a].number == 0 or arrivals[a].born_s > t_s:
            continue
        place = -1
        for i in range(objects.shape[0]):
            if objects[i].number == 0:
                place = i
                break
        if place < 0 or (arrivals[a].lane >= 0 and not _has_room(objects, arrivals[a], lanes[arrivals[a].lane])):
            continue
        numbers += 1
        objects[place] = arrivals[a]
        objects[place].number = numbers
        arrivals[a].number = 0
        if objects[place].lane >= 0:
            gap, speed = gap_ahead(objects, place, lanes[objects[place].lane])
            if gap < 40.0:
                objects[place].speed = min(objects[place].speed, speed + 0.1 * gap)
    return numbers


@kernel
def _last_place(objects: Records, before: int) -> int:
    """Places from the first on that hold all objects, if those of the tick ``before`` and some newcomers are there."""
    n = before
    while n < objects.shape[0] and objects[n].number != 0:
        n += 1
    while n > 0 and objects[n - 1].number == 0:
        n -= 1
    return n


@kernel
def _has_room(objects: Records, newcomer: Record, lane: Record) -> bool:
    for i in range(objects.shape[0]):
        other = objects[i]
        room = 0.5 * (other.length + newcomer.length) + _ROOM_M
        if other.number != 0 and other.lane == newcomer.lane and along(lane, other.x, other.y) < room:
            return False
    return True
