"""The shard kernel: messages in, rows out, camera after camera.

Rules
- A camera's messages are taken in order of (session, seq). A message met before is dropped and counted; one behind the last
  that was never met is late: counted where its window is open, never tracked; a gap is counted as missing.
  Of the numbers behind, 1024 are remembered; one further behind counts as met before, so that nothing is ever counted twice.
- A larger session ends the one before: its tracks, stays and windows. Messages of a smaller one are late.
- A camera's first session counts from the first message met, every later one from seq 0 and frame 0.
- Time within a session moves forward only: a frame that is not after the last tracked one is late.
- What one camera sends never touches another.
"""

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from sightline_contract.batch import EVEN_SCALE
from sightline_streaming.core.desk import (
    EMISSIONS,
    HEALTH_ROW,
    SLOTS,
    Desk,
    has_places,
    pack,
    unpack,
    with_looks,
    with_places,
    with_results,
)
from sightline_streaming.core.events import forget_alarms, watch
from sightline_streaming.core.frames import Detections, frame_at, no_detections, read_frame
from sightline_streaming.core.geometry import Floats
from sightline_streaming.core.kernel import Record, Records, inner, kernel, leaf
from sightline_streaming.core.looks import forget
from sightline_streaming.core.memory import NO_SESSION, REMEMBERED_SEQS, Parts
from sightline_streaming.core.params import TrackerParams
from sightline_streaming.core.paths import write_paths
from sightline_streaming.core.records import ENDED
from sightline_streaming.core.rows import HEALTH, Log, add_row, with_room
from sightline_streaming.core.scratch import Scratch, has_room, scratch_for
from sightline_streaming.core.site import Rules
from sightline_streaming.core.tracker import emissions_wanted, finish, track_frame
from sightline_streaming.core.windows import (
    DETECTIONS,
    NEW_OBJECTS,
    OBJECTS,
    Ring,
    advance,
    close_before,
    expect_missing,
    open_window,
    passes_window,
)
from sightline_streaming.core.wire import Bytes, u16_at

N_PARAMS = len(TrackerParams._fields)
# Interval between frames where a message does not say its camera's rate.
USUAL_INTERVAL_US = 40_000

# What a message ends before it is taken, each with all before it: rows of another model version, tracks, windows.
NOTHING, ROWS, TRACKS, WINDOWS = range(4)

# How a message comes.
IN_ORDER, MET_BEFORE, LATE, UNEXPECTED = range(4)


@kernel
def run_shard(
    rules: Rules, sites: Records, corners: Floats, watches: Records, buffer: Bytes, headers: Records, cameras: Records,
    scenes: Records, old: Parts, new: Parts, desk: Desk, ring: Ring, log: Log, forget_before_us: int,
) -> tuple[Parts, Log]:  # fmt: skip
    """Take the messages of ``headers``, sorted by (camera, session, seq), ``camera.n_messages`` of each camera.

    Cameras and scenes change in place, the rest of the memory goes from ``old`` to ``new``. A camera without messages that
    last spoke before ``forget_before_us`` is dropped.
    """
    at, m, scratch = np.zeros(old.used.shape[0], np.int64), 0, scratch_for(16, 16)
    for c in range(cameras.shape[0]):
        camera, scene = cameras[c], scenes[c : c + 1]
        site = sites[camera.site]
        desk = unpack(rules, site, camera, old, at, desk, ring)
        desk.used[HEALTH_ROW] = -1
        params = TrackerParams(*to_fixed_tuple(site.params, N_PARAMS))  # type: ignore[call-arg]  # numba's intrinsic
        for header in headers[m : m + camera.n_messages]:
            what = _ends(camera, header)
            if what != NOTHING:
                desk, log = _end(rules, site, corners, watches, camera, scene, desk, ring, log, what)
            camera.arrived_us = max(camera.arrived_us, header.arrived_us)
            if header.session > camera.session:
                _start_session(rules, camera, header)
            log = _note_message(camera, header, desk, log)
            health = log.rows[desk.used[HEALTH_ROW]]
            how = _arrival(camera, header, health)
            if how == IN_ORDER:
                desk, log, scratch = _take(rules, site, params, buffer, header, camera, scene, desk, ring, log, scratch)
                what = WINDOWS if header.end_of_session else NOTHING
                if what != NOTHING:
                    desk, log = _end(rules, site, corners, watches, camera, scene, desk, ring, log, what)
            elif how != MET_BEFORE:
                _take_late(rules, site, buffer, header, camera, ring, health, how == LATE)
        m += camera.n_messages
        camera.dropped = camera.n_messages == 0 and camera.arrived_us < forget_before_us
        what = WINDOWS if camera.dropped else ROWS
        desk, log = _end(rules, site, corners, watches, camera, scene, desk, ring, log, what)
        if not camera.dropped:
            new = pack(rules, camera, new, desk, ring)
    return new, log


