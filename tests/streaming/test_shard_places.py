"""Lines and zones: every passage counts once, and standing on the line or the border is none."""

import math

import numpy as np
import pytest
from seen import START_US, Camera, Path, Seen, walk
from shards import Row, Shard, camera

from sightline_contract.camera import Line, Zone

# Walked to the right, so forward is from above to below on the picture.
LINE = Line(name="gate", start=(200, 360), end=(1000, 360), forward="in", backward="out")
ZONE = Zone(name="yard", polygon=((500, 200), (900, 200), (900, 600), (500, 600)))


def rows_of(path: Path, kind: str, **settings: object) -> list[Row]:
    """What a camera with the line and the zone says of one object on a path, 30 s long."""
    shard = Shard(camera(lines=(LINE,), zones=(ZONE,)))
    seen = Camera([Seen(path)], **settings)  # type: ignore[arg-type]
    shard.take(seen.batches(range(round(30 * seen.fps / seen.frames)), end=True))
    return shard.of(kind)


def crossings(path: Path, **settings: object) -> list[Row]:
    return sorted(rows_of(path, "crossing", **settings), key=lambda row: row["start_us"])


def test_from_above_to_below_a_line_that_runs_to_the_right_is_forward_where_and_when_it_was_cut() -> None:
    (row,) = crossings(walk((0, 400, 160), (10, 500, 560)))
    assert (row["place"], row["direction"]) == ("gate", "in")
    assert row["start_us"] == pytest.approx(START_US + 5_000_000, abs=60_000)
    assert (row["x"], row["y"]) == (pytest.approx(450, abs=2), pytest.approx(360, abs=0.5))


def test_from_below_to_above_is_backward() -> None:
    assert [row["direction"] for row in crossings(walk((0, 400, 560), (10, 400, 160)))] == ["out"]


def test_passing_beyond_the_ends_of_the_line_is_no_crossing() -> None:
    assert crossings(walk((0, 100, 160), (10, 100, 560))) == []


def test_a_u_turn_over_the_line_counts_once_in_each_direction() -> None:
    rows = crossings(walk((0, 400, 160), (10, 400, 560), (20, 400, 160)))
    assert [row["direction"] for row in rows] == ["in", "out"]


def test_going_to_and_fro_counts_once_in_each_direction() -> None:
    rows = crossings(walk((0, 400, 260), (5, 400, 460), (10, 400, 260), (15, 400, 460), (20, 400, 260)))
    assert [row["direction"] for row in rows] == ["in", "out"]


def test_standing_and_jittering_on_the_line_before_going_on_counts_once() -> None:
    way = walk((0, 400, 160), (5, 400, 360), (20, 400, 360), (25, 400, 560))

    def path(t: float) -> tuple[float, float] | None:
        at = way(t)
        return None if at is None else (at[0], at[1] + (4 * math.sin(37 * t) if 5 < t < 20 else 0))

    (row,) = crossings(path)
    assert row["direction"] == "in"


@pytest.mark.parametrize("seed", range(4))
def test_a_long_car_that_waits_on_an_upright_line_and_jitters_with_its_length_counts_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    upright = Line(name="gate", start=(640, 700), end=(640, 20), forward="in", backward="out")
    way = walk((0, 300, 400), (5, 640, 400), (25, 640, 400), (29, 1000, 400))
    offsets = rng.normal(0.0, 6.0, 10_000)

    def path(t: float) -> tuple[float, float] | None:
        at = way(t)
        return None if at is None else (at[0] + offsets[round(20 * t)], at[1])

    shard = Shard(camera(lines=(upright,)))
    shard.take(Camera([Seen(path, width=200, height=80)]).batches(range(30), end=True))
    (row,) = shard.of("crossing")
    assert row["direction"] == "in"


def test_standing_and_jittering_on_the_line_and_turning_back_counts_nothing() -> None:
    way = walk((0, 400, 160), (5, 400, 358), (20, 400, 358), (25, 400, 160))

    def path(t: float) -> tuple[float, float] | None:
        at = way(t)
        return None if at is None else (at[0], at[1] + 4 * math.sin(37 * t))

    assert crossings(path) == []


def test_an_object_that_crosses_between_two_frames_counts() -> None:
    rows = crossings(walk((0, 400, 100), (6, 400, 700)), fps=2.0, frames=2)
    assert [row["direction"] for row in rows] == ["in"]


def test_lines_are_scaled_to_the_size_of_the_frames() -> None:
    (row,) = crossings(walk((0, 400, 160), (10, 500, 560)), size=(640, 360))
    assert (row["x"], row["y"]) == (pytest.approx(225, abs=1), pytest.approx(180, abs=0.5))


def test_a_crossing_is_not_told_twice_when_it_falls_between_two_calls() -> None:
    shard = Shard(camera(lines=(LINE,)))
    seen = Camera([Seen(walk((0, 400, 160), (10, 500, 560)))], frames=1)
    for seq in range(200):
        shard.take([seen.batch(seq)])
    assert [row["direction"] for row in shard.of("crossing")] == ["in"]


def test_a_stay_lasts_from_entry_to_exit() -> None:
    (row,) = rows_of(walk((0, 300, 400), (10, 1100, 400)), "visit")
    assert row["place"] == "yard"
    assert row["start_us"] == pytest.approx(START_US + 2_500_000, abs=120_000)
    assert row["end_us"] == pytest.approx(START_US + 7_500_000, abs=120_000)


def test_a_track_that_ends_inside_ends_its_stay_with_its_last_box() -> None:
    (row,) = rows_of(walk((0, 300, 400), (5, 700, 400)), "visit")
    assert row["end_us"] == pytest.approx(START_US + 5_000_000, abs=60_000)


def test_jitter_on_the_border_makes_one_stay() -> None:
    way = walk((0, 300, 400), (4, 500, 400), (16, 500, 400), (20, 300, 400))

    def path(t: float) -> tuple[float, float] | None:
        at = way(t)
        return None if at is None else (at[0] + 5 * math.sin(31 * t), at[1])

    assert len(rows_of(path, "visit")) == 1


def test_two_stays_are_two_visits() -> None:
    rows = rows_of(walk((0, 300, 400), (4, 700, 400), (8, 300, 400), (12, 300, 400), (16, 700, 400), (20, 300, 400)), "visit")
    assert len(rows) == 2
    assert rows[0]["end_us"] < rows[1]["start_us"]


def test_many_objects_at_random_cross_as_often_as_their_paths_do() -> None:
    rng = np.random.default_rng(7)
    walks, forward, backward = [], 0, 0
    for lane in range(8):
        x, down = 150.0 + 130 * lane, bool(rng.integers(2))
        ends = (120.0, 640.0) if down else (640.0, 120.0)
        walks.append(Seen(walk((0.5 * lane, x, ends[0]), (10 + lane, x, ends[1]))))
        inside = 200 <= x < 1000
        forward += inside and down
        backward += inside and not down
    shard = Shard(camera(lines=(LINE,)))
    shard.take(Camera(walks).batches(range(30), end=True))
    directions = [row["direction"] for row in shard.of("crossing")]
    assert (directions.count("in"), directions.count("out")) == (forward, backward)
