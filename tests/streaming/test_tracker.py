import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline_streaming.core.params import FIXED_CAMERA, MOVING_CAMERA, for_detector
from sightline_streaming.core.records import BEFORE_CONFIRMATION, ENDED, INTERPOLATED, OBSERVED
from sightline_streaming.core.tracker import EMISSION, SCENE, TRACK, finish, step

START_US = 1_000_000_000
FRAME_US = 40_000


class Camera:
    """One camera's state, and all that was emitted for it."""

    def __init__(self, params=FIXED_CAMERA):
        self.params = params
        self.scene, self.tracks, self.n_slots = np.zeros(1, SCENE), np.zeros(1, TRACK), 0
        self.emissions, self.n = np.zeros(1, EMISSION), 0

    def see(self, t_us, rows):
        """Rows are (x1, y1, x2, y2, score, class); returns what this frame emitted."""
        rows = np.array(rows, np.float64).reshape(-1, 6)
        before = self.n
        self.tracks, self.n_slots, self.emissions, self.n = step(
            self.params, self.scene, self.tracks, self.n_slots, self.emissions, self.n, t_us,
            rows[:, :4].astype(np.float32), rows[:, 4].astype(np.float32), rows[:, 5].astype(np.uint8),
        )  # fmt: skip
        return self.emissions[before : self.n]

    def finish(self):
        before = self.n
        self.tracks, self.n_slots, self.emissions, self.n = finish(
            self.scene, self.tracks, self.n_slots, self.emissions, self.n
        )
        return self.emissions[before : self.n]

    def restored(self):
        """A camera that goes on from a copy of the saved state."""
        other = Camera(self.params)
        other.scene = np.frombuffer(self.scene.tobytes(), SCENE).copy()
        other.tracks = np.frombuffer(self.tracks[: self.n_slots].tobytes(), TRACK).copy()
        other.n_slots = self.n_slots
        return other


def box(x, y=100.0, score=0.97, class_id=0, width=40.0, height=100.0):
    return (x, y, x + width, y + height, score, class_id)


def walk(camera, frames, start=0):
    """Show the frames one after the other; returns all emissions."""
    return np.concatenate([camera.see(START_US + (start + k) * FRAME_US, rows) for k, rows in enumerate(frames)])


def numbers(emissions):
    return set(emissions["track_no"].tolist())


def test_an_object_is_one_track_from_its_first_observation():
    emissions = walk(Camera(), [[box(100 + 4 * k)] for k in range(20)])
    assert numbers(emissions) == {1}
    assert emissions["t_us"].tolist() == [START_US + k * FRAME_US for k in range(20)]
    assert emissions["source"][0] == BEFORE_CONFIRMATION
    assert emissions["source"][-1] == OBSERVED
    assert emissions["x1"].tolist() == [100 + 4 * k for k in range(20)]


def test_a_single_detection_is_no_track():
    camera = Camera()
    assert len(walk(camera, [[box(100)]] + [[]] * 50)) == 0
    assert len(camera.finish()) == 0


def test_two_crossing_objects_keep_their_numbers():
    frames = [[box(100 + 8 * k, 100), box(500 - 8 * k, 130)] for k in range(50)]
    emissions = walk(Camera(), frames)
    for y in (100, 130):
        assert len(numbers(emissions[emissions["y1"] == y])) == 1
    assert numbers(emissions) == {1, 2}


def test_an_occlusion_of_a_second_is_bridged_and_filled():
    path = [100 + 3 * k for k in range(75)]
    frames = [[] if 25 <= k < 50 else [box(x)] for k, x in enumerate(path)]
    emissions = walk(Camera(), frames)
    assert numbers(emissions) == {1}
    assert emissions["t_us"].tolist() == [START_US + k * FRAME_US for k in range(75)]
    assert np.count_nonzero(emissions["source"] == INTERPOLATED) == 25
    assert emissions["x1"] == pytest.approx(path, abs=0.01)


def test_one_missed_frame_is_filled():
    emissions = walk(Camera(), [[] if k == 12 else [box(100 + 4 * k)] for k in range(20)])
    filled = emissions[emissions["source"] == INTERPOLATED]
    assert filled["t_us"].tolist() == [START_US + 12 * FRAME_US]
    assert filled["x1"][0] == pytest.approx(148)


