"""Counting windows and health: what was seen, what should have been seen, and what came too late."""

from collections import defaultdict

import pytest
from seen import CAR, PERSON, START_US, Camera, Seen, walk
from shards import Row, Shard, camera

STANDING = walk((0, 400, 400), (1e6, 400, 400))


def by_window(rows: list[Row], class_id: int) -> dict[int, Row]:
    """Count rows of a class by the second at which their window begins."""
    found = {}
    for row in rows:
        if row["class_id"] == class_id:
            second = (row["window_start_us"] - START_US) // 1_000_000
            assert second not in found
            found[second] = row
    return found


def test_a_window_counts_tracks_new_tracks_detections_and_frames_of_every_configured_class() -> None:
    shard = Shard(camera(), window_s=10)
    seen = Camera([Seen(STANDING), Seen(walk((12, 800, 300), (18, 900, 300)), PERSON)])
    shard.take(seen.batches(range(30), end=True))
    cars, people = by_window(shard.of("count"), CAR), by_window(shard.of("count"), PERSON)
    assert sorted(cars) == sorted(people) == [0, 10, 20]
    assert [(row["objects"], row["new_objects"], row["detections"]) for row in cars.values()] == [
        (1, 1, 200), (1, 0, 200), (1, 0, 200),
    ]  # fmt: skip
    assert [row["objects"] for row in people.values()] == [0, 1, 0]
    assert [row["new_objects"] for row in people.values()] == [0, 1, 0]
    assert {row["frames_received"] for row in cars.values()} == {row["frames_expected"] for row in cars.values()} == {200}


def test_a_window_closes_when_its_cameras_time_has_passed_it_and_the_lateness() -> None:
    shard = Shard(camera(), window_s=10, allowed_lateness_s=5)
    seen = Camera([Seen(STANDING)])
    shard.take(seen.batches(range(15)))
    assert shard.of("count") == []
    shard.take(seen.batches([15]))
    assert set(by_window(shard.of("count"), CAR)) == {0}


def test_one_cameras_time_does_not_close_the_windows_of_another() -> None:
    shard = Shard(camera("cam-1"), camera("cam-2"), window_s=10)
    behind, ahead = Camera([Seen(STANDING)], "cam-1"), Camera([Seen(STANDING)], "cam-2")
    shard.take(behind.batches(range(5)) + ahead.batches(range(60)))
    shard.take(behind.batches(range(5, 60), end=True))
    windows = by_window([row for row in shard.of("count") if row["camera_id"] == "cam-1"], CAR)
    assert {row["frames_received"] for row in windows.values()} == {200}
    assert {row["late_rows"] for row in windows.values()} == {0}


def test_classes_and_scores_that_do_not_count_are_received_but_not_counted() -> None:
    shard = Shard(camera(classes=("car",), min_score=0.5), window_s=10)
    shard.take(
        Camera([Seen(STANDING, PERSON), Seen(walk((0, 900, 400), (99, 900, 400)), CAR, score=0.4)]).batches(range(10), end=True)
    )
    (row,) = shard.of("count")
    assert (row["class_id"], row["detections"]) == (CAR, 0)
    assert [row["detections"] for row in shard.of("health")] == [400]


def test_a_camera_without_configuration_counts_what_it_sees() -> None:
    shard = Shard(window_s=10)
    shard.take(Camera([Seen(STANDING, 17)]).batches(range(10), end=True))
    assert [(row["class_id"], row["objects"]) for row in shard.of("count")] == [(17, 1)]
    assert len({row["track_no"] for row in shard.of("segment")}) == 1


def test_a_window_of_an_unconfigured_camera_that_saw_nothing_still_has_a_row() -> None:
    shard = Shard(window_s=10)
    shard.take(Camera().batches(range(10), end=True))
    assert [(row["class_id"], row["frames_received"]) for row in shard.of("count")] == [(-1, 200)]


