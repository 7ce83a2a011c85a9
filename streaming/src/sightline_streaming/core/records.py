"""The tracker's state and results as fixed-size records, to be saved and restored as plain memory."""

import numpy as np

from sightline_contract.batch import MAX_APPEARANCE_SIZE

# Observations that a track remembers: its path before confirmation (thinned out where it is longer), its heading after.
PAST = 6

# Where an emitted box comes from.
OBSERVED, BEFORE_CONFIRMATION, INTERPOLATED, ENDED = 0, 1, 2, 3

# In place of a detection's slot: a detection of no track yet, and one that is no use to any.
FREE, USELESS = -1, -2

# A track seen within so many usual frame intervals was seen lately: it missed no more than a frame, however slow the camera.
LATELY_FRAMES = 2.5

# One track. The motion state is the one at seen_us: a track without observations is not touched, only predicted.
TRACK = np.dtype(
    [
        ("number", np.int64),  # 0 until confirmed, then unique within the camera
        ("seen_us", np.int64),  # last observation
        ("past_us", np.int64, (PAST,)),
        ("past_box", np.float32, (PAST, 4)),  # x1 y1 x2 y2
        ("past_score", np.float32, (PAST,)),
        ("position", np.float32, (4,)),  # centre x, centre y, width, height
        ("speed", np.float32, (4,)),  # the same, per second
        ("spread", np.float32, (4, 3)),  # variance of position, covariance, variance of speed
        ("evidence", np.float32),  # log odds that speak for the track
        ("hits", np.int32),  # observations
        ("n_past", np.uint8),
        ("class_id", np.uint8),
        ("confirmed", np.uint8),
        ("live", np.uint8),
        ("spare", np.uint8, (4,)),  # no hidden padding: equal states are equal bytes
    ],
    align=True,
)

# What one track looks like, beside its TRACK: a direction, all 0 while it is not known; only as many numbers as the camera's
# vectors have count. Kept for cameras that send vectors.
LOOK = np.dtype([("vector", np.int16, (MAX_APPEARANCE_SIZE,))], align=True)

# What the tracker knows of one camera beside its tracks; all zero is a camera never seen.
SCENE = np.dtype(
    [
        ("last_number", np.int64),  # of the track confirmed last
        ("time_us", np.int64),  # of the last frame, 0 before the first
        ("interval_us", np.float64),  # usual time between frames, 0 while unknown
    ],
    align=True,
)

# One box of a confirmed track.
EMISSION = np.dtype(
    [
        ("t_us", np.int64),
        ("track_no", np.int64),
        ("x1", np.float32),
        ("y1", np.float32),
        ("x2", np.float32),
        ("y2", np.float32),
        ("score", np.float32),
        ("slot", np.int32),
        ("class_id", np.uint8),
        ("source", np.uint8),
        ("spare", np.uint8, (6,)),
    ],
    align=True,
)
