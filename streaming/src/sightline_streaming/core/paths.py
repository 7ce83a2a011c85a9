"""Facts from the paths of confirmed tracks: segments with their speeds, line crossings, zone visits.

A track's path joins its foot-points (middle of the lower edge of its boxes) in order of time.

Crossing. A track has crossed a line when its path cut it and then got clearly beyond it: by ``crossing_margin`` of its box's
extent across the line, in two boxes on end or by twice as much in one, so that standing and jittering on the line is no
crossing. The crossing's time and place are those of the last cut before. A track that was first seen on the line must get
clear of it before it can cross. Each track counts once per line and direction.

Stay. A track enters a zone with its first foot-point inside and has left it with the first one outside, unless it is inside
again within ``visit_gap_us``: jitter on the border makes one stay, not many. The track's end ends its stays.
"""

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.geometry import Floats, cut_at, extent_across, is_inside, length_of, side_of
from sightline_streaming.core.kernel import Record, Records, inner, leaf
from sightline_streaming.core.pace import begin_pace, follow_pace, note_pace
from sightline_streaming.core.records import ENDED, INTERPOLATED
from sightline_streaming.core.rows import BOXES, CROSSING, SEGMENT, VISIT, Log, add_row, with_room
from sightline_streaming.core.site import Rules

# Phases of a stay.
OUTSIDE, INSIDE, LEAVING = 0, 1, 2


@inner
def write_paths(
    rules: Rules, site: Record, corners: Floats, camera: Record, log: Log, emissions: Records, paths: Records, paces: Floats
) -> Log:
    """Turn a camera's ``emissions`` (all of them, in order of emission) into rows; the slots' ``paths`` move along.

    The speeds known at each emission go to ``paces`` (n, 3), if that is not empty.
    """
    order = _by_slot(emissions)
    n = order.shape[0]
    log = with_room(log, n * (1 + site.n_zones) + _count_runs(emissions, order) * 2 * site.n_lines, n)
    _follow_all(rules, site, corners, camera, log, emissions, order, paths, paces)
    return log


@leaf
def _end_of_run(emissions: Records, order: npt.NDArray[np.int64], begin: int) -> int:
    """Where the run of emissions of one track that begins at ``begin`` ends."""
    track_no, slot, end = emissions[order[begin]].track_no, emissions[order[begin]].slot, begin + 1
    while end < order.shape[0] and emissions[order[end]].track_no == track_no and emissions[order[end]].slot == slot:
        end += 1
    return end


@leaf
def _count_runs(emissions: Records, order: npt.NDArray[np.int64]) -> int:
    runs, begin = 0, 0
    while begin < order.shape[0]:
        begin = _end_of_run(emissions, order, begin)
        runs += 1
    return runs


@leaf
def _follow_all(
    rules: Rules, site: Record, corners: Floats, camera: Record, log: Log, emissions: Records, order: npt.NDArray[np.int64],
    paths: Records, paces: Floats,
) -> None:  # fmt: skip
    """Follow one track after the other."""
    begin = 0
    while begin < order.shape[0]:
        end = _end_of_run(emissions, order, begin)
        slot = emissions[order[begin]].slot
        _follow(rules, site, corners, camera, log, emissions, order[begin:end], paths[slot], paces)
        begin = end


@leaf
def forget_places(path: Record) -> None:
    """Let a track start anew at all lines and zones."""
    path.crossed = 0
    path.side[:] = 0
    path.towards[:] = 0
    path.leans[:] = 0
    path.phase[:] = OUTSIDE


@inner
def _by_slot(emissions: Records) -> npt.NDArray[np.int64]:
    """Emissions' places sorted by slot, in order of emission within it."""
    n_slots = 0
    for k in range(emissions.shape[0]):
        n_slots = max(n_slots, emissions[k].slot + 1)
    free = np.zeros(n_slots + 1, np.int64)
    for k in range(emissions.shape[0]):
        free[emissions[k].slot + 1] += 1
    for slot in range(n_slots):
        free[slot + 1] += free[slot]
    order = np.empty(emissions.shape[0], np.int64)
    for k in range(emissions.shape[0]):
        slot = emissions[k].slot
        order[free[slot]] = k
        free[slot] += 1
    return order


@leaf
def _follow(
    rules: Rules,
    site: Record,
    corners: Floats,
    camera: Record,
    log: Log,
    emissions: Records,
    run: npt.NDArray[np.int64],
    path: Record,
    paces: Floats,
) -> None:
    """Follow one track along ``run``, its emissions."""
    # From pixels of the frames to pixels of the camera file's frame, in which lines and zones are given.
    scale_x, scale_y = site.width / camera.width, site.height / camera.height
    segment = -1
    for k in run:
        emission = emissions[k]
        if emission.source == ENDED:
            _end_stays(site, camera, log, emission, path)
            path.track_no = 0
            return
        x, y = 0.5 * (emission.x1 + emission.x2), np.float64(emission.y2)
        begins = path.track_no != emission.track_no
        if begins:
            forget_places(path)
            path.track_no = emission.track_no
            path.has_segment = 0
            begin_pace(path)
            path.x = x
            path.y = y
        window = emission.t_us // rules.window_us
        if segment < 0 or log.rows[segment].window != window:
            segment = _open_segment(camera, log, emission, window, path)
        follow_pace(site, path, log.rows[segment], emission, x, y, scale_x, scale_y)
        if paces.shape[0] > 0:
            note_pace(path, emission, paces[k])
        _append_box(log, log.rows[segment], emission, np.hypot(x - path.x, y - path.y))
        width, height = (emission.x2 - emission.x1) * scale_x, (emission.y2 - emission.y1) * scale_y
        for line in range(site.n_lines):
            _pass_line(rules, site, line, camera, log, emission, path, begins, width, height, x, y, scale_x, scale_y)
        for zone in range(site.n_zones):
            _pass_zone(rules, site, corners, zone, camera, log, emission, path, x * scale_x, y * scale_y)
        path.t_us = emission.t_us
        path.x = x
        path.y = y


