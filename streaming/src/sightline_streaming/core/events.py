"""Events of single tracks: stopped, wrong way, restricted zone, speeding. Once for each episode, track and rule.

Rules see emissions in the order in which the tracker made them, so that where calls are cut changes nothing. A box from before
a track's confirmation moves what is remembered and tells nothing; interpolated boxes are passed over. docs/facts.md says
when each rule fires and when it is armed again.
"""

from sightline_streaming.core.crowd import watch_crowd
from sightline_streaming.core.geometry import Floats, is_inside
from sightline_streaming.core.kernel import Record, Records, inner, leaf
from sightline_streaming.core.memory import N_GHOSTS
from sightline_streaming.core.pace import METRES_S, STEADY
from sightline_streaming.core.records import ENDED, INTERPOLATED, OBSERVED
from sightline_streaming.core.rows import Log
from sightline_streaming.core.trail import IDLE, REST, TOLD, forget_rules, move_trail, tell
from sightline_streaming.core.watches import KM_H_PER_M_S, RESTRICTED, SPEEDING, STOPPED, WRONG_WAY

# A stay in a zone goes on over so long outside of it; an episode of which nothing was seen for REARM_US is over.
GRACE_US = 500_000
REARM_US = 5_000_000
# A speed must be told for so long: by two bins of the path.
FAST_US = 400_000
# Who appears within so long where a stopped track ended is the same object.
GHOST_US = 60_000_000

_DAY_MINUTES = 1440
_MINUTE_US = 60_000_000


@inner
def watch(
    site: Record, watches: Records, corners: Floats, camera: Record, log: Log, emissions: Records, paces: Floats,
    trails: Records, alarms: Records,
) -> Log:  # fmt: skip
    """Hold a camera's ``emissions`` (all of them, in order of emission) against its rules.

    ``paces`` (n, 3) are the speeds known at each (pace.py). ``trails`` are by slot, ``alarms`` by rule.
    """
    scale_x, scale_y = site.width / camera.width, site.height / camera.height
    now_us = 0  # time of the frame whose tracks were met and whose crowd was not looked at yet
    for k in range(emissions.shape[0]):
        emission = emissions[k]
        if emission.source == INTERPOLATED:
            continue
        if now_us > 0 and (emission.source == ENDED or (emission.source == OBSERVED and emission.t_us != now_us)):
            log = watch_crowd(site, watches, camera, log, trails, alarms, now_us)
            now_us = 0
        trail = trails[emission.slot]
        if emission.source == ENDED:
            _end_trail(site, watches, trail, alarms)
            continue
        dx, dy, length, began_us = move_trail(trail, emission, paces[k], scale_x, scale_y)
        for rule in range(site.n_rules):
            one = watches[site.first_rule + rule]
            if one.classes[trail.class_id]:
                _be_in_zone(site, one, corners, trail, rule)
                if one.kind == WRONG_WAY:
                    _go(one, trail, rule, dx, dy, length, began_us)
                log = _hold(site, one, camera, log, emission, paces[k], trail, alarms[rule], rule)
        if emission.source == OBSERVED:
            now_us = emission.t_us
    if now_us > 0:
        log = watch_crowd(site, watches, camera, log, trails, alarms, now_us)
    return log


@leaf
def forget_alarms(alarms: Records) -> None:
    """Let a camera start anew at all rules."""
    for rule in range(alarms.shape[0]):
        alarm = alarms[rule]
        alarm.since_us = 0
        alarm.held_us = 0
        alarm.phase = IDLE
        alarm.ghost_us[:] = 0


@leaf
def _be_in_zone(site: Record, one: Record, corners: Floats, trail: Record, rule: int) -> None:
    """Note the track's stay in the rule's zone; a told rule is armed again when it has been outside for long."""
    first, end = site.first_corner[one.zone], site.first_corner[one.zone + 1]
    t_us = trail.seen_us
    if is_inside(corners[first:end], trail.x, trail.y):
        if trail.entered_us[rule] == 0:
            trail.entered_us[rule] = t_us
        trail.inside_us[rule] = t_us
        return
    if t_us - trail.inside_us[rule] > GRACE_US:
        trail.entered_us[rule] = 0
        trail.since_us[rule] = 0 if trail.phase[rule] == IDLE else trail.since_us[rule]
        if trail.phase[rule] == TOLD and t_us - trail.inside_us[rule] >= REARM_US:
            trail.phase[rule] = IDLE
            trail.since_us[rule] = 0


@leaf
def _go(one: Record, trail: Record, rule: int, dx: float, dy: float, length: float, began_us: int) -> None:
    """Take a step into account at a heading: against it by more than 120 degrees, with it by less than 90."""
    if length == 0.0 or trail.entered_us[rule] == 0:
        trail.amount[rule] = 0.0 if trail.entered_us[rule] == 0 else trail.amount[rule]
        return
    cosine = (dx * one.heading_x + dy * one.heading_y) / (dx * dx + dy * dy) ** 0.5
    # One jump from an object to another is one size at most.
    length = min(length, 1.0)
    if cosine < -0.5:
        if trail.amount[rule] <= 0.0:
            trail.amount[rule] = 0.0
            trail.since_us[rule] = began_us if trail.phase[rule] == IDLE else trail.since_us[rule]
        trail.amount[rule] += length
    elif cosine > 0.0:
        # Below zero: sizes gone with it.
        trail.amount[rule] = min(trail.amount[rule], 0.0) - length


