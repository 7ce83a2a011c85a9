"""Which detection belongs to which track: sure detections first, then unsure ones for what is left, each solved optimally.

A pair is possible where prediction and detection overlap and the detection is not too far off for what the motion filter
knows of the track. Among possible pairs the sum of overlaps, less a price for surprise, is made largest. Where both have an
appearance vector, likeness counts as well, and a sure detection that looks the same needs no overlap.

A detection left after both, before it starts a track, may be an object that braked while unseen (``recovery``), or one too
fast for its boxes to overlap (``first_steps``).
"""

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.assignment import match
from sightline_streaming.core.first_steps import match_first_steps
from sightline_streaming.core.kernel import Record, Records, leaf
from sightline_streaming.core.lifecycle import is_gone
from sightline_streaming.core.looks import UNKNOWN, Likeness
from sightline_streaming.core.motion import predict, surprise
from sightline_streaming.core.overlap import overlap
from sightline_streaming.core.params import TrackerParams
from sightline_streaming.core.records import FREE, LATELY_FRAMES, USELESS
from sightline_streaming.core.recovery import match_on_the_way
from sightline_streaming.core.scratch import Indices, Scratch, Table

# What a possible pair is worth at least, so that it is made where nothing better is.
LEAST_WORTH = 1e-3

# Boxes beyond are no pixels.
LARGEST_PX = 1e7

Boxes = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]
Classes = npt.NDArray[np.uint8]


@leaf
def associate(
    params: TrackerParams,
    scene: Record,
    tracks: Records,
    t_us: int,
    boxes: Boxes,
    scores: Scores,
    classes: Classes,
    likeness: Likeness,
    detection_of: Indices,
    slot_of: Indices,
    scratch: Scratch,
) -> None:
    """Write each slot's detection (-1: none), and each detection's slot (FREE: may start a track, USELESS: must not)."""
    n_slots, n = detection_of.shape[0], slot_of.shape[0]
    detection_of[:] = FREE
    slot_of[:] = FREE
    worth = scratch.worth[: n_slots * n].reshape((n_slots, n))
    unsure = _drop_useless(params, slot_of, boxes, scores)
    if n_slots > 0 and n > 0:
        _match_all(
            params, scene, tracks, t_us, boxes, scores, classes, likeness, unsure > 0, detection_of, slot_of, worth, scratch
        )
    _drop_duplicates(params, slot_of, boxes, scores, classes)
    if n_slots > 0 and _count_new(params, scores, slot_of) > 0:
        match_on_the_way(params, scene, tracks, t_us, boxes, scores, classes, likeness, detection_of, slot_of, worth, scratch)
        match_first_steps(params, scene, tracks, t_us, boxes, scores, classes, detection_of, slot_of, worth, scratch)


@leaf
def _match_all(
    params: TrackerParams,
    scene: Record,
    tracks: Records,
    t_us: int,
    boxes: Boxes,
    scores: Scores,
    classes: Classes,
    likeness: Likeness,
    any_unsure: bool,
    detection_of: Indices,
    slot_of: Indices,
    worth: Table,
    scratch: Scratch,
) -> None:
    n_slots = detection_of.shape[0]
    predicted, variance = scratch.predicted[:n_slots], scratch.variance[:n_slots]
    _predict_all(params, tracks, t_us, predicted, variance)
    for stage in range(2 if any_unsure else 1):
        worth[:] = 0.0
        _note_edges(params, boxes, scores, stage == 1, slot_of, scratch.edges)
        possible = _value_pairs(
            params, scene, tracks, t_us, predicted, variance, boxes, classes, stage == 1, detection_of, worth, scratch
        )
        if likeness.shape[0] > 0 and stage == 0:
            possible += _add_looks(
                params, scene, tracks, t_us, predicted, variance, boxes, scores, classes, likeness, slot_of, worth
            )
        if possible:
            match(worth, detection_of, slot_of, scratch)


@leaf
def _predict_all(
    params: TrackerParams,
    tracks: Records,
    t_us: int,
    predicted: npt.NDArray[np.float64],
    variance: npt.NDArray[np.float64],
) -> None:
    for slot in range(predicted.shape[0]):
        if tracks[slot].live:
            predict(params, tracks[slot], (t_us - tracks[slot].seen_us) * 1e-6, predicted[slot], variance[slot])


@leaf
def _note_edges(params: TrackerParams, boxes: Boxes, scores: Scores, unsure: bool, slot_of: Indices, edges: Table) -> None:
    """Write the edges of free detections, sure or unsure ones, side by side; the others lie nowhere."""
    for d in range(boxes.shape[0]):
        wanted = slot_of[d] == FREE and (scores[d] < params.high_score) == unsure
        for side in range(4):
            edges[side, d] = boxes[d, side] if wanted else np.nan