def test_irregular_frame_times_do_not_break_a_track():
    times_us = START_US + np.cumsum(np.random.default_rng(1).choice([0, 20_000, 40_000, 200_000], 80))
    camera = Camera()
    emissions = np.concatenate([camera.see(t, [box(100 + (t - START_US) * 60e-6)]) for t in times_us.tolist()])
    assert numbers(emissions) == {1}


def test_a_clock_that_steps_back_does_not_turn_a_path_round():
    camera = Camera()
    walk(camera, [[box(100 + k)] for k in range(10)])
    emissions = camera.see(START_US, [box(110)])
    assert emissions["t_us"].tolist() == [START_US + 9 * FRAME_US]


def test_a_track_unseen_for_its_lifetime_ends_once_where_it_was_last_seen():
    camera = Camera()
    walk(camera, [[box(100 + k)] for k in range(10)])
    emissions = camera.see(START_US + 10_000_000, [])
    assert emissions["source"].tolist() == [ENDED]
    assert emissions["t_us"].tolist() == [START_US + 9 * FRAME_US]
    assert len(camera.finish()) == 0


def test_a_new_object_in_an_old_slot_has_a_new_number():
    camera = Camera()
    first = walk(camera, [[box(100)] for _ in range(10)])
    second = walk(camera, [[box(900)] for _ in range(10)], start=500)
    seen = second[second["source"] != ENDED]
    assert numbers(first) == {1}
    assert numbers(seen) == {2}
    assert set(first["slot"]) == set(seen["slot"])


def test_finish_ends_every_track_and_numbers_go_on():
    camera = Camera()
    walk(camera, [[box(100), box(500)] for _ in range(10)])
    assert sorted(camera.finish()["track_no"]) == [1, 2]
    # The next session's clock may be anywhere.
    later = np.concatenate([camera.see(1 + k * FRAME_US, [box(100)]) for k in range(10)])
    assert numbers(later) == {3}


def test_unsure_detections_carry_a_track_on_but_start_none():
    camera = Camera()
    frames = [[box(100 + k, score=0.97 if k < 10 else 0.5), box(800, score=0.5)] for k in range(40)]
    emissions = walk(camera, frames)
    assert numbers(emissions) == {1}
    assert len(emissions) == 40


def test_an_object_detected_twice_is_one_track():
    frames = [[box(100 + k), box(102 + k, score=0.95)] for k in range(30)]
    assert numbers(walk(Camera(), frames)) == {1}


def test_an_object_at_another_class_is_another_track():
    frames = [[box(100, class_id=0)] for _ in range(10)] + [[box(100, class_id=2)] for _ in range(10)]
    emissions = walk(Camera(), frames)
    assert [(e["track_no"], e["class_id"]) for e in np.unique(emissions[["track_no", "class_id"]])] == [(1, 0), (2, 2)]


def test_a_long_unconfirmed_path_is_told_in_full():
    # So unsure that confirmation takes longer than the track's memory of single observations.
    emissions = walk(Camera(), [[box(100 + 3 * k, score=0.93)] for k in range(40)])
    assert emissions["t_us"].tolist() == [START_US + k * FRAME_US for k in range(40)]
    assert emissions["x1"] == pytest.approx([100 + 3 * k for k in range(40)], abs=0.5)


def test_empty_and_broken_boxes_are_left_out():
    nan, inf = float("nan"), float("inf")
    bad = [(5, 5, 5, 50, 1, 0), (50, 5, 5, 50, 1, 0), (nan, 0, 9, 9, 1, 0), (0, 0, inf, 9, 1, 0), (0, 0, 9, 9, nan, 0)]
    camera = Camera()
    emissions = walk(camera, [[*bad, box(100)] for _ in range(10)])
    assert numbers(emissions) == {1}
    assert camera.n_slots == 1


def car(x, y=300.0, score=0.97):
    """A car seen from the side: a length is 100 pixels."""
    return box(x, y, score, class_id=2, width=100.0, height=50.0)


def paths(emissions):
    """Left edges of each track's observed boxes, as one list per track, in order of their first."""
    shown = emissions[emissions["source"] != ENDED]
    return sorted(shown["x1"][shown["track_no"] == number].tolist() for number in numbers(shown))


lengths_a_frame = pytest.mark.parametrize("lengths", [0.3, 0.6, 0.9, 1.5, 2.5, 3.0])


@lengths_a_frame
@pytest.mark.parametrize("params", [FIXED_CAMERA, MOVING_CAMERA])
def test_a_car_too_fast_for_its_boxes_to_overlap_is_one_track(params, lengths):
    path = [100 * lengths * k for k in range(8)]
    assert paths(walk(Camera(params), [[car(x)] for x in path])) == [pytest.approx(path)]


