"""The tracker: one step per frame of one camera, on records in flat arrays.

Invariants
- A track keeps its slot while it lives; a slot is used again after the track's end was emitted.
- Only confirmed tracks have numbers and are emitted; numbers grow by one per camera and are never used twice.
- A track never changes its class.
- The state after a frame depends on the frames alone: no clock, no counter elsewhere, no order of memory.
"""

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.association import associate
from sightline_streaming.core.emission import emit_beginning, emit_past, emit_refound, most_emissions
from sightline_streaming.core.kernel import Record, Records, kernel, leaf
from sightline_streaming.core.lifecycle import confirm_if_due, expired, forget_false_start, free_slot, remember, start_track
from sightline_streaming.core.looks import compare, forget, is_known, learn
from sightline_streaming.core.motion import is_first_step, observe, restart_motion
from sightline_streaming.core.params import FIXED_CAMERA, MOVING_CAMERA, TrackerParams
from sightline_streaming.core.records import EMISSION, ENDED, FREE, LOOK, OBSERVED, SCENE, TRACK
from sightline_streaming.core.rows import at_least
from sightline_streaming.core.scratch import Scratch, scratch_for

__all__ = [
    "EMISSION", "FIXED_CAMERA", "LOOK", "MOVING_CAMERA", "SCENE", "TRACK", "TrackerParams", "finish", "step", "step_with_looks",
]  # fmt: skip


@kernel
def step(
    params: TrackerParams,
    scene: Records,
    tracks: Records,
    n_slots: int,
    emissions: Records,
    n_emissions: int,
    t_us: int,
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    classes: npt.NDArray[np.uint8],
) -> tuple[Records, int, Records, int]:
    """Take in one frame: ``boxes`` (N, 4) x1 y1 x2 y2 in pixels, ``scores`` (N,) 0..1, ``classes`` (N,).

    ``scene`` holds 1 record. ``tracks`` uses slots below ``n_slots``, ``emissions`` has ``n_emissions`` before this call;
    both are returned, larger where they had to grow. A frame older than the last one is taken to be at the last one's time.
    """
    looks, seen = np.zeros(0, LOOK), np.zeros((boxes.shape[0], 0), np.int8)
    return step_with_looks(
        params, scene, tracks, n_slots, emissions, n_emissions, t_us, boxes, scores, classes, looks, seen, 0.0
    )


@kernel
def step_with_looks(
    params: TrackerParams,
    scene: Records,
    tracks: Records,
    n_slots: int,
    emissions: Records,
    n_emissions: int,
    t_us: int,
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    classes: npt.NDArray[np.uint8],
    looks: Records,
    seen: npt.NDArray[np.int8],
    even: float,
) -> tuple[Records, int, Records, int]:
    """``step`` with appearance vectors: ``seen`` (N, D), a row of 0 where a detection has none, D 0 where none has.

    ``even`` is the cosine at which two are as likely one object as two.

    ``looks`` has what the track of each slot looks like, and room for ``n_slots`` + N where D is not 0.
    """
    n = boxes.shape[0]
    emissions = at_least(emissions, n_emissions, emissions_wanted(scene[0], tracks, n_slots, t_us, n))
    tracks = at_least(tracks, n_slots, n)
    n_slots, n_emissions = track_frame(
        params, scene[0], tracks, n_slots, emissions, n_emissions, t_us, boxes, scores, classes, looks, seen, even,
        scratch_for(n_slots, n),
    )  # fmt: skip
    return tracks, n_slots, emissions, n_emissions


@leaf
def emissions_wanted(scene: Record, tracks: Records, n_slots: int, t_us: int, n: int) -> int:
    """How many records a frame at ``t_us`` with ``n`` detections can emit at most; the scene takes note of the time."""
    return most_emissions(scene, tracks, n_slots, note_time(scene, t_us)) + n


@leaf
def track_frame(
    params: TrackerParams,
    scene: Record,
    tracks: Records,
    n_slots: int,
    emissions: Records,
    n_emissions: int,
    t_us: int,
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    classes: npt.NDArray[np.uint8],
    looks: Records,
    seen: npt.NDArray[np.int8],
    even: float,
    scratch: Scratch,
) -> tuple[int, int]:
    """``step_with_looks`` where there is room: for ``n_slots`` + N tracks, ``emissions_wanted``, in ``scratch``.

    Returns how many slots and how many emissions there are then.
    """
    t_us = note_time(scene, t_us)
    while n_slots > 0 and not tracks[n_slots - 1].live:
        n_slots -= 1
    n = boxes.shape[0]
    n_emissions = _end_expired(params, scene, tracks, n_slots, emissions, n_emissions, t_us, looks, seen)
    n_likeness = n_slots if seen.shape[1] > 0 else 0
    likeness = scratch.likeness[: n_likeness * n].reshape((n_likeness, n))
    compare(looks, tracks, seen, even, likeness, scratch.lengths)
    detection_of, slot_of = scratch.detection_of[:n_slots], scratch.slot_of[:n]
    associate(params, scene, tracks, t_us, boxes, scores, classes, likeness, detection_of, slot_of, scratch)
    n_emissions = _observe_all(params, scene, tracks, detection_of, emissions, n_emissions, t_us, boxes, scores)
    if seen.shape[1] > 0:
        for slot in range(n_slots):
            if detection_of[slot] >= 0:
                learn(params, looks[slot], seen, detection_of[slot], boxes, scores, scratch)
    for d in range(n):
        if slot_of[d] == FREE and scores[d] >= params.new_score:
            slot = free_slot(tracks, n_slots)
            n_slots = max(n_slots, slot + 1)
            start_track(params, tracks[slot], t_us, boxes[d], scores[d], classes[d])
            if seen.shape[1] > 0:
                forget(looks[slot])
                learn(params, looks[slot], seen, d, boxes, scores, scratch)
            n_emissions = _confirm(params, scene, tracks[slot], slot, emissions, n_emissions)
    return n_slots, n_emissions


