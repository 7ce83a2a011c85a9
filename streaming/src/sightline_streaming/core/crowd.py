"""Events of several tracks of a camera: congestion, possible accident. Looked at after every frame with tracks in it.

Congestion belongs to the camera's rule and not to tracks: tracks may end and begin within it. An accident belongs to the track
that stopped; the other one counts as told too, and so does who comes to stand beside them.
"""

import numpy as np

from sightline_streaming.core.kernel import Record, Records, inner, leaf
from sightline_streaming.core.rows import Log
from sightline_streaming.core.trail import IDLE, PENDING, TOLD, add_evidence, tell
from sightline_streaming.core.watches import ACCIDENT, CONGESTION, KM_H_PER_M_S

# A track counts as there when it was observed so lately.
LATELY_US = 500_000
# Congestion: breaks so long do not end the run-up; it is over when it was clearly not so for so long, that is with less than
# FEWER of the objects or more than FASTER times the speed.
BREAK_US = 3_000_000
OVER_US = 10_000_000
FEWER = 0.75
FASTER = 1.5
MOST_TRACKS = 64  # in one event's evidence
# Accident: who is slower stands, in sizes/s; the gap between two boxes side by side, in sizes; how much of the smaller box lies
# in the other where two merge; for how long the other may be unseen.
STANDS = 0.25
BESIDE = 0.25
MERGED = 0.3
UNSEEN_US = 2_000_000


@inner
def watch_crowd(site: Record, watches: Records, camera: Record, log: Log, trails: Records, alarms: Records, t_us: int) -> Log:
    """Hold the tracks that are there at ``t_us`` against the camera's rules."""
    for rule in range(site.n_rules):
        one = watches[site.first_rule + rule]
        if one.kind == CONGESTION:
            log = _watch_congestion(site, one, rule, camera, log, trails, alarms[rule], t_us)
        elif one.kind == ACCIDENT:
            for slot in range(trails.shape[0]):
                if _is_there(one, trails[slot], t_us, 0):
                    log = _watch_accident(site, one, rule, camera, log, trails, slot, t_us)
    return log


@leaf
def _is_there(one: Record, trail: Record, t_us: int, lately_us: int) -> bool:
    """Whether a track of the rule's classes was observed ``lately_us`` ago or later."""
    return bool(trail.track_no > 0 and trail.watched and t_us - trail.seen_us <= lately_us and one.classes[trail.class_id])


@leaf
def _speed_of(one: Record, trail: Record) -> float:
    return float(trail.speed) if one.metric else float(trail.pace)


@leaf
def _in_units(one: Record, speed: float) -> float:
    return speed * KM_H_PER_M_S if one.metric else speed


@inner
def _watch_congestion(
    site: Record, one: Record, rule: int, camera: Record, log: Log, trails: Records, alarm: Record, t_us: int
) -> Log:
    n, known, total, first = 0, 0, 0.0, -1
    for slot in range(trails.shape[0]):
        trail = trails[slot]
        if _is_there(one, trail, t_us, LATELY_US) and trail.entered_us[rule] > 0:
            n += 1
            first = slot if first < 0 or trail.track_no < trails[first].track_no else first
            speed = _speed_of(one, trail)
            if not np.isnan(speed):
                known += 1
                total += speed
    mean = total / known if known > 0 else np.inf
    if alarm.phase == TOLD:
        if n >= FEWER * one.min_objects and (known == 0 or mean < FASTER * one.limit):
            alarm.held_us = t_us
        elif t_us - alarm.held_us >= OVER_US:
            alarm.phase = IDLE
        return log
    if alarm.phase == PENDING and t_us - alarm.held_us > BREAK_US:
        alarm.phase = IDLE
    if n < one.min_objects or 2 * known < n or mean >= one.limit:
        return log
    if alarm.phase == IDLE:
        alarm.phase = PENDING
        alarm.since_us = t_us
    alarm.held_us = t_us
    if t_us - alarm.since_us < one.after_us:
        return log
    alarm.phase = TOLD
    log = tell(site, rule, camera, log, trails[first], alarm.since_us, t_us, _in_units(one, mean))
    n = 1
    for slot in range(trails.shape[0]):
        trail = trails[slot]
        if slot != first and n < MOST_TRACKS and _is_there(one, trail, t_us, LATELY_US) and trail.entered_us[rule] > 0:
            log = add_evidence(log, trail)
            n += 1
    return log