def test_a_fast_car_seen_in_three_frames_is_a_track():
    path = [100.0, 350.0, 600.0]
    assert paths(walk(Camera(), [[car(x, score=0.99)] for x in path])) == [pytest.approx(path)]


def test_a_fast_car_that_speeds_up_is_one_track():
    path = [0.0, 200.0, 420.0, 662.0, 928.0, 1221.0]
    assert paths(walk(Camera(), [[car(x)] for x in path])) == [pytest.approx(path)]


@pytest.mark.parametrize("missed", [1, 2, 4])
def test_a_fast_car_missed_in_a_frame_is_one_track(missed):
    path = [150.0 * k for k in range(9)]
    emissions = walk(Camera(), [[] if k == missed else [car(x)] for k, x in enumerate(path)])
    assert paths(emissions) == [pytest.approx(path)]


@pytest.mark.parametrize("lengths", [1.5, 2.5])
@pytest.mark.parametrize("apart", [3, 4, 5])
def test_fast_cars_that_follow_each_other_are_kept_apart(lengths, apart):
    # No closer than what they drive in a frame and a half: then a car seems to stand where the one before it was.
    apart = max(apart, 1.5 * lengths)
    starts = [0.0, -100.0 * apart, -200.0 * apart]
    frames = [[start + 100 * lengths * k for start in starts] for k in range(14)]
    emissions = walk(Camera(), [[car(x) for x in frame if -50 <= x < 1500] for frame in frames])
    assert len(paths(emissions)) == 3
    for path in paths(emissions):
        assert np.diff(path) == pytest.approx(100 * lengths)


def test_fast_cars_that_meet_go_on_as_they_came():
    frames = [[car(180 * k), car(1500 - 180 * k, 370)] for k in range(9)]
    to_and_fro = paths(walk(Camera(), frames))
    assert to_and_fro == [pytest.approx([180 * k for k in range(9)]), pytest.approx([1500 - 180 * k for k in range(9)])]


@pytest.mark.parametrize("lengths", [1.2, 1.5, 2.5])
def test_a_fast_car_passes_a_parked_one(lengths):
    path = [100 * lengths * k for k in range(8)]
    emissions = walk(Camera(), [[car(500, 310)]] * 10 + [[car(500, 310), car(x)] for x in path])
    assert paths(emissions) == [pytest.approx(path), [500] * 18]


