"""How fast tracks are: displacement of the foot-point over about a second, so that a box's jitter is no motion.

A track's observed foot-points are averaged over bins of ``BIN_US``. When a bin is complete, the speed is the way from an older
bin's mean, ``SPAN_US`` before or as long as the track is known, to the bin's own, over the time between the two. A way of
less than ``STILL`` sizes is none. After a gap that says nothing of the path, bins begin anew.
Metres are those between the two means' places on the ground: H · (x, y, 1) by the camera's homography.
"""

import numpy as np

from sightline_streaming.core.geometry import Floats
from sightline_streaming.core.kernel import Record, leaf
from sightline_streaming.core.memory import N_BINS
from sightline_streaming.core.records import INTERPOLATED

BIN_US = 250_000
SPAN_US = 900_000
# No speed is told from less.
SHORTEST_US = 400_000
# Longest gap between two observations that a speed may reach over: with frames in it that lack the track, and at all.
LOST_US = 500_000
LONGEST_US = 1_500_000
STILL = 0.1

# Columns of the speeds told for each emission: sizes/s, m/s, and the smaller of the m/s of the way's two halves, which one
# jump of a box from an object to another does not raise. Not a number where unknown.
SIZES_S, METRES_S, STEADY = range(3)


@leaf
def begin_pace(path: Record) -> None:
    """Nothing is known of the path's speed yet."""
    path.n_bins = 0
    path.bin_n = 0
    path.bridged = 0
    path.known = 0
    path.sampled = 0
    path.speed_px = 0.0
    path.speed_m = np.nan
    path.steady_m = np.nan


@leaf
def follow_pace(
    site: Record, path: Record, row: Record, emission: Record, x: float, y: float, scale_x: float, scale_y: float
) -> None:
    """Take an emission's foot-point (x, y), px of the frames, into account; a new speed goes to its segment's ``row``.

    The scales lead from px of the frames to px of the camera file's frame.
    """
    if emission.source == INTERPOLATED:
        path.bridged = 1
        return
    t_us = emission.t_us
    if path.bin_n > 0:
        gap_us = t_us - path.observed_us
        if gap_us > LONGEST_US or (path.bridged and gap_us > LOST_US):
            path.n_bins = 0
            path.bin_n = 0
            path.sampled = 0
        elif t_us - path.bin_us >= BIN_US:
            _close_bin(path)
            _tell_pace(site, path, row, emission, scale_x, scale_y)
    path.bridged = 0
    path.observed_us = t_us
    if path.bin_n == 0:
        path.bin_us = t_us
        path.bin_t = 0
        path.bin_x = 0.0
        path.bin_y = 0.0
    path.bin_n += 1
    path.bin_t += t_us - path.bin_us
    path.bin_x += x
    path.bin_y += y


@leaf
def note_pace(path: Record, emission: Record, pace: Floats) -> None:
    """Write what is known of the speed at an emission to ``pace`` (3,)."""
    if path.sampled:
        size = 0.5 * ((emission.x2 - emission.x1) + (emission.y2 - emission.y1))
        pace[SIZES_S] = path.speed_px / max(size, 1e-6)
        pace[METRES_S] = path.speed_m
        pace[STEADY] = path.steady_m
    else:
        pace[:] = np.nan


@leaf
def _close_bin(path: Record) -> None:
    if path.n_bins == N_BINS:
        for k in range(N_BINS - 1):
            path.mean_us[k] = path.mean_us[k + 1]
            path.mean_x[k] = path.mean_x[k + 1]
            path.mean_y[k] = path.mean_y[k + 1]
        path.n_bins = N_BINS - 1
    k = path.n_bins
    path.mean_us[k] = path.bin_us + path.bin_t // path.bin_n
    path.mean_x[k] = path.bin_x / path.bin_n
    path.mean_y[k] = path.bin_y / path.bin_n
    path.n_bins = k + 1
    path.bin_n = 0


@leaf
def _tell_pace(site: Record, path: Record, row: Record, emission: Record, scale_x: float, scale_y: float) -> None:
    last = path.n_bins - 1
    first = last - 1
    while first > 0 and path.mean_us[last] - path.mean_us[first] < SPAN_US:
        first -= 1
    if first < 0 or path.mean_us[last] - path.mean_us[first] < SHORTEST_US:
        return
    span_s = (path.mean_us[last] - path.mean_us[first]) * 1e-6
    way = np.hypot(path.mean_x[last] - path.mean_x[first], path.mean_y[last] - path.mean_y[first])
    still = way < STILL * 0.5 * ((emission.x2 - emission.x1) + (emission.y2 - emission.y1))
    path.speed_px = 0.0 if still else way / span_s
    path.speed_m = np.nan
    path.steady_m = np.nan
    if site.has_scale:
        path.speed_m = 0.0 if still else _speed(site, path, first, last, scale_x, scale_y)
        if last - first > 1:
            middle = (first + last) // 2
            early = _speed(site, path, first, middle, scale_x, scale_y)
            path.steady_m = min(early, _speed(site, path, middle, last, scale_x, scale_y))
    # The time that this speed stands for: from the bin before, or from the beginning.
    since = last - 1 if path.sampled else first
    stands_us = path.mean_us[last] - path.mean_us[since]
    path.sampled = 1
    path.known = 1
    row.speed_px = path.speed_px
    row.speed_m = path.speed_m
    row.paced_us += stands_us
    row.moved_px += path.speed_px * stands_us * 1e-6
    if not np.isnan(path.speed_m):
        row.paced_m_us += stands_us
        row.moved_m += path.speed_m * stands_us * 1e-6
        row.top_m_s = max(row.top_m_s, path.speed_m)


@leaf
def _speed(site: Record, path: Record, a: int, b: int, scale_x: float, scale_y: float) -> float:
    """m/s from one bin's mean to another's; not a number where one lies at or beyond the horizon."""
    ax, ay, a_ahead = _on_ground(site.to_ground, path.mean_x[a] * scale_x, path.mean_y[a] * scale_y)
    bx, by, b_ahead = _on_ground(site.to_ground, path.mean_x[b] * scale_x, path.mean_y[b] * scale_y)
    if not (a_ahead and b_ahead):
        return np.nan
    return float(np.hypot(bx - ax, by - ay) / ((path.mean_us[b] - path.mean_us[a]) * 1e-6))


@leaf
def _on_ground(h: Floats, x: float, y: float) -> tuple[float, float, bool]:
    """Place on the ground, m, of a point on the picture, and whether it lies before the horizon."""
    w = h[6] * x + h[7] * y + h[8]
    if w <= 0.0:
        return 0.0, 0.0, False
    return (h[0] * x + h[1] * y + h[2]) / w, (h[3] * x + h[4] * y + h[5]) / w, True