@leaf
def _ends(camera: Record, header: Record) -> int:
    """What must end before a message can be taken: rows name one model version, tracks know one size of frame."""
    if camera.session == NO_SESSION or header.session < camera.session:
        return NOTHING
    if header.session > camera.session:
        return WINDOWS
    if header.seq < camera.next_seq:
        return NOTHING
    if header.width != camera.width or header.height != camera.height:
        return TRACKS
    return ROWS if header.model != camera.model else NOTHING


@inner
def _end(
    rules: Rules, site: Record, corners: Floats, watches: Records, camera: Record, scene: Records, desk: Desk, ring: Ring,
    log: Log, what: int,
) -> tuple[Desk, Log]:  # fmt: skip
    """Write out what the tracker emitted; end tracks and windows as well if ``what`` says so."""
    if what >= TRACKS:
        tracks, n_slots, emissions, n_emissions = finish(
            scene, desk.tracks, desk.used[SLOTS], desk.emissions, desk.used[EMISSIONS]
        )
        desk = with_results(desk, tracks, n_slots, emissions, n_emissions)
    emissions = desk.emissions[: desk.used[EMISSIONS]]
    if emissions.shape[0] > 0:
        paces = np.empty((emissions.shape[0] if site.n_rules > 0 else 0, 3), np.float64)
        log = write_paths(rules, site, corners, camera, log, emissions, desk.paths, paces)
        if site.n_rules > 0:
            log = watch(site, watches, corners, camera, log, emissions, paces, desk.trails, desk.alarms)
        desk.used[EMISSIONS] = 0
    if what >= TRACKS:
        forget_alarms(desk.alarms)
    if what >= WINDOWS:
        log = close_before(rules, site, ring, camera, log, camera.closed_before + rules.open_windows)
    return desk, log


@leaf
def _start_session(rules: Rules, camera: Record, header: Record) -> None:
    known = camera.session != NO_SESSION
    camera.session = header.session
    camera.next_seq = 0 if known else header.seq
    camera.first_seq = camera.next_seq
    camera.next_frame = 0 if known else header.first_frame
    camera.seen[:] = np.uint64(0)
    camera.last_us = 0
    camera.width = header.width
    camera.height = header.height
    camera.closed_before = (_gap_start(camera, header) - rules.lateness_us) // rules.window_us


@leaf
def _gap_start(camera: Record, header: Record) -> int:
    """When the frames missing before a message began to be missing."""
    if camera.last_us > 0:
        return int(camera.last_us)
    missing = max(header.first_frame - camera.next_frame, 0)
    interval_us = 1e9 / header.frame_rate_mhz if header.frame_rate_mhz > 0 else USUAL_INTERVAL_US
    return max(int(header.captured_us) - int(missing * interval_us), 0)


@inner
def _note_message(camera: Record, header: Record, desk: Desk, log: Log) -> Log:
    """The log with a health row for the message's session, which takes note of it."""
    place = desk.used[HEALTH_ROW]
    if place < 0 or log.rows[place].session != header.session:
        log = with_room(log, 1, 0)
        place = add_row(log, HEALTH, camera)
        desk.used[HEALTH_ROW] = place
        log.rows[place].session = header.session
        log.rows[place].start_us = header.captured_us
        log.rows[place].end_us = header.captured_us
        log.rows[place].lag_us = header.arrived_us - header.captured_us
    health = log.rows[place]
    health.arrived_us = camera.arrived_us
    health.model = header.model
    health.start_us = min(health.start_us, header.captured_us)
    health.end_us = max(health.end_us, header.captured_us)
    return log


