"""What can be tuned about the tracker: one set of numbers for a fixed camera, one for a moving one.

Every field is a float, so that no caller makes numba compile the kernels a second time for integers.
"""

from math import exp, log
from typing import NamedTuple


class TrackerParams(NamedTuple):
    """Times are in seconds, overlaps are intersection over union, lengths in sizes: the mean of a box's width and height."""

    # Scores: below min_score ignored, from high_score on matched first, from new_score on a detection may start a track.
    min_score: float = 0.3
    high_score: float = 0.8
    new_score: float = 0.9
    # Smallest overlap of a track's prediction with a sure and with an unsure detection.
    first_overlap: float = 0.3
    second_overlap: float = 0.5
    # Squared distance to the prediction, in standard deviations summed over the 4 coordinates, that rules a pair out; and
    # what a pair at that limit loses of its overlap when pairs compete.
    surprise_limit: float = 30.0
    surprise_cost: float = 0.5
    # Farthest step between two frames, in widths and heights of the box, of an object whose speed is not yet known;
    # 0: none.
    first_reach: float = 3.5
    # Smallest overlap with a detection, somewhere on its way, of a lost track that may have slowed down.
    way_overlap: float = 0.6
    # A track is confirmed when the log odds of its scores, each above those of new_score, add up to this.
    confirm_evidence: float = 5.0
    confirm_hits: float = 2.0
    # How long a track lives without an observation, unconfirmed and confirmed; unsure ones only match a track seen lately.
    tentative_s: float = 0.3
    lost_s: float = 2.0
    unsure_s: float = 0.3
    # Longest gap in a track that is filled with interpolated boxes.
    fill_s: float = 1.5
    # A new detection that overlaps a matched one of its class by more than this is the same object seen twice.
    duplicate_overlap: float = 0.7
    # Where nodes send appearance vectors. What a pair gains by looking the same, or loses by being as different as can be; the
    # likeness below which a track unseen for some frames is another one; that from which a track may be found again without
    # overlap; how long a track lives that can be found so.
    look_weight: float = 1.0
    look_other: float = -0.3
    look_same: float = 0.4
    look_lost_s: float = 8.0
    # Part of its larger size by which a prediction lets an object grow or shrink at most, because it comes or goes; 0: none.
    most_grown: float = 0.4
    # Standard deviations: of a measured edge, of jitter after 1 s, of the speed's change after 1 s, of the first speed.
    measure: float = 0.1
    wobble: float = 0.15
    accelerate: float = 0.6
    first_speed: float = 1.0


FIXED_CAMERA = TrackerParams()
# What moves on the picture because the camera does is less predictable, and soon out of the picture.
MOVING_CAMERA = TrackerParams(first_overlap=0.25, surprise_limit=45.0, lost_s=1.0, accelerate=1.5, first_speed=2.0)


def for_detector(params: TrackerParams, sure_score: float) -> TrackerParams:
    """``params`` for a detector whose scores can be trusted from ``sure_score`` on, strictly between 0 and 1.

    The defaults expect scores that are near to probabilities; detectors differ in where theirs lie. All thresholds of score
    move by the same log odds, such that ``new_score`` comes to lie at ``sure_score``.
    """
    shift = _log_odds(sure_score) - _log_odds(params.new_score)
    return params._replace(
        min_score=_probability(_log_odds(params.min_score) + shift),
        high_score=_probability(_log_odds(params.high_score) + shift),
        new_score=sure_score,
    )


def _log_odds(probability: float) -> float:
    return log(probability / (1.0 - probability))


def _probability(log_odds: float) -> float:
    return 1.0 / (1.0 + exp(-log_odds))
