from pathlib import Path

import numpy as np
import pytest
from sample_run import CAMERA, CAR_BOX, FILLED_IN, START_US, person_box, run_rows, write_run

from sightline.results.paths import track_paths
from sightline.results.reading import read_results
from sightline.results.replay import Moment, Replay, Seen, Tally

INTERVAL_US = 100_000


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    return Replay(read_results(write_run(tmp_path_factory.mktemp("run")), CAMERA.camera_id), START_US, INTERVAL_US)


def person(moment: Moment) -> Seen:
    return next(seen for seen in moment.objects if seen.class_name == "person")


def test_segments_join_into_one_path_a_track(replay: Replay) -> None:
    walker, car = replay.paths
    assert (walker.number, walker.class_name, len(walker.times_us)) == ("1", "person", 30)
    assert walker.duration_s == pytest.approx(2.9)
    assert np.all(np.diff(walker.times_us) == INTERVAL_US)
    assert (car.class_name, car.boxes.tolist()) == ("car", [CAR_BOX] * 10)


def test_a_box_that_two_segments_share_is_taken_once(tmp_path: Path) -> None:
    rows = run_rows()
    second = rows["silver.track_segments"][1]
    second["times_ms"], second["boxes"], second["sources"] = [0, 50], person_box(10) + person_box(11), [0, 0]
    second["start_time"] = rows["silver.track_segments"][0]["end_time"]
    path = track_paths(read_results(write_run(tmp_path, rows), CAMERA.camera_id).segments, START_US)[0]
    assert np.all(np.diff(path.times_us) > 0)


@pytest.mark.parametrize("off_us", [-49_000, 0, 49_000])
def test_a_box_belongs_to_the_frame_within_half_an_interval(replay: Replay, off_us: int) -> None:
    assert person(replay.at(1_200_000 + off_us)).box.tolist() == person_box(12)


def test_nobody_is_there_before_the_first_and_after_the_last_box(replay: Replay) -> None:
    assert [seen.class_name for seen in replay.at(900_000).objects] == ["person"]
    assert replay.at(3_000_000).objects == ()


def test_a_filled_in_box_is_told_from_an_observed_one(replay: Replay) -> None:
    assert person(replay.at((FILLED_IN - 1) * INTERVAL_US)).observed
    assert not person(replay.at(FILLED_IN * INTERVAL_US)).observed


def test_between_analysed_frames_a_box_moves_on_evenly(tmp_path: Path) -> None:
    rows = run_rows()
    for segment in rows["silver.track_segments"][:3]:  # every fifth frame only
        segment["times_ms"] = segment["times_ms"][::5]
        segment["boxes"] = [value for at in (0, 5) for value in segment["boxes"][4 * at : 4 * at + 4]]
        segment["sources"] = [0, 0]
    replay = Replay(read_results(write_run(tmp_path, rows), CAMERA.camera_id), START_US, INTERVAL_US)
    between = person(replay.at(700_000))
    assert between.box.tolist() == pytest.approx(person_box(7))
    assert not between.observed
    assert person(replay.at(500_000)).observed


def test_a_long_gap_is_left_empty(tmp_path: Path) -> None:
    rows = run_rows()
    del rows["silver.track_segments"][1]
    replay = Replay(read_results(write_run(tmp_path, rows), CAMERA.camera_id), START_US, INTERVAL_US)
    assert [seen.class_name for seen in replay.at(1_500_000).objects] == ["car"]


def test_the_trail_ends_where_the_object_stands(replay: Replay) -> None:
    seen = person(replay.at(1_000_000))
    assert seen.trail[-1].tolist() == [60.0, 80.0]
    assert len(seen.trail) == len(seen.trail_age_us) == 11
    assert seen.trail_age_us.tolist() == list(range(1_000_000, -1, -INTERVAL_US))


def test_counts_run_with_the_clip(replay: Replay) -> None:
    assert replay.at(1_400_000).crossings[("gate", "east")] == Tally(0, None)
    assert replay.at(1_500_000).crossings[("gate", "east")].count == 1
    assert replay.at(2_900_000).crossings == {("gate", "east"): Tally(1, 1_450_000), ("gate", "west"): Tally(1, 1_000_000)}
    assert replay.at(500_000).tracks_so_far == {"person": 1}
    assert replay.at(1_000_000).tracks_so_far == {"car": 1, "person": 1}


def test_a_zone_is_occupied_from_entry_to_exit(replay: Replay) -> None:
    assert [replay.at(int(s * 1e6)).occupants["yard"] for s in (0.9, 1.0, 1.8, 1.9, 2.2, 2.6)] == [0, 1, 1, 0, 1, 0]


def test_an_alert_shows_for_a_while_and_stays_counted(replay: Replay) -> None:
    assert replay.at(900_000).alerting == {}
    assert replay.at(1_000_000).alerting == {"yard": "person"}
    assert replay.at(2_900_000).alerts_so_far == 3
    assert replay.at(3_900_000).alerting == {}


def test_busy_moments_are_where_most_objects_are(replay: Replay) -> None:
    first, second, third = replay.busy_moments(3)
    assert first < second < third
    assert len(replay.at(second).objects) == 2


def test_empty_tables_make_empty_moments(tmp_path: Path) -> None:
    replay = Replay(read_results(tmp_path, CAMERA.camera_id), START_US, INTERVAL_US)
    moment = replay.at(0)
    assert (moment.objects, moment.crossings, moment.occupants, moment.alerts_so_far) == ((), {}, {}, 0)
    assert len(replay.busy_moments(3)) == 3