@leaf
def _arrival(camera: Record, header: Record, health: Record) -> int:
    """How a message comes; it is remembered as met, and counted."""
    ahead = header.seq - camera.next_seq
    if header.session < camera.session:
        health.batches_received += 1
        health.batches_late += 1
        return UNEXPECTED
    if ahead >= 0:
        for missing in range(max(camera.next_seq, header.seq - REMEMBERED_SEQS), header.seq):
            camera.seen[_word(missing)] &= ~_bit(missing)
        camera.seen[_word(header.seq)] |= _bit(header.seq)
        camera.next_seq = header.seq + 1
        health.batches_received += 1
        health.batches_missing += ahead
        return IN_ORDER
    if -ahead > REMEMBERED_SEQS or camera.seen[_word(header.seq)] & _bit(header.seq):
        health.batches_duplicate += 1
        return MET_BEFORE
    camera.seen[_word(header.seq)] |= _bit(header.seq)
    health.batches_received += 1
    health.batches_late += 1
    if header.seq < camera.first_seq:
        return UNEXPECTED
    health.batches_missing -= 1
    return LATE


@leaf
def _word(seq: int) -> int:
    """Which of the camera's words remembers a message."""
    return seq % REMEMBERED_SEQS // 64


@leaf
def _bit(seq: int) -> np.uint64:
    """The message's bit in its word."""
    return np.uint64(1) << np.uint64(seq % 64)


@inner
def _take(
    rules: Rules, site: Record, params: TrackerParams, buffer: Bytes, header: Record, camera: Record, scene: Records,
    desk: Desk, ring: Ring, log: Log, scratch: Scratch,
) -> tuple[Desk, Log, Scratch]:  # fmt: skip
    """Take the next message of the running session."""
    camera.width = header.width
    camera.height = header.height
    camera.model = header.model
    missing, skipped = max(header.first_frame - camera.next_frame, 0), int(header.frames_skipped)
    if missing > 0:
        log = expect_missing(rules, site, ring, camera, log, missing, _gap_start(camera, header), header.captured_us)
    camera.next_frame = header.first_frame + header.frames + skipped
    desk = _note_look_size(camera, header, desk)
    seen = no_detections(header)
    frame, first, late_rows = 0, 0, 0
    while True:
        frame, first, late_rows = _take_frames(
            rules, site, params, buffer, header, camera, scene, desk, ring, scratch, seen, frame, first, late_rows
        )
        if frame == header.frames:
            break
        t_us, n = frame_at(buffer, header, frame)
        log = advance(rules, site, ring, camera, log, t_us)
        more = emissions_wanted(scene[0], desk.tracks, desk.used[SLOTS], t_us, n)
        desk = with_places(desk, n, more, camera.look_size > 0)
        if not has_room(scratch, desk.used[SLOTS] + n, n):
            scratch = scratch_for(2 * (desk.used[SLOTS] + n), 2 * n)
    t_us = frame_at(buffer, header, frame - 1)[0] if frame > 0 else header.captured_us
    if skipped > 0:
        log = expect_missing(rules, site, ring, camera, log, skipped, header.captured_us, t_us)
    health = log.rows[desk.used[HEALTH_ROW]]
    health.end_us = max(health.end_us, t_us)
    health.lag_us = min(health.lag_us, header.arrived_us - t_us)
    health.frames_received += header.frames
    health.frames_expected += header.frames + skipped + missing
    health.detections += header.detections
    health.late_rows += late_rows
    return desk, log, scratch


