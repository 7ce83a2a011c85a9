"""Objects that slowed down or stopped while unseen: found again on the way from where they were to where they should be.

The prediction goes on at the last speed, so who brakes behind something is looked for too far ahead. A detection that would
start a track, and that a lost track's box overlaps well somewhere on that way, is that track. Nearness alone, without
overlap, proved to be somebody else too often.
"""

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.assignment import match
from sightline_streaming.core.kernel import Record, Records, leaf
from sightline_streaming.core.lifecycle import is_gone
from sightline_streaming.core.looks import UNKNOWN, Likeness
from sightline_streaming.core.motion import predict
from sightline_streaming.core.overlap import overlap
from sightline_streaming.core.params import TrackerParams
from sightline_streaming.core.records import FREE
from sightline_streaming.core.scratch import Indices, Scratch, Table

# Places looked at on the way, from the last one on.
STOPS = 10


@leaf
def match_on_the_way(
    params: TrackerParams,
    scene: Record,
    tracks: Records,
    t_us: int,
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    classes: npt.NDArray[np.uint8],
    likeness: Likeness,
    detection_of: Indices,
    slot_of: Indices,
    worth: Table,
    scratch: Scratch,
) -> None:
    """Add pairs to ``detection_of`` (each slot's, -1: none) and ``slot_of`` (each detection's, FREE: none)."""
    possible = 0
    worth[:] = 0.0
    for slot in range(detection_of.shape[0]):
        track = tracks[slot]
        if not track.live or not track.confirmed or detection_of[slot] >= 0 or is_gone(params, scene, track, t_us):
            continue
        predicted = scratch.predicted[slot]
        predict(params, track, (t_us - track.seen_us) * 1e-6, predicted, scratch.variance[slot])
        for d in range(slot_of.shape[0]):
            if slot_of[d] == FREE and scores[d] >= params.new_score and classes[d] == track.class_id:
                shared = _best_overlap(track, predicted, boxes[d])
                differs = likeness.shape[0] > 0 and UNKNOWN < likeness[slot, d] < params.look_other
                if shared >= params.way_overlap and not differs:
                    worth[slot, d] = shared
                    possible += 1
    if possible:
        match(worth, detection_of, slot_of, scratch)


@leaf
def _best_overlap(track: Record, predicted: npt.NDArray[np.float64], box: npt.NDArray[np.float32]) -> float:
    """Largest overlap of ``box`` with the predicted box, put to places between the track's last one and the predicted one."""
    back_x = track.position[0] - 0.5 * (predicted[0] + predicted[2])
    back_y = track.position[1] - 0.5 * (predicted[1] + predicted[3])
    best = 0.0
    for stop in range(STOPS):
        x, y = back_x * (1.0 - stop / STOPS), back_y * (1.0 - stop / STOPS)
        shared = overlap(
            predicted[0] + x, predicted[1] + y, predicted[2] + x, predicted[3] + y, box[0], box[1], box[2], box[3]
        )  # fmt: skip
        best = max(best, shared)
    return best
