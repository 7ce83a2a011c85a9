"""How objects move over the ground.

Vehicles in a lane follow the one before them by the intelligent driver model (Treiber, Hennecke, Helbing: "Congested traffic
states in empirical observations and microscopic simulations", 2000) and stop at their lane's light. All others go from stop
to stop of their plan; who waits moves about a little: towards a spot that wanders (Ornstein-Uhlenbeck).
"""

import numpy as np

from sightline.simulate.kernel import Record, Records, kernel
from sightline.simulate.objects import STOP_SPEED, STOP_WAIT, STOP_X, STOP_Y

LANE = np.dtype(
    [
        ("x", np.float64),  # where it begins, metres
        ("y", np.float64),
        ("dx", np.float64),  # unit vector
        ("dy", np.float64),
        ("length", np.float64),
        ("stop", np.float64),  # of the light along the lane; beyond the end where there is none
        ("cycle_s", np.float64),
        ("green_s", np.float64),  # of each cycle
        ("creep_s", np.float64),  # within green the light lets go so many of every 7 s; 7: always
    ],
    align=True,
)

CREEP_CYCLE_S = 7.0
_ACCELERATION, _COMFORT, _HARD = 1.8, 2.5, 6.0  # m/s2
_HEADWAY_S, _STANDSTILL_M = 1.1, 1.8
_SWAY_S, _LEAN_S = 2.0, 0.7  # how long a sway takes to fade, and a body to follow it


@kernel
def move(objects: Records, lanes: Records, t_s: float, dt_s: float, rng: np.random.Generator) -> None:
    """Move all objects by one tick."""
    for k in range(objects.shape[0]):
        if objects[k].number == 0:
            continue
        if objects[k].lane >= 0 and objects[k].n_plan == 0:
            _keep_lane(objects, k, lanes[objects[k].lane], t_s, dt_s)
        else:
            _follow_plan(objects[k], t_s, dt_s, rng)


@kernel
def along(lane: Record, x: float, y: float) -> float:
    """Metres along the lane."""
    return float((x - lane.x) * lane.dx + (y - lane.y) * lane.dy)


@kernel
def gap_ahead(objects: Records, k: int, lane: Record) -> tuple[float, float]:
    """Free metres before object ``k`` in its lane, and the speed of who comes next; 1e9 where nobody does."""
    me = objects[k]
    here, gap, speed = along(lane, me.x, me.y), 1e9, 0.0
    for j in range(objects.shape[0]):
        other = objects[j]
        if j == k or other.number == 0 or other.lane != me.lane:
            continue
        ahead = along(lane, other.x, other.y) - here
        free = ahead - 0.5 * (me.length + other.length)
        if (ahead > 0.0 or (ahead == 0.0 and j < k)) and free < gap:
            gap, speed = free, other.speed
    return gap, speed


@kernel
def _keep_lane(objects: Records, k: int, lane: Record, t_s: float, dt_s: float) -> None:
    me = objects[k]
    gap, next_speed = gap_ahead(objects, k, lane)
    to_light = lane.stop - along(lane, me.x, me.y) - 0.5 * me.length
    can_stop = to_light > me.speed * me.speed / (2.0 * _HARD)
    if to_light > 0.0 and not _goes(lane, t_s) and can_stop and to_light + _STANDSTILL_M < gap:
        gap, next_speed = to_light + _STANDSTILL_M, 0.0
    closing = me.speed * (me.speed - next_speed) / (2.0 * np.sqrt(_ACCELERATION * _COMFORT))
    wished = _STANDSTILL_M + max(0.0, me.speed * _HEADWAY_S + closing)
    push = _ACCELERATION * (1.0 - (me.speed / me.wanted) ** 4 - (wished / max(gap, 0.1)) ** 2)
    me.speed = max(0.0, me.speed + max(push, -_HARD) * dt_s)
    if me.speed < 0.05 and push < 0.0:
        me.speed = 0.0
    step = me.speed * dt_s
    me.x += lane.dx * step
    me.y += lane.dy * step


@kernel
def _goes(lane: Record, t_s: float) -> bool:
    return bool(t_s % lane.cycle_s < lane.green_s and t_s % CREEP_CYCLE_S < lane.creep_s)


@kernel
def _follow_plan(me: Record, t_s: float, dt_s: float, rng: np.random.Generator) -> None:
    if me.at >= me.n_plan:
        return
    stop = me.plan[me.at]
    if me.wait_until_s > 0.0:
        _wait(me, t_s, dt_s, rng)
        return
    dx, dy = stop[STOP_X] - me.x, stop[STOP_Y] - me.y
    distance = np.hypot(dx, dy)
    top = stop[STOP_SPEED]
    if stop[STOP_WAIT] > 0.0:
        top = min(top, np.sqrt(2.0 * me.brake * distance))
    me.speed += min(max(top - me.speed, -1.5 * me.brake * dt_s), me.brake * dt_s)
    step = me.speed * dt_s
    if distance <= max(step, 0.02):
        me.x, me.y = stop[STOP_X], stop[STOP_Y]
        if stop[STOP_WAIT] > 0.0:
            me.speed, me.wait_until_s = 0.0, t_s + stop[STOP_WAIT]
            me.sway_x, me.sway_y = 0.0, 0.0
        else:
            me.at += 1
        return
    me.heading_x, me.heading_y = dx / distance, dy / distance
    me.x += me.heading_x * step
    me.y += me.heading_y * step


@kernel
def _wait(me: Record, t_s: float, dt_s: float, rng: np.random.Generator) -> None:
    if me.sway > 0.0:
        kick = me.sway * np.sqrt(2.0 * dt_s / _SWAY_S)
        me.sway_x += -me.sway_x * dt_s / _SWAY_S + kick * rng.standard_normal()
        me.sway_y += -me.sway_y * dt_s / _SWAY_S + kick * rng.standard_normal()
        me.x += (me.plan[me.at, STOP_X] + me.sway_x - me.x) * dt_s / _LEAN_S
        me.y += (me.plan[me.at, STOP_Y] + me.sway_y - me.y) * dt_s / _LEAN_S
    if t_s >= me.wait_until_s:
        me.wait_until_s = 0.0
        me.at += 1


@kernel
def has_left(me: Record, lanes: Records) -> bool:
    """Whether the object has come to the end of its way."""
    if me.n_plan > 0:
        return bool(me.at >= me.n_plan)
    lane = lanes[me.lane]
    return bool(along(lane, me.x, me.y) > lane.length)