@kernel
def finish(
    scene: Records, tracks: Records, n_slots: int, emissions: Records, n_emissions: int
) -> tuple[Records, int, Records, int]:
    """End all tracks: the session is over, the next frame may have any time."""
    emissions = at_least(emissions, n_emissions, n_slots)
    for slot in range(n_slots):
        if tracks[slot].live:
            n_emissions = _end(tracks[slot], slot, emissions, n_emissions)
    scene[0].time_us = 0
    return tracks, n_slots, emissions, n_emissions


@leaf
def note_time(scene: Record, t_us: int) -> int:
    """The frame's time, which the scene takes note of: once, however often it is told."""
    if scene.time_us == 0:
        scene.time_us = t_us
        return t_us
    gap_us = float(t_us - scene.time_us)
    if gap_us <= 0.0:
        return int(scene.time_us)
    scene.time_us = t_us
    usual = scene.interval_us
    if usual <= 0.0:
        scene.interval_us = gap_us
    elif abs(gap_us - usual) < 0.2 * usual:
        scene.interval_us = usual + 0.1 * (gap_us - usual)
    else:
        # Lost frames must not stretch the estimate, a new frame rate must: small steps towards the median do both.
        scene.interval_us = usual * (1.05 if gap_us > usual else 0.9)
    return t_us


@leaf
def _end_expired(
    params: TrackerParams,
    scene: Record,
    tracks: Records,
    n_slots: int,
    emissions: Records,
    n_emissions: int,
    t_us: int,
    looks: Records,
    seen: npt.NDArray[np.int8],
) -> int:
    for slot in range(n_slots):
        if tracks[slot].live and expired(params, scene, tracks[slot], t_us, is_known(looks, slot, seen)):
            n_emissions = _end(tracks[slot], slot, emissions, n_emissions)
    return n_emissions


@leaf
def _observe_all(
    params: TrackerParams,
    scene: Record,
    tracks: Records,
    detection_of: npt.NDArray[np.int32],
    emissions: Records,
    n_emissions: int,
    t_us: int,
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
) -> int:
    for slot in range(detection_of.shape[0]):
        d = detection_of[slot]
        if d >= 0:
            n_emissions = _observe(params, scene, tracks[slot], slot, emissions, n_emissions, t_us, boxes[d], scores[d])
    return n_emissions


@leaf
def _observe(
    params: TrackerParams,
    scene: Record,
    track: Record,
    slot: int,
    emissions: Records,
    n_emissions: int,
    t_us: int,
    box: npt.NDArray[np.float32],
    score: float,
) -> int:
    dt_s = (t_us - track.seen_us) * 1e-6
    if is_first_step(track, dt_s, box):
        forget_false_start(params, track, box)
        restart_motion(params, track, dt_s, box)
    else:
        observe(params, track, dt_s, box, score)
    remember(params, track, t_us, box, score)
    if not track.confirmed:
        return _confirm(params, scene, track, slot, emissions, n_emissions)
    n_emissions = emit_refound(emissions, n_emissions, track, slot, scene.interval_us, params.fill_s * 1e6)
    emit_past(emissions[n_emissions], track, slot, OBSERVED, int(track.n_past) - 1)
    return n_emissions + 1


@leaf
def _confirm(params: TrackerParams, scene: Record, track: Record, slot: int, emissions: Records, n_emissions: int) -> int:
    if not confirm_if_due(params, scene, track):
        return n_emissions
    n_emissions = emit_beginning(emissions, n_emissions, track, slot, scene.interval_us)
    emit_past(emissions[n_emissions], track, slot, OBSERVED, int(track.n_past) - 1)
    return n_emissions + 1


@leaf
def _end(track: Record, slot: int, emissions: Records, n_emissions: int) -> int:
    track.live = 0
    if not track.confirmed:
        return n_emissions
    emit_past(emissions[n_emissions], track, slot, ENDED, int(track.n_past) - 1)
    return n_emissions + 1