@leaf
def _add_track_row(log: Log, kind: int, camera: Record, emission: Record) -> int:
    place = add_row(log, kind, camera)
    log.rows[place].track_no = emission.track_no
    log.rows[place].class_id = emission.class_id
    return place


@leaf
def _open_segment(camera: Record, log: Log, emission: Record, window: int, path: Record) -> int:
    place = _add_track_row(log, SEGMENT, camera, emission)
    row = log.rows[place]
    row.window = window
    row.start_us = emission.t_us
    row.first_box = log.used[BOXES]
    row.first_segment = not path.has_segment
    row.speed_px = path.speed_px if path.known else -1.0
    row.speed_m = path.speed_m
    path.has_segment = 1
    return place


@leaf
def _append_box(log: Log, row: Record, emission: Record, step_px: float) -> None:
    box = log.boxes[log.used[BOXES]]
    log.used[BOXES] += 1
    box.box[0] = emission.x1
    box.box[1] = emission.y1
    box.box[2] = emission.x2
    box.box[3] = emission.y2
    box.time_ms = (emission.t_us - row.start_us) // 1000
    box.source = emission.source
    row.end_us = emission.t_us
    row.distance_px += step_px
    if emission.source != INTERPOLATED:
        row.observations += 1
        row.score_sum += emission.score


@leaf
def _pass_line(
    rules: Rules,
    site: Record,
    line: int,
    camera: Record,
    log: Log,
    emission: Record,
    path: Record,
    begins: bool,
    width: float,
    height: float,
    x: float,
    y: float,
    scale_x: float,
    scale_y: float,
) -> None:
    """Take the step from the path's last foot-point to (x, y) into account at one line."""
    ends = site.lines[line]
    length = length_of(ends)
    after = side_of(ends, length, x * scale_x, y * scale_y)
    side = np.int8(1) if after >= 0.0 else np.int8(-1)
    if not begins:
        x0, y0 = path.x * scale_x, path.y * scale_y
        before = side_of(ends, length, x0, y0)
        if (before >= 0.0) != (after >= 0.0):
            step = cut_at(ends, x0, y0, x * scale_x, y * scale_y, before, after)
            path.towards[line] = side if step >= 0.0 else np.int8(0)
            path.cut_us[line] = path.t_us + np.int64(step * (emission.t_us - path.t_us))
            path.cut_x[line] = path.x + step * (x - path.x)
            path.cut_y[line] = path.y + step * (y - path.y)
    margin = rules.crossing_margin * extent_across(ends, length, width, height)
    if abs(after) < margin:
        path.leans[line] = 0
        return
    if abs(after) < 2.0 * margin and path.leans[line] != side:
        path.leans[line] = side
        return
    bit = np.uint32(1) << np.uint32(2 * line + (side > 0))
    if path.side[line] == -side and path.towards[line] == side and path.crossed & bit == 0:
        path.crossed |= bit
        row = log.rows[_add_track_row(log, CROSSING, camera, emission)]
        row.start_us = path.cut_us[line]
        row.end_us = path.cut_us[line]
        row.place = site.first_line + line
        row.forward = side > 0
        row.x = path.cut_x[line]
        row.y = path.cut_y[line]
        row.speed_m = path.speed_m
    path.side[line] = side
    path.towards[line] = 0


@leaf
def _pass_zone(
    rules: Rules,
    site: Record,
    corners: Floats,
    zone: int,
    camera: Record,
    log: Log,
    emission: Record,
    path: Record,
    x: float,
    y: float,
) -> None:
    """Take a foot-point, in pixels of the camera file's frame, into account at one zone."""
    if path.phase[zone] == LEAVING and emission.t_us - path.left_us[zone] >= rules.visit_gap_us:
        _write_visit(site, zone, camera, log, emission, path)
    if is_inside(corners[site.first_corner[zone] : site.first_corner[zone + 1]], x, y):
        if path.phase[zone] == OUTSIDE:
            path.entered_us[zone] = emission.t_us
        path.phase[zone] = INSIDE
    elif path.phase[zone] == INSIDE:
        path.phase[zone] = LEAVING
        path.left_us[zone] = emission.t_us


@leaf
def _end_stays(site: Record, camera: Record, log: Log, emission: Record, path: Record) -> None:
    """The track ends: so do its stays, at its last box where it was inside."""
    for zone in range(site.n_zones):
        if path.phase[zone] == INSIDE:
            path.left_us[zone] = path.t_us
        if path.phase[zone] != OUTSIDE:
            _write_visit(site, zone, camera, log, emission, path)


@leaf
def _write_visit(site: Record, zone: int, camera: Record, log: Log, emission: Record, path: Record) -> None:
    row = log.rows[_add_track_row(log, VISIT, camera, emission)]
    row.place = site.first_zone + zone
    row.start_us = path.entered_us[zone]
    row.end_us = path.left_us[zone]
    path.phase[zone] = OUTSIDE
