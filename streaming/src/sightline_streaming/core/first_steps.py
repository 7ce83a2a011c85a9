"""Objects so fast that their boxes of two frames share nothing: overlap never tells their speed, so distance has to.

What is left of tracks too young to have a speed, and of detections that would start another track, is paired by distance and
likeness of size, optimally. A first step may go any way; one that takes the object along with the nearest track of its class
is the likelier. A track of two observations must come near to where its first step leads, or have stayed with the second.
"""

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.assignment import match
from sightline_streaming.core.kernel import Record, Records, leaf
from sightline_streaming.core.motion import YOUNG, step_between
from sightline_streaming.core.params import TrackerParams
from sightline_streaming.core.records import FREE, LATELY_FRAMES
from sightline_streaming.core.scratch import Indices, Scratch, Table

# A step may be made to a box of so much the same shape: the ratios of the widths and of the heights, multiplied.
LEAST_LIKENESS = 0.4

# How near, in widths of its box, an object must come to where it is expected, or stay to where it was.
EXPECTED_REACH, STAY_REACH = 1.0, 0.5

Box = npt.NDArray[np.float32]


@leaf
def match_first_steps(
    params: TrackerParams,
    scene: Record,
    tracks: Records,
    t_us: int,
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    classes: npt.NDArray[np.uint8],
    detection_of: Indices,
    slot_of: Indices,
    worth: Table,
    scratch: Scratch,
) -> None:
    """Add pairs to ``detection_of`` (each slot's, -1: none) and ``slot_of`` (each detection's, FREE: none)."""
    if params.first_reach <= 0.0:
        return
    young = scratch.young[: _find_young(scene, tracks, t_us, detection_of, scratch.young)]
    if young.shape[0] == 0:
        return
    possible = 0
    worth[:] = 0.0
    for k in range(young.shape[0]):
        slot, track = young[k], tracks[young[k]]
        guide = _nearest_of_known_speed(tracks, detection_of, track)
        for d in range(slot_of.shape[0]):
            if slot_of[d] == FREE and scores[d] >= params.new_score and classes[d] == track.class_id:
                worth[slot, d] = _likeness(track, boxes[d]) * _nearness(params, scene, tracks, slot, guide, t_us, boxes[d])
                possible += worth[slot, d] > 0.0
    if possible:
        match(worth, detection_of, slot_of, scratch)


@leaf
def _find_young(scene: Record, tracks: Records, t_us: int, detection_of: Indices, young: Indices) -> int:
    """Write to ``young`` the slots of unmatched tracks that have no speed to speak of and were seen lately: how many."""
    n = 0
    for slot in range(detection_of.shape[0]):
        track = tracks[slot]
        if (
            track.live
            and track.hits <= YOUNG
            and not track.confirmed
            and detection_of[slot] < 0
            and 0 < t_us - track.seen_us <= LATELY_FRAMES * scene.interval_us
        ):
            young[n] = slot
            n += 1
    return n


@leaf
def _nearest_of_known_speed(tracks: Records, detection_of: Indices, track: Record) -> int:
    """Slot of the nearest track of the same class that has a speed and was seen in this frame; -1 if there is none."""
    guide, nearest = -1, np.inf
    for slot in range(detection_of.shape[0]):
        other = tracks[slot]
        if other.live and other.hits >= YOUNG and detection_of[slot] >= 0 and other.class_id == track.class_id:
            x, y = other.position[0] - track.position[0], other.position[1] - track.position[1]
            if x * x + y * y < nearest:
                guide, nearest = slot, x * x + y * y
    return guide


@leaf
def _likeness(track: Record, box: Box) -> float:
    width, height = box[2] - box[0], box[3] - box[1]
    wide, high = track.position[2], track.position[3]
    likeness = min(width, wide) / max(width, wide) * min(height, high) / max(height, high)
    return likeness if likeness >= LEAST_LIKENESS else 0.0


@leaf
def _nearness(params: TrackerParams, scene: Record, tracks: Records, slot: int, guide: int, t_us: int, box: Box) -> float:
    """From 1, where the object is expected, to 0, where it is out of reach."""
    track = tracks[slot]
    dt_s = (t_us - track.seen_us) * 1e-6
    if track.hits == 1:
        reach = params.first_reach * max(1.0, dt_s * 1e6 / scene.interval_us)
        near = 1.0 - step_between(track, 0.0, 0.0, box) / reach
        if guide >= 0:
            # Nearer to the camera is larger and faster in proportion.
            scaled_s = dt_s * track.position[2] / tracks[guide].position[2]
            x, y = tracks[guide].speed[0] * scaled_s, tracks[guide].speed[1] * scaled_s
            near = max(near, 1.0 - step_between(track, x, y, box) / EXPECTED_REACH)
    else:
        near = 1.0 - step_between(track, track.speed[0] * dt_s, track.speed[1] * dt_s, box) / EXPECTED_REACH
        near = max(near, 1.0 - step_between(track, 0.0, 0.0, box) / STAY_REACH)
    return float(max(near, 0.0))
