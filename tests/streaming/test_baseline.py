"""What is usual at an hour of the day: learned as days pass, and told when an hour is far away from it."""

from collections.abc import Iterable

import numpy as np
import pytest
from seen import CAR, PERSON, START_US, Camera, Seen, walk
from shards import Row, Shard, camera

from sightline_streaming.core.baseline import HOUR_US, deviation, learn
from sightline_streaming.core.kernel import Record, Records, kernel
from sightline_streaming.core.memory import HABIT

HOUR = 7
DAY_US = 24 * HOUR_US
# The first whole hour after the made-up cameras' start.
FIRST_US = (START_US // HOUR_US + 1) * HOUR_US
FPS = 0.5


@kernel
def learn_days(habits: Records, hour: int, days: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> None:
    for k in range(days.shape[0]):
        learn(habits[0], hour, days[k])


@kernel
def deviation_of(habits: Records, hour: int) -> float:
    return deviation(habits[0], hour)


def learned(days: Iterable[float]) -> Record:
    habits = np.zeros(1, HABIT)
    learn_days(habits, HOUR, np.array(list(days), np.float64))
    return habits


def test_the_baseline_is_the_mean_of_the_first_days() -> None:
    (habit,) = learned([100, 104, 96, 100])
    assert habit["level"][HOUR] == pytest.approx(100)
    assert habit["days"][HOUR] == 4
    assert not habit["level"][:HOUR].any()
    assert not habit["days"][HOUR + 1 :].any()


@pytest.mark.parametrize("seed", range(5))
def test_the_spread_of_a_noisy_hour_is_learned(seed: int) -> None:
    days = np.random.default_rng(seed).normal(400, 60, 120)
    habit = learned(days)
    assert habit["level"][0, HOUR] == pytest.approx(400, abs=60)
    assert deviation_of(habit, HOUR) == pytest.approx(60, rel=0.5)


def test_a_count_is_never_taken_for_steadier_than_chance_allows() -> None:
    assert deviation_of(learned([100] * 30), HOUR) == pytest.approx(10)
    assert deviation_of(learned([0] * 30), HOUR) == 1.0


def test_one_exceptional_day_hardly_moves_the_baseline() -> None:
    days = [100.0, 110, 90, 105, 95] * 4
    (before,), (after,) = learned(days), learned([*days, 2000])
    assert abs(after["level"][HOUR] - before["level"][HOUR]) < 5


def test_a_lasting_change_becomes_usual_within_weeks() -> None:
    (habit,) = learned([100.0] * 30 + [160.0] * 42)
    assert habit["level"][HOUR] == pytest.approx(160, rel=0.1)


def day_of_cars(day: int, cars: int, *, frames: int = 1800, extra: Iterable[Seen] = ()) -> list[bytes]:
    """One hour of a day: ``cars`` that each show up for ten seconds, one after another; ends its session."""
    start_us = FIRST_US + day * DAY_US
    every_s = 3600 / max(cars, 1)
    seen = [Seen(walk((k * every_s, 400, 400), (k * every_s + 10, 500, 400)), CAR) for k in range(cars)]
    one = Camera([*seen, *extra], fps=FPS, frames=25, session=start_us, start_us=start_us)
    last = frames // 25 - 1
    return [one.batch(seq, end=seq == last) for seq in range(last + 1)]


def anomalies(*days: list[bytes], **settings: float) -> list[Row]:
    shard = Shard(camera(), window_s=300, **settings)
    for day, messages in enumerate(days):
        shard.take(messages, arrived_us=FIRST_US + day * DAY_US + 2 * HOUR_US)
    return shard.of("anomaly")


USUAL = [day_of_cars(day, 40 + day % 3) for day in range(6)]


def test_an_hour_far_from_the_usual_is_told_with_what_was_expected() -> None:
    (row,) = anomalies(*USUAL, day_of_cars(6, 5))
    assert (row["class_id"], row["objects"], row["days"]) == (CAR, 5, 6)
    assert row["expected"] == pytest.approx(41, abs=1)
    assert row["deviation"] == pytest.approx(41**0.5, abs=0.5)
    assert (row["start_us"], row["end_us"]) == (FIRST_US + 6 * DAY_US, FIRST_US + 6 * DAY_US + HOUR_US)


def test_a_usual_hour_and_the_first_days_are_not_told() -> None:
    assert anomalies(*USUAL, day_of_cars(6, 45)) == []
    assert anomalies(*USUAL[:4], day_of_cars(4, 5)) == []


def test_a_class_that_is_missing_altogether_is_told() -> None:
    (row,) = anomalies(*USUAL, day_of_cars(6, 0))
    assert (row["class_id"], row["objects"]) == (CAR, 0)


def test_another_class_has_a_baseline_of_its_own() -> None:
    person = [Seen(walk((60, 900, 400), (70, 950, 400)), PERSON)]
    (row,) = anomalies(*USUAL, day_of_cars(6, 5, extra=person))
    assert row["class_id"] == CAR


def test_an_hour_of_a_blind_camera_is_neither_told_nor_learned() -> None:
    half = day_of_cars(6, 20, frames=900)
    (row,) = anomalies(*USUAL, half, day_of_cars(7, 5))
    assert (row["start_us"], row["days"]) == (FIRST_US + 7 * DAY_US, 6)


def test_what_is_usual_survives_calls_that_cut_anywhere() -> None:
    shard = Shard(camera(), window_s=300)
    for day, messages in enumerate([*USUAL, day_of_cars(6, 5)]):
        for first in range(0, len(messages), 17):
            shard.take(messages[first : first + 17], arrived_us=FIRST_US + day * DAY_US + 2 * HOUR_US)
    assert shard.of("anomaly")[0]["objects"] == 5
