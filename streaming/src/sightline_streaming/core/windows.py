"""Counting windows of one camera: tumbling in event time, closed by the camera's own watermark.

Invariants
- Window ``n`` covers ``n * window_us`` up to ``(n + 1) * window_us``. Those from ``camera.closed_before`` on are open.
- A window's rows are written once, when it closes; nothing is counted into a closed window.
- A window is written if a frame was received in it or should have been: what saw nothing differs from what was not seen.
- What a written window adds to its hour is in the baseline's hands (baseline.py).
- Open windows lie in a ring: window ``n`` at ``n`` modulo its length, which holds all that can be open at once.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.baseline import HOUR_US, end_hour, habit_of, note_window
from sightline_streaming.core.kernel import Record, Records, inner, leaf
from sightline_streaming.core.memory import HABIT, WINDOW
from sightline_streaming.core.rows import COUNT, Log, add_row, with_room
from sightline_streaming.core.site import Rules

# Columns of Ring.tallies.
OBJECTS, NEW_OBJECTS, DETECTIONS = range(3)

# Of a longer silence only so many windows, the last ones, get rows.
MAX_SILENT_WINDOWS = 1440


class Ring(NamedTuple):
    """Open windows of the camera in hand, W places."""

    windows: Records  # (W,) WINDOW
    tallies: npt.NDArray[np.int64]  # (W, 256, 3) per class
    habits: Records  # (256,) HABIT, of which camera.n_habits are filled


def empty_ring(rules: Rules) -> Ring:
    """A ring long enough for all windows that ``rules`` keep open."""
    return Ring(np.zeros(rules.open_windows, WINDOW), np.zeros((rules.open_windows, 256, 3), np.int64), np.zeros(256, HABIT))


@leaf
def open_window(rules: Rules, ring: Ring, camera: Record, t_us: int) -> int:
    """Place of the window of ``t_us``, or -1 where it is closed or further ahead than the ring reaches."""
    number = t_us // rules.window_us
    if number < camera.closed_before or number >= camera.closed_before + rules.open_windows:
        return -1
    place = number % rules.open_windows
    ring.windows[place].open = 1
    ring.windows[place].number = number
    return place


@inner
def advance(rules: Rules, site: Record, ring: Ring, camera: Record, log: Log, t_us: int) -> Log:
    """Move the camera's event time to ``t_us``: close the windows that its watermark has passed."""
    if not passes_window(rules, camera, t_us):
        return log
    return close_before(rules, site, ring, camera, log, (t_us - rules.lateness_us) // rules.window_us)


@leaf
def passes_window(rules: Rules, camera: Record, t_us: int) -> bool:
    """Whether windows must be closed when the camera's event time moves to ``t_us``."""
    return bool((t_us - rules.lateness_us) // rules.window_us > camera.closed_before)


@inner
def close_before(rules: Rules, site: Record, ring: Ring, camera: Record, log: Log, number: int) -> Log:
    """Write and empty all windows before ``number``, in order of time."""
    for n in range(camera.closed_before, min(number, camera.closed_before + rules.open_windows)):
        place = n % rules.open_windows
        if ring.windows[place].open:
            log = with_room(log, 3 * 256, 0)
            _write(site, ring.windows[place], ring.tallies[place], camera, log)
            _learn(rules, ring, place, camera, log)
            empty_window(ring.windows[place], ring.tallies[place])
    camera.closed_before = number
    return log


@leaf
def empty_window(window: Record, tallies: npt.NDArray[np.int64]) -> None:
    """Make a place of the ring free for another window."""
    window.open = 0
    window.received = 0
    window.expected = 0
    window.late_rows = 0
    tallies[:] = 0


@leaf
def _write(site: Record, window: Record, tallies: npt.NDArray[np.int64], camera: Record, log: Log) -> None:
    """One row per configured class and per class seen; one row without a class where there would be none."""
    written = 0
    for k in range(257):
        class_id = k if k < 256 else -1
        if class_id < 0:
            if written > 0:
                return
        elif not (site.lists_classes and site.counted[class_id]) and not tallies[class_id].any():
            continue
        row = log.rows[add_row(log, COUNT, camera)]
        row.window = window.number
        row.class_id = class_id
        row.frames_received = window.received
        # Missing frames were spread evenly; if some came late after all, they may lie a little otherwise.
        row.frames_expected = max(window.expected, window.received)
        row.late_rows = window.late_rows
        if class_id >= 0:
            row.objects = tallies[class_id, OBJECTS]
            row.new_objects = tallies[class_id, NEW_OBJECTS]
            row.detections = tallies[class_id, DETECTIONS]
        written += 1


@leaf
def _learn(rules: Rules, ring: Ring, place: int, camera: Record, log: Log) -> None:
    """Add a written window to its hour; the hour's last window ends it."""
    window, habits = ring.windows[place], ring.habits
    expected = max(window.expected, window.received)
    if not note_window(camera, habits, camera.n_habits, log, window.number, rules.window_us, window.received, expected):
        return
    for class_id in range(256):
        new = ring.tallies[place, class_id, NEW_OBJECTS]
        if new > 0:
            k = habit_of(habits, camera.n_habits, class_id)
            camera.n_habits = max(camera.n_habits, k + 1)
            habits[k].objects += new
    if (window.number + 1) * rules.window_us // HOUR_US > camera.hour:
        end_hour(camera, habits, camera.n_habits, log, rules.window_us)


@inner
def expect_missing(
    rules: Rules, site: Record, ring: Ring, camera: Record, log: Log, frames: int, from_us: int, to_us: int
) -> Log:
    """Count ``frames`` that were not received as expected, spread evenly over the open interval ``from_us`` to ``to_us``.

    The camera's event time moves along, up to ``to_us``.
    """
    from_us = min(from_us, to_us)
    last = to_us // rules.window_us
    number = max(from_us // rules.window_us, last - MAX_SILENT_WINDOWS)
    counted = _missing_before(frames, from_us, to_us, number * rules.window_us)
    while number <= last:
        so_far = frames if number == last else _missing_before(frames, from_us, to_us, (number + 1) * rules.window_us)
        if so_far > counted:
            log = advance(rules, site, ring, camera, log, number * rules.window_us)
            place = open_window(rules, ring, camera, number * rules.window_us)
            if place >= 0:
                ring.windows[place].expected += so_far - counted
        counted = so_far
        number += 1
    return log


@leaf
def _missing_before(frames: int, from_us: int, to_us: int, t_us: int) -> int:
    """How many of ``frames`` frames, spread evenly between ``from_us`` and ``to_us``, lie before ``t_us``."""
    if t_us <= from_us:
        return 0
    apart_us = (to_us - from_us) / (frames + 1.0)
    return min(frames, int(np.ceil((t_us - from_us) / apart_us)) - 1)
