"""What is usual: for each camera, class and hour of the day a running baseline of new objects, and hours far away from it.

No training and no history: two numbers and a count per hour of the day (UTC) follow the days as they pass. They are robust: a
day moves the baseline by no more than CLIP of its own deviations, so that an exceptional day is told and not learned, while
a lasting change is learned within weeks (the M-estimator of Huber 1964, run online in the manner of Robbins and Monro 1951).

Rules
- An hour counts when COVERED of its windows were watched: when they received no less than WATCHED of the share of frames that
  is usual for the camera, since a slow detector skips some all the time. Other hours are neither judged nor learned: a blind
  camera is not a quiet street.
- An hour is judged before it is learned, once MIN_DAYS days are known, and told from UNUSUAL deviations on.
- A deviation is never smaller than what chance alone does to a count (Poisson).
- An object belongs to the window of its first box, a window to the hour that it begins in.
"""

import numpy as np

from sightline_streaming.core.kernel import Record, Records, leaf
from sightline_streaming.core.memory import HOURS
from sightline_streaming.core.rows import ANOMALY, Log, add_row

HOUR_US = 3_600_000_000

COVERED = 0.9
WATCHED = 0.7
SHARE_RATE = 0.05
MIN_DAYS = 5
UNUSUAL = 4.0
CLIP = 2.0
# Days after which the baseline is no longer their mean but forgets: a season passes, a fortnight is remembered.
MEMORY_DAYS = 14
MOST_DAYS = 255
# Mean absolute deviations of a normal distribution in a standard deviation.
PER_DEVIATION = 1.2533


@leaf
def habit_of(habits: Records, n_habits: int, class_id: int) -> int:
    """Place of the class's habit, a new one behind the others where there is none; needs room."""
    for k in range(n_habits):
        if habits[k].class_id == class_id:
            return k
    habit = habits[n_habits]
    habit.class_id = class_id
    habit.objects = 0
    for hour in range(HOURS):
        habit.days[hour] = 0
        habit.level[hour] = 0.0
        habit.spread[hour] = 0.0
    return n_habits


@leaf
def note_window(
    camera: Record, habits: Records, n_habits: int, log: Log, number: int, window_us: int, received: int, expected: int
) -> bool:
    """Take a written window into its hour; False where that hour is over, so that its objects do not count either.

    Judges the hour before if this window begins another one; needs room for a row a habit.
    """
    hour = number * window_us // HOUR_US
    if hour < camera.hour:
        return False
    if hour > camera.hour:
        end_hour(camera, habits, n_habits, log, window_us)
        camera.hour = hour
    if received > 0:
        share = received / expected
        if camera.usual_share <= 0.0:
            camera.usual_share = share
        # A session that ends within a window leaves the rest of it to the next: one window, two sets of rows.
        if share >= WATCHED * camera.usual_share and camera.hour_window != number:
            camera.hour_windows += 1
            camera.hour_window = number
        camera.usual_share += SHARE_RATE * (share - camera.usual_share)
    return True


@leaf
def end_hour(camera: Record, habits: Records, n_habits: int, log: Log, window_us: int) -> None:
    """Judge the camera's hour, learn it, and begin the next one; needs room for a row a habit."""
    windows = max(HOUR_US // window_us, 1)
    watched = camera.hour_windows >= COVERED * windows
    for k in range(n_habits):
        habit = habits[k]
        if watched:
            _judge(camera, habit, log)
            learn(habit, int(camera.hour % HOURS), float(habit.objects))
        habit.objects = 0
    camera.hour += 1
    camera.hour_windows = 0


@leaf
def _judge(camera: Record, habit: Record, log: Log) -> None:
    hour = int(camera.hour % HOURS)
    if habit.days[hour] < MIN_DAYS:
        return
    expected = float(habit.level[hour])
    sigma = deviation(habit, hour)
    if abs(habit.objects - expected) < UNUSUAL * sigma:
        return
    row = log.rows[add_row(log, ANOMALY, camera)]
    row.class_id = habit.class_id
    row.start_us = camera.hour * HOUR_US
    row.end_us = (camera.hour + 1) * HOUR_US
    row.objects = habit.objects
    row.expected = expected
    row.deviation = sigma
    row.days = habit.days[hour]


@leaf
def deviation(habit: Record, hour: int) -> float:
    """Standard deviation of the hour's count from day to day, no smaller than that of a Poisson count."""
    usual = max(float(habit.level[hour]), 1.0)
    return float(np.sqrt(max(float(habit.spread[hour]) ** 2, usual)))


@leaf
def learn(habit: Record, hour: int, objects: float) -> None:
    """Move the hour's baseline towards a day's count."""
    days = int(habit.days[hour])
    off = objects - float(habit.level[hour])
    if days == 0:
        habit.level[hour] = objects
        habit.spread[hour] = np.sqrt(max(objects, 1.0))
    else:
        limit = CLIP * deviation(habit, hour)
        off = min(max(off, -limit), limit)
        rate = 1.0 / min(days + 1, MEMORY_DAYS)
        habit.level[hour] += rate * off
        habit.spread[hour] += rate * (PER_DEVIATION * abs(off) - habit.spread[hour])
    habit.days[hour] = min(days + 1, MOST_DAYS)