def test_a_gap_is_counted_as_expected_in_the_windows_it_covers() -> None:
    shard = Shard(camera(), window_s=10)
    seen = Camera([Seen(STANDING)])
    shard.take(seen.batches([*range(8), *range(35, 40)], end=True))
    windows = by_window(shard.of("count"), CAR)
    assert {second: row["frames_expected"] for second, row in windows.items()} == dict.fromkeys((0, 10, 20, 30), 200)
    assert {second: row["frames_received"] for second, row in windows.items()} == {0: 160, 10: 0, 20: 0, 30: 100}
    (health,) = shard.of("health")
    assert health["batches_missing"] == 27
    assert (health["frames_received"], health["frames_expected"]) == (260, 800)


def test_a_very_long_gap_gives_rows_for_its_last_windows_only() -> None:
    shard = Shard(camera(), window_s=1)
    seen = Camera([Seen(STANDING)])
    shard.take(seen.batches([0, 100_000], end=True), arrived_us=START_US + 200_000 * 1_000_000)
    windows = by_window(shard.of("count"), CAR)
    assert 1440 <= len(windows) <= 1443
    assert sum(row["frames_expected"] for row in shard.of("health")) == 20 * 100_001


def test_frames_that_were_not_analysed_are_expected() -> None:
    shard = Shard(camera(), window_s=10)
    shard.take(Camera([Seen(STANDING)], skipped=5).batches(range(20), end=True))
    assert [(row["frames_received"], row["frames_expected"]) for row in by_window(shard.of("count"), CAR).values()] == [
        (150, 200), (150, 200),
    ]  # fmt: skip


def test_a_duplicate_is_counted_and_dropped() -> None:
    shard = Shard(camera(), window_s=10)
    seen = Camera([Seen(STANDING)])
    shard.take(seen.batches([0, 1, 1, 2]))
    shard.take(seen.batches([1, 2, *range(3, 10)], end=True))
    assert sum(row["batches_duplicate"] for row in shard.of("health")) == 3
    assert sum(row["frames_received"] for row in shard.of("health")) == 200
    assert [row["detections"] for row in by_window(shard.of("count"), CAR).values()] == [200]


def test_a_late_message_is_counted_in_its_window_while_that_is_open_and_not_tracked() -> None:
    shard = Shard(camera(), window_s=10)
    seen = Camera([Seen(STANDING)])
    shard.take(seen.batches([0, 1, 3]))
    shard.take(seen.batches([2]))
    shard.take(seen.batches(range(4, 10), end=True))
    (row,) = by_window(shard.of("count"), CAR).values()
    assert (row["frames_received"], row["frames_expected"], row["detections"], row["late_rows"]) == (200, 200, 200, 20)
    assert sum(row["batches_missing"] for row in shard.of("health")) == 0
    assert sum(row["batches_late"] for row in shard.of("health")) == 1
    assert 2_500_000 not in {(row["start_us"] - START_US) for row in shard.of("segment")}


def test_messages_that_come_ten_minutes_late_in_any_order_are_received_once_each() -> None:
    shard, seen = Shard(camera()), Camera([Seen(STANDING)], fps=2, frames=2)
    late = [5, 64, 130, 6, 599]
    shard.take([seen.batch(seq) for seq in range(700) if seq not in late])
    shard.take(seen.batches([*late, 5, 64, 7]))
    totals = {name: sum(row[name] for row in shard.of("health")) for name in ("batches_late", "batches_duplicate")}
    assert totals == {"batches_late": 5, "batches_duplicate": 3}
    assert sum(row["frames_received"] for row in shard.of("health")) == 1400


def test_a_message_too_far_behind_to_be_remembered_counts_as_met_before() -> None:
    shard, seen = Shard(camera()), Camera(fps=1, frames=1)
    shard.take([seen.batch(seq) for seq in range(1100) if seq not in (40, 1000)])
    shard.take(seen.batches([40, 1000]))
    totals = {name: sum(row[name] for row in shard.of("health")) for name in ("batches_late", "batches_duplicate")}
    assert totals == {"batches_late": 1, "batches_duplicate": 1}