@inner
def _watch_accident(
    site: Record, one: Record, rule: int, camera: Record, log: Log, trails: Records, slot: int, t_us: int
) -> Log:
    """``held_us``: when the track was last fast; ``since_us``: when it had stopped; ``other_no``: beside whom.

    While it is fast, ``other_no`` is who covers it on the picture then: passing behind another is no collision.
    """
    trail = trails[slot]
    if trail.phase[rule] == TOLD:
        if trail.still_us > trail.since_us[rule]:
            _clear(trail, rule)
        return log
    if trail.phase[rule] == PENDING:
        return _watch_stay(site, one, rule, camera, log, trails, slot, t_us)
    speed = _speed_of(one, trail)
    if speed >= one.limit:
        if trail.entered_us[rule] > 0:
            trail.amount[rule] = max(trail.amount[rule], speed)
            trail.held_us[rule] = t_us
            other = _nearest(one, trails, slot, t_us, True)
            trail.other_no[rule] = trails[other].track_no if other >= 0 else 0
        return log
    if trail.held_us[rule] == 0:
        return log
    lasted_us = t_us - trail.held_us[rule]
    if lasted_us > 2 * one.within_us:
        _clear(trail, rule)
    elif trail.pace < STANDS and trail.entered_us[rule] > 0:
        other = _nearest(one, trails, slot, t_us, lasted_us > one.within_us)
        if other >= 0 and (lasted_us <= one.within_us or trails[other].track_no != trail.other_no[rule]):
            trail.phase[rule] = TOLD if trails[other].phase[rule] == TOLD else PENDING
            trail.since_us[rule] = t_us
            trail.other_no[rule] = trails[other].track_no
    return log


@inner
def _watch_stay(site: Record, one: Record, rule: int, camera: Record, log: Log, trails: Records, slot: int, t_us: int) -> Log:
    """A track stopped beside another: tell it when both have stayed."""
    trail = trails[slot]
    if trail.still_us > trail.since_us[rule]:
        _clear(trail, rule)
        return log
    if t_us - trail.since_us[rule] < one.after_us:
        return log
    for k in range(trails.shape[0]):
        other = trails[k]
        if other.track_no != trail.other_no[rule] or not _is_there(one, other, t_us, UNSEEN_US):
            continue
        if other.still_us > trail.since_us[rule] + one.within_us:
            continue
        value = _in_units(one, trail.amount[rule])
        log = tell(site, rule, camera, log, trail, trail.held_us[rule], t_us, value)
        log = add_evidence(log, other)
        trail.phase[rule] = TOLD
        trail.since_us[rule] = t_us
        other.phase[rule] = TOLD
        other.since_us[rule] = t_us
        return log
    _clear(trail, rule)
    return log


@leaf
def _clear(trail: Record, rule: int) -> None:
    trail.phase[rule] = IDLE
    trail.held_us[rule] = 0
    trail.other_no[rule] = 0
    trail.amount[rule] = 0.0


@leaf
def _nearest(one: Record, trails: Records, slot: int, t_us: int, merged: bool) -> int:
    """Slot of the track nearest to ``slot``'s: beside it, or ``merged`` with it, that is covering much of it; -1 for none."""
    own, best, best_value = trails[slot], -1, -np.inf
    for k in range(trails.shape[0]):
        other = trails[k]
        if k == slot or not _is_there(one, other, t_us, LATELY_US):
            continue
        a, b = own.box, other.box
        wide = min(a[2], b[2]) - max(a[0], b[0])
        high = min(a[3], b[3]) - max(a[1], b[1])
        if merged:
            smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
            value = max(wide, 0.0) * max(high, 0.0) / max(smaller, 1e-6)
            near = value >= MERGED
        else:
            # Boxes apart have a negative overlap along an axis: their gap.
            value = -np.hypot(max(-wide, 0.0), max(-high, 0.0))
            mean_size = 0.25 * ((a[2] - a[0]) + (a[3] - a[1]) + (b[2] - b[0]) + (b[3] - b[1]))
            near = -value <= BESIDE * mean_size
        if near and value > best_value:
            best, best_value = k, value
    return best
