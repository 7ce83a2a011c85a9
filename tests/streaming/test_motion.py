import numpy as np
import pytest

from sightline_streaming.core.motion import observe, predict, start_motion, surprise
from sightline_streaming.core.params import FIXED_CAMERA
from sightline_streaming.core.records import TRACK


def _box(x, y=100.0, width=40.0, height=100.0):
    return np.array([x, y, x + width, y + height], np.float32)


def _followed(positions, dt_s):
    track = np.zeros(1, TRACK)[0]
    start_motion(FIXED_CAMERA, track, _box(positions[0]))
    for x in positions[1:]:
        observe(FIXED_CAMERA, track, dt_s, _box(x), 0.9)
    return track


def _predicted(track, dt_s):
    box, variance = np.zeros(4), np.zeros(4)
    predict(FIXED_CAMERA, track, dt_s, box, variance)
    return box, variance


def test_a_steady_object_is_expected_further_on():
    track = _followed([10 + 3 * k for k in range(30)], 1 / 30)
    box, _ = _predicted(track, 0.5)
    assert box[0] == pytest.approx(10 + 3 * 29 + 45, abs=3)
    assert track["speed"][0] == pytest.approx(90, rel=0.05)


def test_the_frame_rate_does_not_change_what_is_known():
    slow = _followed([10 + 6 * k for k in range(15)], 2 / 30)
    fast = _followed([10 + 3 * k for k in range(29)], 1 / 30)
    assert _predicted(slow, 1.0)[0] == pytest.approx(_predicted(fast, 1.0)[0], abs=2)


def test_one_long_step_adds_as_much_doubt_as_many_short_ones():
    variances = [_predicted(_followed([10.0, 11.0], 0.1), dt_s)[1] for dt_s in (0.0, 0.5, 1.0)]
    assert np.all(variances[0] < variances[1])
    assert np.all(variances[1] < variances[2])


def test_an_unsure_measurement_moves_the_state_less():
    sure, unsure = _followed([100.0] * 10, 0.1), _followed([100.0] * 10, 0.1)
    observe(FIXED_CAMERA, sure, 0.1, _box(110.0), 0.99)
    observe(FIXED_CAMERA, unsure, 0.1, _box(110.0), 0.3)
    assert unsure["position"][0] < sure["position"][0]


def test_a_shrinking_box_never_turns_inside_out():
    track = np.zeros(1, TRACK)[0]
    start_motion(FIXED_CAMERA, track, _box(100.0))
    for k in range(1, 20):
        observe(FIXED_CAMERA, track, 0.1, _box(100.0, width=40.0 - 2 * k, height=100.0 - 5 * k), 0.9)
    box, _ = _predicted(track, 10.0)
    assert box[2] > box[0]
    assert box[3] > box[1]


def test_what_comes_nearer_is_expected_where_a_steady_speed_in_the_world_takes_it():
    """A car 30 m away comes at 10 m/s: on the picture its place below the horizon and its size go with 1 / distance."""

    def seen(t):
        scale = 3000.0 / (30.0 - 10.0 * t)
        return np.array([300.0, 200.0, 300.0 + 2.0 * scale, 200.0 + 1.5 * scale], np.float32)

    def missed_by(params):
        track = np.zeros(1, TRACK)[0]
        start_motion(params, track, seen(0.0))
        for k in range(1, 21):
            observe(params, track, 0.1, seen(0.1 * k), 0.9)
        box, variance = np.zeros(4), np.zeros(4)
        predict(params, track, 0.4, box, variance)
        return np.abs(box - seen(2.4)).max() / 750.0

    assert missed_by(FIXED_CAMERA) < 0.15
    assert missed_by(FIXED_CAMERA) < 0.5 * missed_by(FIXED_CAMERA._replace(most_grown=0.0))


def test_jitter_of_the_size_of_a_standing_object_takes_it_nowhere():
    track, rng = np.zeros(1, TRACK)[0], np.random.default_rng(4)
    start_motion(FIXED_CAMERA, track, _box(100.0))
    for _ in range(100):
        observe(FIXED_CAMERA, track, 0.04, _box(100.0, width=rng.normal(40.0, 1.5), height=rng.normal(100.0, 4.0)), 0.9)
    box, _ = _predicted(track, 1.0)
    assert box == pytest.approx(_box(100.0).astype(np.float64), abs=12)


def test_no_time_between_frames_breaks_nothing():
    track = _followed([100.0, 101.0, 102.0], 0.0)
    assert np.all(np.isfinite(_predicted(track, 0.0)[0]))
    assert np.all(track["spread"][:, 0] > 0)


def test_surprise_grows_with_distance_and_shrinks_with_doubt():
    track = _followed([100.0] * 10, 0.1)
    here, there = _box(100.0), _box(130.0)
    box, variance = _predicted(track, 0.1)
    assert surprise(box, variance, here) < surprise(box, variance, there)
    later, doubt = _predicted(track, 1.0)
    assert surprise(later, doubt, there) < surprise(box, variance, there)