@leaf
def _take_frames(
    rules: Rules, site: Record, params: TrackerParams, buffer: Bytes, header: Record, camera: Record, scene: Records,
    desk: Desk, ring: Ring, scratch: Scratch, seen: Detections, frame: int, first: int, late_rows: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Take the message's frames from ``frame`` on, up to the first that a window must be closed or room be made for.

    Returns that frame, or how many there are; the first of its detections; and how many were late so far.
    """
    even = header.appearance_even / EVEN_SCALE
    while frame < header.frames:
        t_us, n = frame_at(buffer, header, frame)
        in_time = t_us > camera.last_us
        if in_time and not _is_ready(rules, camera, scene[0], desk, scratch, t_us, n):
            break
        _count_frame(site, buffer, header, first, n, ring, open_window(rules, ring, camera, t_us), in_time, True)
        if in_time:
            kept = read_frame(site, buffer, header, first, n, seen)
            before = desk.used[EMISSIONS]
            n_slots, n_emissions = track_frame(
                params, scene[0], desk.tracks, desk.used[SLOTS], desk.emissions, before, t_us,
                seen.boxes[:kept], seen.scores[:kept], seen.classes[:kept], desk.looks, seen.looks[:kept], even, scratch,
            )  # fmt: skip
            desk.used[SLOTS] = n_slots
            desk.used[EMISSIONS] = n_emissions
            _count_objects(rules, camera, ring, desk.emissions[before:n_emissions], desk.paths)
            camera.last_us = t_us
        else:
            late_rows += n
        first += n
        frame += 1
    return frame, first, late_rows


@leaf
def _is_ready(rules: Rules, camera: Record, scene: Record, desk: Desk, scratch: Scratch, t_us: int, n: int) -> bool:
    """Whether a frame can be tracked at once: it passes no window, and there is room for what may come of it."""
    if passes_window(rules, camera, t_us) or not has_room(scratch, desk.used[SLOTS] + n, n):
        return False
    return has_places(desk, n, emissions_wanted(scene, desk.tracks, desk.used[SLOTS], t_us, n), camera.look_size > 0)


@inner
def _note_look_size(camera: Record, header: Record, desk: Desk) -> Desk:
    """Forget what tracks look like where the message's vectors are others than those of the messages before."""
    if camera.look_size == header.appearance_size:
        return desk
    camera.look_size = header.appearance_size
    if camera.look_size > 0:
        desk = with_looks(desk, 0)
        for slot in range(desk.used[SLOTS]):
            forget(desk.looks[slot])
    return desk


@leaf
def _take_late(
    rules: Rules, site: Record, buffer: Bytes, header: Record, camera: Record, ring: Ring, health: Record, expected: bool
) -> None:
    """Count a late message. ``expected`` says whether its frames were counted as expected when it was missed."""
    first = 0
    for frame in range(header.frames if header.session == camera.session else 0):
        t_us = header.captured_us + 1000 * u16_at(buffer, header.offsets_at + 2 * frame)
        n = u16_at(buffer, header.counts_at + 2 * frame)
        window = open_window(rules, ring, camera, t_us)
        _count_frame(site, buffer, header, first, n, ring, window, False, not expected)
        first += n
    health.frames_received += header.frames
    health.frames_expected += 0 if expected else header.frames
    health.detections += header.detections
    health.late_rows += header.detections


@leaf
def _count_frame(
    site: Record, buffer: Bytes, header: Record, first: int, n: int, ring: Ring, place: int, in_time: bool, expects: bool
) -> None:
    """Count a frame and its ``n`` detections from ``first`` on into the window at ``place``; into none if that is -1."""
    if place < 0:
        return
    window, tallies = ring.windows[place], ring.tallies[place]
    window.received += 1
    window.expected += expects
    for d in range(first, first + n):
        class_id = buffer[header.classes_at + d]
        if site.counted[class_id] and buffer[header.scores_at + d] >= site.min_score:
            tallies[class_id, DETECTIONS] += 1
            window.late_rows += not in_time


@leaf
def _count_objects(rules: Rules, camera: Record, ring: Ring, emissions: Records, paths: Records) -> None:
    """Count each track once in every window that it has a box in, and as new in the first of them that is open."""
    for k in range(emissions.shape[0]):
        emission = emissions[k]
        path, number = paths[emission.slot], emission.t_us // rules.window_us
        is_new = path.counted_no != emission.track_no
        if emission.source == ENDED or (not is_new and path.counted_window >= number):
            continue
        place = open_window(rules, ring, camera, emission.t_us)
        if place < 0:
            continue
        path.counted_no = emission.track_no
        path.counted_window = number
        ring.tallies[place, emission.class_id, OBJECTS] += 1
        ring.tallies[place, emission.class_id, NEW_OBJECTS] += is_new