@leaf
def _value_pairs(
    params: TrackerParams,
    scene: Record,
    tracks: Records,
    t_us: int,
    predicted: npt.NDArray[np.float64],
    variance: npt.NDArray[np.float64],
    boxes: Boxes,
    classes: Classes,
    unsure: bool,
    detection_of: Indices,
    worth: npt.NDArray[np.float64],
    scratch: Scratch,
) -> int:
    """Write what pairs of free tracks and the detections of ``scratch.edges`` are worth; returns how many are possible."""
    unsure_us = max(params.unsure_s * 1e6, LATELY_FRAMES * scene.interval_us)
    touched, possible = scratch.touched, 0
    for slot in range(worth.shape[0]):
        if not tracks[slot].live or detection_of[slot] >= 0 or (unsure and t_us - tracks[slot].seen_us > unsure_us):
            continue
        class_id = tracks[slot].class_id
        _touch(predicted[slot], scratch.edges, worth.shape[1], touched)
        for d in range(worth.shape[1]):
            if touched[d] and classes[d] == class_id:
                worth[slot, d] = _worth(params, predicted[slot], variance[slot], boxes[d], unsure)
                possible += worth[slot, d] > 0.0
    return possible


@leaf
def _touch(p: npt.NDArray[np.float64], edges: Table, n: int, touched: npt.NDArray[np.uint8]) -> None:
    """Write which detections share anything with a predicted box: without a branch, so that an instruction asks for several."""
    x1, y1, x2, y2 = edges[0], edges[1], edges[2], edges[3]
    for d in range(n):
        touched[d] = (x1[d] < p[2]) & (x2[d] > p[0]) & (y1[d] < p[3]) & (y2[d] > p[1])


@leaf
def _worth(
    params: TrackerParams,
    p: npt.NDArray[np.float64],
    variance: npt.NDArray[np.float64],
    box: npt.NDArray[np.float32],
    unsure: bool,
) -> float:
    shared = overlap(p[0], p[1], p[2], p[3], box[0], box[1], box[2], box[3])
    if shared < (params.second_overlap if unsure else params.first_overlap):
        return 0.0
    odd = surprise(p, variance, box)
    if not odd <= params.surprise_limit:
        return 0.0
    return max(shared - params.surprise_cost * odd / params.surprise_limit, LEAST_WORTH)


@leaf
def _add_looks(
    params: TrackerParams,
    scene: Record,
    tracks: Records,
    t_us: int,
    predicted: npt.NDArray[np.float64],
    variance: npt.NDArray[np.float64],
    boxes: Boxes,
    scores: Scores,
    classes: Classes,
    likeness: Likeness,
    slot_of: Indices,
    worth: npt.NDArray[np.float64],
) -> int:
    """Let likeness count in what pairs of tracks and sure detections are worth; returns how many are possible by it."""
    possible = 0
    for slot in range(worth.shape[0]):
        hidden = t_us - tracks[slot].seen_us > LATELY_FRAMES * scene.interval_us
        gone = is_gone(params, scene, tracks[slot], t_us)
        for d in range(worth.shape[1]):
            alike = likeness[slot, d]
            if gone and alike < params.look_same:
                worth[slot, d] = 0.0
            if alike == UNKNOWN or slot_of[d] != FREE or scores[d] < params.high_score or classes[d] != tracks[slot].class_id:
                continue
            if hidden and alike < params.look_other:
                worth[slot, d] = 0.0
                continue
            if worth[slot, d] == 0.0:
                odd = surprise(predicted[slot], variance[slot], boxes[d])
                if alike < params.look_same or not odd <= params.surprise_limit:
                    continue
                worth[slot, d] = -params.surprise_cost * odd / params.surprise_limit
            worth[slot, d] = max(worth[slot, d] + params.look_weight * alike, LEAST_WORTH)
            possible += 1
    return possible


@leaf
def _drop_useless(params: TrackerParams, slot_of: Indices, boxes: Boxes, scores: Scores) -> int:
    """Mark detections whose score is too low or whose box is empty; returns how many of the rest are unsure."""
    unsure = 0
    for d in range(boxes.shape[0]):
        width, height = boxes[d, 2] - boxes[d, 0], boxes[d, 3] - boxes[d, 1]
        # Written so that what is not a number is useless, too.
        sound = 0.0 < width < LARGEST_PX and 0.0 < height < LARGEST_PX and scores[d] >= params.min_score
        if not (sound and abs(boxes[d, 0]) < LARGEST_PX and abs(boxes[d, 1]) < LARGEST_PX):
            slot_of[d] = USELESS
        else:
            unsure += scores[d] < params.high_score
    return unsure


@leaf
def _drop_duplicates(params: TrackerParams, slot_of: Indices, boxes: Boxes, scores: Scores, classes: Classes) -> None:
    """Mark free detections that lie on a matched one, or on a better free one, of their class: the same object seen twice."""
    n = boxes.shape[0]
    for d in range(n):
        if slot_of[d] != FREE:
            continue
        for e in range(n):
            better = scores[e] > scores[d] or (scores[e] == scores[d] and e < d)
            if classes[e] == classes[d] and (slot_of[e] >= 0 or (slot_of[e] == FREE and better)):
                a, b = boxes[d], boxes[e]
                if overlap(a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]) > params.duplicate_overlap:
                    slot_of[d] = USELESS
                    break


@leaf
def _count_new(params: TrackerParams, scores: Scores, slot_of: Indices) -> int:
    """How many detections would start a track."""
    n = 0
    for d in range(slot_of.shape[0]):
        n += slot_of[d] == FREE and scores[d] >= params.new_score
    return n