def test_a_message_later_than_its_window_is_counted_as_late_in_the_health_row_only() -> None:
    shard = Shard(camera(), window_s=5, allowed_lateness_s=2)
    seen = Camera([Seen(STANDING)])
    shard.take(seen.batches([0, 1, *range(3, 30)]))
    before = by_window(shard.of("count"), CAR)[0]
    (health,) = [row for row in shard.take(seen.batches([2])) if row["kind"] == "health"]
    assert before["frames_received"] == 80
    assert (health["batches_late"], health["late_rows"], health["frames_received"]) == (1, 20, 20)


def test_a_new_session_ends_tracks_and_windows_of_the_old_one() -> None:
    shard = Shard(camera(), window_s=60)
    shard.take(Camera([Seen(STANDING)]).batches(range(5)))
    later = Camera([Seen(STANDING)], session=START_US + 10_000_000, start_us=START_US + 10_000_000)
    shard.take(later.batches(range(5), end=True))
    counts = [row for row in shard.of("count") if row["class_id"] == CAR]
    assert [(row["session"], row["objects"], row["new_objects"]) for row in counts] == [
        (START_US, 1, 1), (START_US + 10_000_000, 1, 1),
    ]  # fmt: skip
    sessions = defaultdict(set)
    for row in shard.of("segment"):
        sessions[row["session"]].add(row["track_no"])
    assert {len(tracks) for tracks in sessions.values()} == {1}


def test_frames_lost_at_the_start_of_a_later_session_are_missed() -> None:
    shard = Shard(camera(), window_s=60)
    shard.take(Camera([Seen(STANDING)]).batches(range(5)))
    later = Camera([Seen(STANDING)], session=START_US + 10_000_000, start_us=START_US + 10_000_000)
    (health,) = [row for row in shard.take(later.batches([3])) if row["kind"] == "health"]
    assert (health["batches_missing"], health["frames_expected"], health["frames_received"]) == (3, 80, 20)


def test_the_first_session_met_counts_from_its_first_message() -> None:
    shard = Shard(camera())
    (health,) = shard.take(Camera().batches([1000]))
    assert (health["batches_missing"], health["frames_expected"]) == (0, 20)


def test_messages_of_an_older_session_are_late_and_keep_their_session() -> None:
    shard = Shard(camera())
    shard.take(Camera(session=START_US + 5).batches([0]))
    (health,) = shard.take(Camera([Seen(STANDING)], session=START_US).batches([7]))
    assert (health["session"], health["batches_late"], health["late_rows"]) == (START_US, 1, 20)


def test_a_clock_that_steps_back_makes_late_frames_and_no_false_tracks() -> None:
    shard = Shard(camera(), window_s=10)
    shard.take(Camera([Seen(STANDING)]).batches(range(5)))
    stepped = Camera([Seen(STANDING)], start_us=START_US - 4_000_000)
    (health,) = [row for row in shard.take(stepped.batches(range(5, 10))) if row["kind"] == "health"]
    assert health["late_rows"] == pytest.approx(80, abs=20)
    assert len({row["track_no"] for row in shard.of("segment")}) == 1
    assert sum(row["frames_received"] for row in shard.of("health")) == 200


def test_segments_are_split_at_windows_and_name_the_model_behind_them() -> None:
    shard = Shard(camera(), window_s=10)
    old, new = Camera([Seen(STANDING)]), Camera([Seen(STANDING)], model_version="2")
    shard.take(old.batches(range(15)) + new.batches(range(15, 20), end=True))
    segments = shard.of("segment")
    assert [((row["window_start_us"] - START_US) // 1_000_000, row["model_version"]) for row in segments] == [
        (0, "1"), (10, "1"), (10, "2"),
    ]  # fmt: skip
    assert [row["observations"] for row in segments] == [200, 100, 100]
    assert [row["first_segment"] for row in segments] == [True, False, False]
    assert all(row["start_us"] <= row["end_us"] for row in segments)


def test_health_tells_how_far_a_nodes_clock_is_behind() -> None:
    shard = Shard(camera())
    seen = Camera([Seen(STANDING)])
    shard.take(seen.batches(range(3)), arrived_us=START_US + 303_000_000)
    shard.take([seen.batch(3)], arrived_us=START_US + 304_000_000)
    # The last of each second's twenty frames is 50 ms before its end.
    assert [row["lag_us"] for row in shard.of("health")] == [300_050_000, 300_050_000]
