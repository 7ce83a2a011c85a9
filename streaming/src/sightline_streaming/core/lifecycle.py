"""The life of a track: where it starts, what it remembers, when it is confirmed, when it has expired."""

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.kernel import Record, Records, leaf
from sightline_streaming.core.motion import start_motion, step_between
from sightline_streaming.core.params import TrackerParams
from sightline_streaming.core.records import PAST

# One observation speaks for or against a track by no more than so many log odds, however sure the detector claims to be.
MOST_EVIDENCE = 6.0
LEAST_DOUBT = 1e-4

# A box no farther than so many widths from the last one has stayed where it was.
STAYED = 0.5

# A track lives for so many frames at least: lifetimes in seconds are short for cameras of a frame a second.
LEAST_FRAMES = 2.5


@leaf
def free_slot(tracks: Records, n_slots: int) -> int:
    """The first slot without a live track, ``n_slots`` where all have one."""
    for slot in range(n_slots):
        if not tracks[slot].live:
            return slot
    return n_slots


@leaf
def start_track(
    params: TrackerParams, track: Record, t_us: int, box: npt.NDArray[np.float32], score: float, class_id: int
) -> None:
    """Make ``track`` a new, unconfirmed track at a detection, with nothing left in it of who had the slot before."""
    start_motion(params, track, box)
    track.number = 0
    track.evidence = 0.0
    track.hits = 0
    track.n_past = 0
    track.class_id = class_id
    track.confirmed = 0
    track.live = 1
    track.past_us[:] = 0
    track.past_box[:] = 0.0
    track.past_score[:] = 0.0
    remember(params, track, t_us, box, score)


@leaf
def forget_false_start(params: TrackerParams, track: Record, box: npt.NDArray[np.float32]) -> None:
    """Forget the first of two observations if the third stays with the second, far from the first: that was something else."""
    if track.hits == 2 and step_between(track, 0.0, 0.0, box) <= STAYED < _first_step(track):
        for side in range(4):
            track.past_box[0, side] = track.past_box[1, side]
        track.past_us[0] = track.past_us[1]
        track.past_score[0] = track.past_score[1]
        track.n_past = 1
        track.hits = 1
        track.evidence = _evidence(params, track.past_score[0])


@leaf
def _first_step(track: Record) -> float:
    a, b = track.past_box[0], track.past_box[1]
    return step_between(track, 0.5 * (b[0] + b[2] - a[0] - a[2]), 0.5 * (b[1] + b[3] - a[1] - a[3]), b)


@leaf
def remember(params: TrackerParams, track: Record, t_us: int, box: npt.NDArray[np.float32], score: float) -> None:
    """Append an observation; a full memory forgets the oldest one, or before confirmation thins its path out."""
    if track.n_past == PAST:
        _make_room(track)
    k = track.n_past
    track.past_us[k] = t_us
    for side in range(4):
        track.past_box[k, side] = box[side]
    track.past_score[k] = score
    track.n_past = k + 1
    track.seen_us = t_us
    track.hits += 1
    track.evidence += _evidence(params, score)


@leaf
def _evidence(params: TrackerParams, score: float) -> float:
    return min(_log_odds(score) - _log_odds(params.new_score), MOST_EVIDENCE)


@leaf
def _make_room(track: Record) -> None:
    # The first observation of an unconfirmed track stays: it is where the track will be said to have begun.
    kept, stride = (0, 1) if track.confirmed else (1, 2)
    for k in range(kept + 1, PAST, stride):
        track.past_us[kept] = track.past_us[k]
        for side in range(4):
            track.past_box[kept, side] = track.past_box[k, side]
        track.past_score[kept] = track.past_score[k]
        kept += 1
    track.n_past = kept


@leaf
def _log_odds(score: float) -> float:
    sure = min(max(score, LEAST_DOUBT), 1.0 - LEAST_DOUBT)
    return float(np.log(sure / (1.0 - sure)))


@leaf
def confirm_if_due(params: TrackerParams, scene: Record, track: Record) -> bool:
    """Give the track its number once enough speaks for it: a sequential test on the detector's scores."""
    if track.hits < params.confirm_hits or track.evidence < params.confirm_evidence:
        return False
    track.confirmed = 1
    scene.last_number += 1
    track.number = scene.last_number
    return True


@leaf
def expired(params: TrackerParams, scene: Record, track: Record, t_us: int, has_look: bool) -> bool:
    """Whether the track went without observation for longer than a track of its kind lives: at any rate a lost frame or two."""
    lifetime_s = params.lost_s if track.confirmed else params.tentative_s
    if has_look and track.confirmed:
        lifetime_s = max(lifetime_s, params.look_lost_s)
    return bool(t_us - track.seen_us > max(lifetime_s * 1e6, LEAST_FRAMES * scene.interval_us))


@leaf
def is_gone(params: TrackerParams, scene: Record, track: Record, t_us: int) -> bool:
    """Whether the track lives on for its looks only: lost for so long that its place does not tell who is there."""
    return bool(t_us - track.seen_us > max(params.lost_s * 1e6, LEAST_FRAMES * scene.interval_us))
