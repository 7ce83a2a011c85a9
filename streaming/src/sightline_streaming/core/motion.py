"""Kalman filter for boxes: centre, width and height each move at a constant speed of their own, disturbed at random.

The four coordinates are independent, so each needs two numbers and a 2 x 2 covariance, and closed forms. Noise is white in
continuous time: what a second adds is the same in one step or in thirty, so frame rates may change and frames may be lost.
Noise grows with the object's size on the picture. What comes nearer grows and speeds up on the picture: predictions follow
the perspective of a steady speed in the world, as far as the growth is known. The state stays at the last observation,
predictions are made from there: an object found again after a gap corrects the speed by the whole gap, not by the last
frame's share of it.
"""

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.kernel import Record, leaf, leaf_kernel
from sightline_streaming.core.params import TrackerParams

# A track of no more observations than this has no speed to speak of.
YOUNG = 2

# A step farther off than so many widths from where a young track is expected says more of its speed than the prior does.
BRISK = 0.5

# The second step of an object may be longer than its first by this part: it comes nearer, or it speeds up.
SPEEDING_UP = 0.2

# At so many sizes per second, and the more the faster, speed itself changes by as much in a second: by coming nearer.
VERY_FAST = 50.0

# A predicted box is never smaller than this part of the last one: shrinking does not go on for ever.
LEAST_SHRINK = 0.3


@leaf_kernel
def start_motion(params: TrackerParams, track: Record, box: npt.NDArray[np.float32]) -> None:
    """Put a new track at ``box``, its speed unknown."""
    track.position[0] = 0.5 * (box[0] + box[2])
    track.position[1] = 0.5 * (box[1] + box[3])
    track.position[2] = box[2] - box[0]
    track.position[3] = box[3] - box[1]
    size = _size(track)
    for axis in range(4):
        track.speed[axis] = 0.0
        track.spread[axis, 0] = (2.0 * params.measure * size) ** 2
        track.spread[axis, 1] = 0.0
        track.spread[axis, 2] = (params.first_speed * size) ** 2


@leaf_kernel
def restart_motion(params: TrackerParams, track: Record, dt_s: float, box: npt.NDArray[np.float32]) -> None:
    """Put a track at ``box`` with the speed that took its centre there in ``dt_s`` > 0 (two-point differencing, Bar-Shalom)."""
    x, y = track.position[0], track.position[1]
    start_motion(params, track, box)
    track.speed[0] = (track.position[0] - x) / dt_s
    track.speed[1] = (track.position[1] - y) / dt_s
    noise = (params.measure * _size(track)) ** 2
    for axis in range(2):
        track.spread[axis, 0] = noise
        track.spread[axis, 1] = noise / dt_s
        track.spread[axis, 2] = 2.0 * noise / (dt_s * dt_s) + (SPEEDING_UP * track.speed[axis]) ** 2


@leaf
def in_perspective(params: TrackerParams, track: Record, dt_s: float) -> float:
    """Time, s, for which the present speed on the picture takes an object as far as its steady speed in the world does.

    At a steady speed the distance to the camera shrinks by the same length every second, and places and sizes on the picture go
    with its inverse: an object that now grows by the share g a second goes as far in t as it would at its present speed in
    t / (1 - g t). The share counts as far as it is known: less its doubt, as jitter makes small boxes grow and shrink.
    """
    width, height = max(track.position[2], 1.0), max(track.position[3], 1.0)
    growth = 0.5 * (track.speed[2] / width + track.speed[3] / height)
    doubt = 0.25 * (track.spread[2, 2] / (width * width) + track.spread[3, 2] / (height * height))
    grown = growth * dt_s * growth * growth / (growth * growth + doubt)
    return float(dt_s / (1.0 - min(max(grown, -params.most_grown), params.most_grown)))


@leaf_kernel
def predict(
    params: TrackerParams, track: Record, dt_s: float, box: npt.NDArray[np.float64], variance: npt.NDArray[np.float64]
) -> None:
    """Write the box x1 y1 x2 y2 to measure ``dt_s`` after the last observation, and the variances of cx, cy, w, h."""
    run_s = in_perspective(params, track, dt_s)
    x = track.position[0] + track.speed[0] * run_s
    y = track.position[1] + track.speed[1] * run_s
    half_width = 0.5 * max(track.position[2] + track.speed[2] * run_s, LEAST_SHRINK * track.position[2])
    half_height = 0.5 * max(track.position[3] + track.speed[3] * run_s, LEAST_SHRINK * track.position[3])
    box[0] = x - half_width
    box[1] = y - half_height
    box[2] = x + half_width
    box[3] = y + half_height
    size = _size(track)
    noise = (params.measure * size) ** 2
    for axis in range(4):
        variance[axis] = _moved(params, track, axis, dt_s, size) + noise


