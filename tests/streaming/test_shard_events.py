"""Zone rules: an event for each episode, once, with its evidence; none just below a rule's limit."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seen import CAR, PERSON, START_US, Camera, Path, Seen, walk
from shards import Row, Shard, camera

from sightline_contract.camera import Zone
from sightline_contract.rules import (
    AccidentRule,
    CongestionRule,
    RestrictedRule,
    Rule,
    SpeedingRule,
    StoppedRule,
    WrongWayRule,
)

# 60 x 80 px boxes: a size is 70 px. 0.05 m a pixel: 100 px/s are 18 km/h.
AREA = ((100, 100), (1180, 100), (1180, 700), (100, 700))
SCALE = 0.05


def told(rule: Rule, *objects: Seen, seconds: int = 40, calls: int = 7, **more: object) -> list[Row]:
    """Events of a camera with one rule; the stream is taken in several calls."""
    shard = Shard(camera(zones=(Zone(name="road", polygon=AREA, rules=(rule,)),), metres_per_pixel=SCALE))
    seen = Camera(objects, **more)  # type: ignore[arg-type]
    batches = seen.batches(range(round(seconds * seen.fps / seen.frames)), end=True)
    for begin in range(0, len(batches), calls):
        shard.take(batches[begin : begin + calls], first_offset=begin)
    return shard.of("event")


def at(row: Row, name: str = "start_us") -> float:
    """Seconds since the start of the stream."""
    return float(row[name] - START_US) / 1e6


def jittering(path: Path, seed: int = 1, sd_px: float = 2.0) -> Path:
    rng = np.random.default_rng(seed)

    def path_with_jitter(t: float) -> tuple[float, float] | None:
        place = path(t)
        return None if place is None else (place[0] + rng.normal(0, sd_px), place[1] + rng.normal(0, sd_px))

    return path_with_jitter


STOPPED = StoppedRule(kind="stopped", after_s=10)


def stop(stand_s: float) -> Path:
    return walk((0, 150, 400), (5, 600, 400), (5 + stand_s, 600, 400), (10 + stand_s, 1050, 400))


def test_a_vehicle_that_stands_is_told_once_with_its_boxes_and_the_rule() -> None:
    (row,) = told(STOPPED, Seen(jittering(stop(25))))
    assert (row["event_kind"], row["place"], row["rule"], row["class_id"]) == ("stopped_vehicle", "road", "stopped", CAR)
    assert at(row) == pytest.approx(5, abs=0.7)
    assert at(row, "end_us") - at(row) == pytest.approx(10, abs=0.1)
    assert (row["rule_limit"], row["unit"]) == (10, "s")
    assert row["value"] == pytest.approx(10, abs=0.1)
    evidence = json.loads(row["evidence"])
    assert evidence["rule"]["after_s"] == 10
    (track,) = evidence["tracks"]
    assert track["track_id"] == f"cam-1/{START_US}/{row['track_no']}"
    assert track["times_us"][-1] == row["end_us"]
    assert track["times_us"] == sorted(track["times_us"])
    assert np.array(track["boxes"]) == pytest.approx(np.array([[570, 320, 630, 400]] * len(track["boxes"])), abs=9)


def test_a_stand_just_below_the_limit_is_none() -> None:
    assert told(STOPPED, Seen(stop(8.5))) == []


def test_a_vehicle_that_creeps_does_not_stand() -> None:
    assert told(STOPPED, Seen(walk((0, 150, 400), (40, 450, 400)))) == []


def test_two_stands_are_two_events() -> None:
    path = walk((0, 150, 400), (4, 500, 400), (16, 500, 400), (20, 900, 400), (34, 900, 400), (36, 1100, 400))
    assert [at(row) for row in told(STOPPED, Seen(path))] == pytest.approx([4, 20], abs=0.7)


def test_another_class_does_not_break_the_rule() -> None:
    assert told(STOPPED, Seen(stop(25), PERSON)) == []


def test_standing_outside_of_the_zone_is_none() -> None:
    assert told(STOPPED, Seen(walk((0, 600, 400), (2, 600, 90), (30, 600, 90)))) == []


def test_a_vehicle_told_and_lost_from_sight_is_not_told_again_when_it_is_found_as_another_track() -> None:
    path = stop(35)
    rows = told(STOPPED, Seen(lambda t: None if 20 < t < 26 else path(t)), seconds=45)
    assert len(rows) == 1


WRONG = WrongWayRule(kind="wrong_way", heading=(1, 0))


def test_going_against_the_heading_is_told_once_with_the_way_gone() -> None:
    (row,) = told(WRONG, Seen(jittering(walk((0, 1100, 400), (10, 200, 400)))))
    assert (row["event_kind"], row["unit"], row["rule_limit"]) == ("wrong_way", "sizes", 2)
    assert 2 <= row["value"] < 3
    assert at(row) < 0.5
    assert at(row, "end_us") == pytest.approx(2 * 70 / 90, abs=0.7)


@pytest.mark.parametrize("degrees", [0, 60, 110, -110])
def test_going_with_the_heading_or_across_it_is_not_told(degrees: float) -> None:
    dx, dy = 250 * math.cos(math.radians(degrees)), 250 * math.sin(math.radians(degrees))
    assert told(WRONG, Seen(walk((0, 600, 400), (10, 600 + dx, 400 + dy)))) == []


def test_rolling_back_a_little_is_not_told() -> None:
    assert told(WRONG, Seen(walk((0, 300, 400), (4, 700, 400), (6, 600, 400), (9, 1000, 400)))) == []


def test_a_u_turn_and_back_and_another_are_two_events() -> None:
    path = walk((0, 300, 400), (4, 800, 400), (8, 400, 400), (12, 800, 400), (16, 400, 400))
    assert len(told(WRONG, Seen(path))) == 2


RESTRICTED = RestrictedRule(kind="restricted", after_s=0.5)
INTO = walk((0, 600, 20), (2, 600, 200), (6, 600, 200), (8, 600, 20))


def test_a_person_in_a_red_zone_is_told_once_with_the_entry() -> None:
    (row,) = told(RESTRICTED, Seen(jittering(INTO, sd_px=1), PERSON))
    assert (row["event_kind"], row["unit"]) == ("restricted_zone", "s")
    assert at(row) == pytest.approx(0.9, abs=0.2)
    assert at(row, "end_us") == pytest.approx(1.4, abs=0.2)


def test_stepping_in_for_less_than_the_limit_is_none() -> None:
    assert told(RestrictedRule(kind="restricted", after_s=6.5), Seen(INTO, PERSON)) == []


def test_coming_back_after_a_while_is_a_second_event_and_at_once_is_none() -> None:
    def path(away_s: float) -> Path:
        return walk(
            (0, 600, 20), (1, 600, 200), (4, 600, 200), (5, 600, 20), (5 + away_s, 600, 20),
            (6 + away_s, 600, 200), (9 + away_s, 600, 200),
        )  # fmt: skip

    assert len(told(RESTRICTED, Seen(path(8), PERSON))) == 2
    assert len(told(RESTRICTED, Seen(path(1), PERSON))) == 1


@pytest.mark.parametrize(("hours", "events"), [("08:53-08:55", 1), ("00:00-08:54", 0), ("23:00-08:55", 1), ("23:00-08:53", 0)])
def test_hours_are_those_of_the_event_in_utc(hours: str, events: int) -> None:
    # The stream starts at 08:54:00.
    rule = RestrictedRule(kind="restricted", hours=hours)
    assert len(told(rule, Seen(INTO, PERSON))) == events


SPEEDING = SpeedingRule(kind="speeding", limit_km_h=50, tolerance_km_h=5)


def race(km_h: float, y: float = 400) -> Path:
    px_s = km_h / 3.6 / SCALE
    return walk((0, 110, y), (1000 / px_s, 1110, y))


def test_a_fast_vehicle_is_told_once_with_its_speed() -> None:
    (row,) = told(SPEEDING, Seen(jittering(race(72), sd_px=1)))
    assert (row["event_kind"], row["unit"], row["rule_limit"]) == ("speeding", "km/h", 50)
    assert row["value"] == pytest.approx(72, rel=0.05)


def test_within_the_tolerance_is_not_told() -> None:
    assert told(SPEEDING, Seen(jittering(race(53.5), sd_px=1))) == []


def test_one_track_that_jumps_to_a_neighbour_is_not_fast() -> None:
    slow = walk((0, 300, 400), (12, 700, 400))

    def path(t: float) -> tuple[float, float] | None:
        place = slow(t)
        return None if place is None else (place[0] + (40 if t > 5 else 0), place[1])

    assert told(SpeedingRule(kind="speeding", limit_km_h=9, tolerance_km_h=0), Seen(path)) == []


JAM = CongestionRule(kind="congestion", min_objects=5, below_km_h=10, for_s=10)


def queue(n: int, px_s: float, *, until: float = 30.0) -> list[Seen]:
    return [Seen(walk((0, 120 + 90 * k, 300), (until, 120 + 90 * k + px_s * until, 300))) for k in range(n)]


def test_many_slow_vehicles_are_one_congestion_with_all_of_them() -> None:
    (row,) = told(JAM, *queue(6, 12))
    assert (row["event_kind"], row["unit"], row["rule_limit"]) == ("congestion", "km/h", 10)
    assert row["value"] == pytest.approx(12 * SCALE * 3.6, abs=0.4)
    assert at(row) < 1.5
    assert at(row, "end_us") - at(row) == pytest.approx(10, abs=0.1)
    assert len(json.loads(row["evidence"])["tracks"]) == 6


def test_few_slow_or_many_fast_vehicles_or_a_short_wait_are_no_congestion() -> None:
    assert told(JAM, *queue(4, 12)) == []
    assert told(JAM, *queue(6, 70, until=9)) == []
    assert told(JAM, *queue(6, 12, until=10)) == []


def test_without_a_scale_speeds_are_in_sizes() -> None:
    rule = CongestionRule(kind="congestion", min_objects=5, below_sizes_s=0.3, for_s=10)
    (row,) = told(rule, *queue(6, 12))
    assert row["unit"] == "sizes/s"
    assert row["value"] == pytest.approx(12 / 70, rel=0.1)
    assert told(rule, *queue(6, 24, until=25)) == []


def test_a_change_of_tracks_within_a_congestion_begins_no_other() -> None:
    def blink(thing: Seen, k: int) -> Seen:
        return Seen(lambda t: None if 3 * k + 6 < t < 3 * k + 8.5 else thing.path(t))

    rows = told(JAM, *[blink(thing, k) for k, thing in enumerate(queue(7, 8, until=39))])
    assert len(rows) == 1


CRASH = AccidentRule(kind="accident", from_km_h=25, within_s=2, stay_s=5)


def crash(v_px_s: float = 220, *, brake_s: float = 0.05, stand_s: float = 15.0) -> Path:
    """To (700, 400), where it stops within ``brake_s``."""
    way = v_px_s * brake_s / 2
    start = max(700 - way - 2.5 * v_px_s, 110)
    t = (700 - way - start) / v_px_s
    braking = [(t + brake_s * f, 700 - way * (1 - f) ** 2, 400.0) for f in np.linspace(0.1, 1, 10).tolist()]
    return walk((0, start, 400), (t, 700 - way, 400), *braking, (t + brake_s + stand_s, 700, 400))


PARKED = Seen(walk((0, 765, 400), (30, 765, 400)))


def test_a_sudden_stop_beside_another_vehicle_where_both_stay_is_a_possible_accident() -> None:
    (row,) = told(CRASH, Seen(jittering(crash())), PARKED)
    assert (row["event_kind"], row["unit"], row["rule_limit"]) == ("possible_accident", "km/h", 25)
    assert row["value"] == pytest.approx(220 * SCALE * 3.6, rel=0.1)
    assert at(row) == pytest.approx(3.0, abs=1.0)
    assert at(row, "end_us") == pytest.approx(8.5, abs=1.0)
    assert len(json.loads(row["evidence"])["tracks"]) == 2


def test_two_that_run_into_each_other_are_one_possible_accident() -> None:
    other = walk((0, 1180, 400), (2.5, 755, 400), (20, 755, 400))
    assert len(told(CRASH, Seen(crash()), Seen(other))) == 1


def test_braking_gently_stopping_alone_or_driving_on_is_no_accident() -> None:
    assert told(CRASH, Seen(crash(brake_s=4.0)), PARKED) == []
    assert told(CRASH, Seen(crash())) == []
    assert told(CRASH, Seen(crash(stand_s=3)), PARKED) == []


def test_a_crash_slower_than_the_rule_asks_for_is_not_told() -> None:
    assert told(CRASH, Seen(crash(120)), PARKED) == []


RULES = (STOPPED, WRONG, RESTRICTED, SPEEDING, JAM, CRASH)
EVERYTHING = [
    *queue(6, 5, until=38),
    Seen(stop(18)),
    Seen(walk((0, 1100, 500), (10, 200, 500))),
    Seen(INTO, PERSON),
    Seen(race(80, 650), width=120),
    Seen(crash()),
    PARKED,
]


def stream() -> tuple[Shard, list[bytes]]:
    shard = Shard(camera(zones=(Zone(name="road", polygon=AREA, rules=RULES),), metres_per_pixel=SCALE))
    return shard, Camera(EVERYTHING, fps=10, frames=5).batches(range(80), end=True)


def events_of(shard: Shard) -> list[Row]:
    rows = [{name: value for name, value in row.items() if name != "arrived_us"} for row in shard.of("event")]
    return sorted(rows, key=lambda row: (row["start_us"], row["track_no"], row["rule"]))


def whole() -> list[Row]:
    shard, batches = stream()
    shard.take(batches)
    return events_of(shard)


WHOLE = whole()


def test_the_stream_that_is_cut_has_events_of_every_kind() -> None:
    assert {row["rule"] for row in WHOLE} == {rule.kind for rule in RULES}


@settings(max_examples=20)
@given(st.sets(st.integers(1, 79), max_size=10))
def test_events_are_the_same_however_the_stream_is_cut(cuts: set[int]) -> None:
    shard, batches = stream()
    for begin, end in pairwise([0, *sorted(cuts), 80]):
        shard.take(batches[begin:end], first_offset=begin)
    assert events_of(shard) == WHOLE


def test_rules_that_changed_since_are_watched_from_now_on() -> None:
    before, batches = stream()
    before.take(batches[:40])
    after = Shard(camera(zones=(Zone(name="road", polygon=AREA, rules=RULES[:1]),), metres_per_pixel=SCALE))
    after.state = before.state
    after.take(batches[40:])
    assert {row["rule"] for row in after.of("event")} == {"stopped"}


def test_the_second_rule_of_a_kind_in_a_zone_has_a_name_of_its_own() -> None:
    rules = (STOPPED, StoppedRule(kind="stopped", after_s=15))
    shard = Shard(camera(zones=(Zone(name="road", polygon=AREA, rules=rules),)))
    shard.take(Camera([Seen(stop(20))]).batches(range(30), end=True))
    assert [row["rule"] for row in shard.of("event")] == ["stopped", "stopped.2"]