@pytest.mark.parametrize("frame_rate", [1, 2, 5])
def test_a_walker_is_one_track_at_low_frame_rates(frame_rate):
    path, camera = [100 + 90 * k / frame_rate for k in range(12)], Camera()
    shown = [camera.see(START_US + k * 1_000_000 // frame_rate, [box(x)]) for k, x in enumerate(path)]
    assert paths(np.concatenate(shown)) == [pytest.approx(path)]


def test_a_car_that_brakes_behind_something_is_found_where_it_stopped():
    drives = [[car(100 + 10 * k)] for k in range(20)]
    emissions = walk(Camera(), drives + [[]] * 25 + [[car(400)]] * 20)
    assert len(paths(emissions)) == 1


def test_a_queue_that_stops_and_goes_keeps_its_numbers_though_one_detection_in_ten_is_missed():
    random = np.random.default_rng(2)
    seen, camera, at = [], Camera(), 0.0
    for k in range(600):
        at += 0.0 if k % 200 >= 100 else 4.0 * np.sin(np.pi * (k % 200) / 100)
        queue = [at - 130 * i + random.normal(0, 1.5) for i in range(4)]
        seen.append(camera.see(START_US + k * FRAME_US, [car(x) for x in queue if random.random() > 0.1]))
    emissions = np.concatenate(seen)
    assert len(paths(emissions)) == 4
    # Nobody's box is handed to a neighbour, a length and a third away.
    for number in numbers(emissions):
        assert np.abs(np.diff(emissions["x1"][emissions["track_no"] == number])).max() < 40


def test_a_false_detection_is_no_beginning_of_an_object_that_stands_elsewhere():
    emissions = walk(Camera(), [[car(100)]] + [[car(350 + k)] for k in range(8)])
    assert paths(emissions) == [[350 + k for k in range(8)]]


def test_false_detections_all_over_the_picture_make_no_fast_object():
    places = np.random.default_rng(5).uniform((0, 0), (1800, 1000), (300, 2))
    assert numbers(walk(Camera(), [[car(x, y)] for x, y in places])) == set()


def test_thresholds_move_to_where_a_detector_can_be_trusted():
    params = for_detector(FIXED_CAMERA, 0.3)
    assert params.new_score == 0.3
    assert 0 < params.min_score < params.high_score < params.new_score
    frames = [[box(100 + 4 * k, score=0.6)] for k in range(20)]
    assert numbers(walk(Camera(params), frames)) == {1}
    assert numbers(walk(Camera(), frames)) == set()
    assert for_detector(FIXED_CAMERA, FIXED_CAMERA.new_score) == pytest.approx(FIXED_CAMERA)


scores = st.sampled_from([0.2, 0.5, 0.85, 0.95, 1.0])
places = st.integers(0, 12).map(lambda k: 25.0 * k)
detections = st.builds(
    box, places, places, scores, st.integers(0, 1), st.sampled_from([0.0, 40.0, 60.0]), st.sampled_from([80.0, 100.0])
)
gaps_us = st.sampled_from([FRAME_US, FRAME_US, FRAME_US, 0, 7_000, 400_000, 3_000_000, -50_000])
# Repeated frames make objects that stay, so that tracks live long enough to meet each other.
scenes = st.lists(st.tuples(gaps_us, st.lists(detections, max_size=6), st.integers(1, 4)), max_size=12)
cameras = st.sampled_from([FIXED_CAMERA, MOVING_CAMERA])


def frames_of(scene):
    t_us = START_US
    for gap_us, rows, repeats in scene:
        for _ in range(repeats):
            t_us += gap_us
            yield t_us, rows


@settings(max_examples=100)
@given(cameras, scenes)
def test_the_same_frames_give_the_same_tracks(params, scene):
    first, second = Camera(params), Camera(params)
    for t_us, rows in frames_of(scene):
        assert first.see(t_us, rows).tobytes() == second.see(t_us, rows).tobytes()
    assert first.finish().tobytes() == second.finish().tobytes()


@settings(max_examples=100)
@given(cameras, scenes, st.integers(0, 40))
def test_a_restored_state_goes_on_as_if_nothing_had_happened(params, scene, at):
    camera = restored = Camera(params)
    for k, (t_us, rows) in enumerate(frames_of(scene)):
        if k == at:
            restored = camera.restored()
        emissions = camera.see(t_us, rows)
        if restored is not camera:
            assert restored.see(t_us, rows).tobytes() == emissions.tobytes()


@settings(max_examples=100)
@given(cameras, scenes)
def test_no_two_live_tracks_share_a_number_and_none_changes_its_class(params, scene):
    camera, class_of, slot_of, ended = Camera(params), {}, {}, set()
    for t_us, rows in frames_of(scene):
        for e in camera.see(t_us, rows):
            number = int(e["track_no"])
            assert number not in ended
            assert class_of.setdefault(number, e["class_id"]) == e["class_id"]
            assert slot_of.setdefault(number, e["slot"]) == e["slot"]
            if e["source"] == ENDED:
                ended.add(number)
        live = camera.tracks[: camera.n_slots]
        confirmed = live["number"][(live["live"] == 1) & (live["confirmed"] == 1)].tolist()
        assert len(confirmed) == len(set(confirmed))
        assert set(confirmed) == set(class_of) - ended
    assert {int(e["track_no"]) for e in camera.finish()} == set(class_of) - ended


@settings(max_examples=100)
@given(cameras, scenes)
def test_the_emissions_of_a_track_follow_each_other_in_time(params, scene):
    camera = Camera(params)
    for t_us, rows in frames_of(scene):
        camera.see(t_us, rows)
    camera.finish()
    emissions = camera.emissions[: camera.n]
    for number in numbers(emissions):
        of_one = emissions[emissions["track_no"] == number]
        assert np.all(np.diff(of_one["t_us"]) >= 0)
        assert of_one["source"][-1] == ENDED
        assert np.all(np.diff((of_one["source"] != BEFORE_CONFIRMATION).astype(int)) >= 0)


@settings(max_examples=60)
@given(cameras, scenes)
def test_every_observation_of_a_track_is_a_detection_of_its_frame(params, scene):
    camera = Camera(params)
    for t_us, rows in frames_of(scene):
        shown = {tuple(np.float32(row[:4]).tolist()) for row in rows}
        for e in camera.see(t_us, rows):
            if e["source"] == OBSERVED:
                assert tuple(e[["x1", "y1", "x2", "y2"]].tolist()) in shown