@leaf_kernel
def surprise(box: npt.NDArray[np.float64], variance: npt.NDArray[np.float64], measured: npt.NDArray[np.float32]) -> float:
    """Squared distance of a measured box from the predicted one in standard deviations, summed over the 4 coordinates."""
    x = 0.5 * (box[0] + box[2] - measured[0] - measured[2])
    y = 0.5 * (box[1] + box[3] - measured[1] - measured[3])
    w = box[2] - box[0] - measured[2] + measured[0]
    h = box[3] - box[1] - measured[3] + measured[1]
    return float(x * x / variance[0] + y * y / variance[1] + w * w / variance[2] + h * h / variance[3])


@leaf_kernel
def observe(params: TrackerParams, track: Record, dt_s: float, box: npt.NDArray[np.float32], score: float) -> None:
    """Advance the state by ``dt_s`` and take in a measured box; the less sure the detector, the less it counts."""
    size = _size(track)
    size_now = size
    noise = (params.measure * size * (1.5 - score)) ** 2
    # What comes nearer is faster on the picture by the square of what it has grown by.
    run_s = in_perspective(params, track, dt_s)
    nearer = (run_s / dt_s) ** 2 if dt_s > 0.0 else 1.0
    for axis in range(4):
        if axis == 3:
            size_now = _size(track)  # of which the width is the new one already
        low, high = box[axis % 2], box[axis % 2 + 2]
        measured = 0.5 * (low + high) if axis < 2 else high - low
        place = _moved(params, track, axis, dt_s, size_now)
        push = _restless(params, track, axis, size) ** 2 * dt_s
        both = track.spread[axis, 1] + dt_s * track.spread[axis, 2] + push * dt_s / 2.0
        fast = track.spread[axis, 2] + push
        gain_place, gain_speed = place / (place + noise), both / (place + noise)
        error = measured - track.position[axis] - track.speed[axis] * run_s
        track.position[axis] += track.speed[axis] * run_s + gain_place * error
        track.speed[axis] += track.speed[axis] * (nearer - 1.0) + gain_speed * error
        track.spread[axis, 0] = (1.0 - gain_place) * place
        track.spread[axis, 1] = (1.0 - gain_place) * both
        track.spread[axis, 2] = fast - gain_speed * both


@leaf
def is_first_step(track: Record, dt_s: float, box: npt.NDArray[np.float32]) -> bool:
    """Whether a young track's next box lies so far off that its speed is better taken from this step alone."""
    if track.hits > YOUNG or dt_s <= 0.0:
        return False
    return bool(step_between(track, track.speed[0] * dt_s, track.speed[1] * dt_s, box) > BRISK)


@leaf
def step_between(track: Record, x: float, y: float, box: npt.NDArray[np.float32]) -> float:
    """Distance of a box's centre from the track's last place moved by ``x``, ``y`` pixels.

    In widths of the track; up and down in its heights where those are smaller.
    """
    width, height = track.position[2], track.position[3]
    across = (0.5 * (box[0] + box[2]) - track.position[0] - x) / width
    up = (0.5 * (box[1] + box[3]) - track.position[1] - y) / min(width, height)
    return float(np.sqrt(across * across + up * up))


@leaf
def _size(track: Record) -> float:
    return float(max(0.5 * (track.position[2] + track.position[3]), 1.0))


@leaf
def _restless(params: TrackerParams, track: Record, axis: int, size: float) -> float:
    """Standard deviation of a speed's change after 1 s."""
    usual, speed = params.accelerate * size, track.speed[axis]
    if speed * speed <= VERY_FAST * size * usual:
        return float(usual)
    return float(speed * speed / (VERY_FAST * size))


@leaf
def _moved(params: TrackerParams, track: Record, axis: int, dt_s: float, size: float) -> float:
    """Variance of a coordinate ``dt_s`` after the last observation."""
    jitter = (params.wobble * size) ** 2 * dt_s
    push = _restless(params, track, axis, size) ** 2 * dt_s * dt_s * dt_s / 3.0
    place, both, fast = track.spread[axis, 0], track.spread[axis, 1], track.spread[axis, 2]
    return float(place + dt_s * (2.0 * both + dt_s * fast) + jitter + push)
