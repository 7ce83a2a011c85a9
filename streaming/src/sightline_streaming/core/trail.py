"""What rules remember of one track: where it rests, how it goes, its last boxes; and how an event is written with them.

A track's resting place is the foot-point from which it has not been further than ``REST`` sizes for ``AWAY_US`` on end: one
odd box does not move it. A step is a way of ``STEP`` sizes. Interpolated boxes never come here.
"""

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.geometry import Floats
from sightline_streaming.core.kernel import Record, inner, leaf
from sightline_streaming.core.memory import N_PAST
from sightline_streaming.core.pace import METRES_S, SIZES_S
from sightline_streaming.core.records import OBSERVED
from sightline_streaming.core.rows import EVENT, EVIDENCES, ROWS, Log, add_row, with_evidence, with_room

REST = 0.5
AWAY_US = 500_000
STEP = 0.5
# No step is told over a longer gap: the track may have been taken up by another object.
STEP_GAP_US = 1_000_000
# Boxes of evidence lie so far apart.
PAST_US = 500_000

# Phases of a rule at a track or a camera.
IDLE, PENDING, TOLD = 0, 1, 2


@leaf
def forget_rules(trail: Record) -> None:
    """Let a track start anew at all rules."""
    trail.phase[:] = IDLE
    trail.since_us[:] = 0
    trail.held_us[:] = 0
    trail.entered_us[:] = 0
    trail.inside_us[:] = 0
    trail.other_no[:] = 0
    trail.amount[:] = 0.0


@leaf
def move_trail(
    trail: Record, emission: Record, pace: Floats, scale_x: float, scale_y: float
) -> tuple[float, float, float, int]:
    """Take an observation into account.

    Returns the step that it completes, px of the camera file's frame in x and y, its length in sizes, and when it began; a
    length of 0 is none.
    """
    t_us = emission.t_us
    x, y = 0.5 * (emission.x1 + emission.x2) * scale_x, np.float64(emission.y2) * scale_y
    begins = trail.track_no != emission.track_no
    if begins:
        forget_rules(trail)
        trail.track_no = emission.track_no
        trail.class_id = emission.class_id
        trail.watched = 0
        trail.n_past = 0
        trail.away_us = 0
        _rest(trail, t_us, x, y)
    trail.size = 0.5 * ((emission.x2 - emission.x1) * scale_x + (emission.y2 - emission.y1) * scale_y)
    if np.hypot(x - trail.rest_x, y - trail.rest_y) <= REST * trail.size:
        trail.away_us = 0
    elif trail.away_us == 0:
        trail.away_us = t_us
    elif t_us - trail.away_us >= AWAY_US:
        trail.away_us = 0
        _rest(trail, t_us, x, y)
    dx, dy, length, began_us = 0.0, 0.0, 0.0, trail.step_us
    if begins or t_us - trail.seen_us > STEP_GAP_US:
        _end_step(trail, t_us, x, y)
    else:
        dx, dy = x - trail.step_x, y - trail.step_y
        length = np.hypot(dx, dy) / max(trail.size, 1e-6)
        if length >= STEP:
            _end_step(trail, t_us, x, y)
        else:
            length = 0.0
    trail.seen_us = t_us
    trail.x = x
    trail.y = y
    trail.pace = pace[SIZES_S]
    trail.speed = pace[METRES_S]
    if emission.source == OBSERVED:
        trail.watched = 1
    _keep_box(trail, emission)
    return dx, dy, length, began_us


@leaf
def _rest(trail: Record, t_us: int, x: float, y: float) -> None:
    trail.still_us = t_us
    trail.rest_x = x
    trail.rest_y = y


@leaf
def _end_step(trail: Record, t_us: int, x: float, y: float) -> None:
    trail.step_us = t_us
    trail.step_x = x
    trail.step_y = y


@leaf
def _keep_box(trail: Record, emission: Record) -> None:
    """The last box of the trail; the one before moves to the past where that is due."""
    box = trail.box
    box[0] = emission.x1
    box[1] = emission.y1
    box[2] = emission.x2
    box[3] = emission.y2
    n = trail.n_past
    if n > 0 and emission.t_us - trail.past_us[n - 1] < PAST_US:
        return
    if n == N_PAST:
        for k in range(N_PAST - 1):
            trail.past_us[k] = trail.past_us[k + 1]
            for c in range(4):
                trail.past_box[k, c] = trail.past_box[k + 1, c]
        n = N_PAST - 1
    trail.past_us[n] = emission.t_us
    for c in range(4):
        trail.past_box[n, c] = box[c]
    trail.n_past = n + 1


@inner
def tell(site: Record, rule: int, camera: Record, log: Log, trail: Record, since_us: int, told_us: int, value: float) -> Log:
    """The log with an event of the camera's rule number ``rule``, about one track for the time being."""
    log = with_room(log, 1, 0)
    row = log.rows[add_row(log, EVENT, camera)]
    row.place = site.first_rule + rule
    row.track_no = trail.track_no
    row.class_id = trail.class_id
    row.start_us = since_us
    row.end_us = told_us
    row.value = value
    row.first_evidence = log.used[EVIDENCES]
    return add_evidence(log, trail)


@inner
def add_evidence(log: Log, trail: Record) -> Log:
    """The log with a track's last boxes as evidence of the event told last."""
    log = with_evidence(log, N_PAST + 1)
    first = log.used[EVIDENCES]
    for k in range(trail.n_past):
        if trail.past_us[k] == trail.seen_us:
            break
        _write_box(log, trail.track_no, trail.past_us[k], trail.past_box[k])
    _write_box(log, trail.track_no, trail.seen_us, trail.box)
    log.rows[log.used[ROWS] - 1].n_evidence += log.used[EVIDENCES] - first
    return log


@leaf
def _write_box(log: Log, track_no: int, t_us: int, box: npt.NDArray[np.float32]) -> None:
    evidence = log.evidence[log.used[EVIDENCES]]
    log.used[EVIDENCES] += 1
    evidence.track_no = track_no
    evidence.t_us = t_us
    for c in range(4):
        evidence.box[c] = box[c]