@inner
def _hold(
    site: Record, one: Record, camera: Record, log: Log, emission: Record, pace: Floats, trail: Record, alarm: Record,
    rule: int,
) -> Log:  # fmt: skip
    """Hold a track against one rule."""
    kind, t_us = one.kind, trail.seen_us
    inside = trail.inside_us[rule] == t_us
    value, due = 0.0, False
    if kind == STOPPED:
        if trail.phase[rule] == TOLD and trail.still_us > trail.since_us[rule]:
            trail.phase[rule] = IDLE
        if trail.phase[rule] == IDLE and inside and trail.away_us == 0:
            trail.since_us[rule] = max(trail.still_us, trail.entered_us[rule])
            value = (t_us - trail.since_us[rule]) * 1e-6
            due = t_us - trail.since_us[rule] >= one.after_us
    elif kind == WRONG_WAY:
        if trail.phase[rule] == TOLD and trail.amount[rule] <= -1.0:
            trail.phase[rule] = IDLE
        value = trail.amount[rule]
        due = inside and value >= one.limit
    elif kind == RESTRICTED:
        if not _is_hour(one, t_us):
            trail.phase[rule] = IDLE
            trail.since_us[rule] = 0
        elif inside and trail.phase[rule] == IDLE:
            if trail.since_us[rule] == 0:
                trail.since_us[rule] = t_us
            value = (t_us - trail.since_us[rule]) * 1e-6
            due = t_us - trail.since_us[rule] >= one.after_us
    elif kind == SPEEDING:
        value, due = _race(one, pace, trail, rule, inside)
    if not due or trail.phase[rule] != IDLE or emission.source != OBSERVED:
        return log
    trail.phase[rule] = TOLD
    if kind == STOPPED and _take_ghost(alarm, trail, rule):
        return log
    return tell(site, rule, camera, log, trail, trail.since_us[rule], t_us, value)


@leaf
def _race(one: Record, pace: Floats, trail: Record, rule: int, inside: bool) -> tuple[float, bool]:
    """The highest speed of the episode, km/h, and whether it has lasted."""
    t_us = trail.seen_us
    if inside and pace[STEADY] > one.limit:
        if trail.since_us[rule] == 0:
            trail.since_us[rule] = t_us
            trail.amount[rule] = 0.0
        trail.held_us[rule] = t_us
        trail.amount[rule] = max(trail.amount[rule], pace[METRES_S])
    elif trail.phase[rule] == IDLE:
        trail.since_us[rule] = 0
    elif t_us - trail.held_us[rule] >= REARM_US:
        trail.phase[rule] = IDLE
        trail.since_us[rule] = 0
    lasted = trail.since_us[rule] > 0 and trail.held_us[rule] - trail.since_us[rule] >= FAST_US
    return trail.amount[rule] * KM_H_PER_M_S, lasted


@leaf
def _is_hour(one: Record, t_us: int) -> bool:
    minute = t_us // _MINUTE_US % _DAY_MINUTES
    if one.from_minute < one.to_minute:
        return bool(one.from_minute <= minute < one.to_minute)
    return bool(minute >= one.from_minute or minute < one.to_minute)


@leaf
def _end_trail(site: Record, watches: Records, trail: Record, alarms: Records) -> None:
    """The track has ended; where it stood still and was told, remember the place."""
    for rule in range(site.n_rules):
        if watches[site.first_rule + rule].kind == STOPPED and trail.phase[rule] == TOLD and trail.track_no > 0:
            alarm, oldest = alarms[rule], 0
            for k in range(N_GHOSTS):
                if alarm.ghost_us[k] < alarm.ghost_us[oldest]:
                    oldest = k
            alarm.ghost_us[oldest] = trail.seen_us
            alarm.ghost_x[oldest] = trail.rest_x
            alarm.ghost_y[oldest] = trail.rest_y
    trail.track_no = 0
    trail.watched = 0
    forget_rules(trail)


@leaf
def _take_ghost(alarm: Record, trail: Record, rule: int) -> bool:
    """Whether the track goes on with the stand of one that ended here lately and was told."""
    for k in range(N_GHOSTS):
        near = abs(alarm.ghost_x[k] - trail.rest_x) ** 2 + abs(alarm.ghost_y[k] - trail.rest_y) ** 2
        if alarm.ghost_us[k] > 0 and trail.since_us[rule] - alarm.ghost_us[k] <= GHOST_US and near <= (REST * trail.size) ** 2:
            alarm.ghost_us[k] = 0
            return True
    return False
