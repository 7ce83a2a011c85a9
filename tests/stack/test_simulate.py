"""The simulator: bytes by seed, truth of worlds that can be checked by hand, faults that are counted exactly."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sightline.cli import app
from sightline.simulate.camera import Plan, SimulatedCamera
from sightline.simulate.city import City, city_plans
from sightline.simulate.faults import ALL_FAULTS, Fault
from sightline.simulate.kernel import Records
from sightline.simulate.layouts import Traffic, walkway_across
from sightline.simulate.objects import OBJECT, PERSON
from sightline.simulate.truth import CROSSING, EVENT, OBJECT_ROW, VISIT, Kind
from sightline_contract.batch import get_frames, parse_batch
from sightline_contract.camera import load_cameras
from sightline_contract.errors import ConfigError

START_US = 1_760_000_040_000_000


class Comers:
    """People by hand: (when, [(x, y, speed on the way there, wait), ...]), from the first stop on."""

    def __init__(self, *people: tuple[float, Sequence[tuple[float, float, float, float]]]) -> None:
        self._people = [_person(born_s, stops) for born_s, stops in people]

    def between(self, from_s: float, to_s: float) -> list[Records]:
        return [each for each in self._people if from_s <= each["born_s"] < to_s]


def _person(born_s: float, stops: Sequence[tuple[float, float, float, float]]) -> Records:
    made = np.zeros((), OBJECT)
    made["class_id"], made["length"], made["width"], made["height"] = PERSON
    made["born_s"], made["lane"], made["brake"] = born_s, -1, 2.0
    made["x"], made["y"] = stops[0][:2]
    made["speed"] = made["wanted"] = stops[1][2]
    made["plan"][: len(stops) - 1], made["n_plan"] = stops[1:], len(stops) - 1
    return made


def rows_of(comers: Comers, seconds: int = 40, fault: Fault = Fault.NONE) -> Records:
    """Truth of a walkway at 10 frames/s, whose line runs away from the camera at x = 0 and whose pavement begins at y = 7.5."""
    plan = Plan("by-hand", walkway_across(), Traffic.LIGHT, 10, fault)
    camera = SimulatedCamera(0, plan, seconds, START_US, 1, comers)
    for second in range(0, seconds, 10):
        camera.advance(second, min(10, seconds - second))
    camera.end()
    return np.concatenate(camera.rows)


def of(rows: Records, kind: int) -> Records:
    return rows[rows["kind"] == kind]


def digest(seed: int) -> str:
    city = City(city_plans(14, faults="all"), 20, seed, START_US)
    hashed = hashlib.sha256()
    for message in city.messages():
        hashed.update(message.payload)
    return hashed.hexdigest() + city.truth().rows.tobytes().hex()


def test_the_same_seed_gives_the_same_bytes_and_truth_and_another_seed_does_not() -> None:
    assert digest(5) == digest(5)
    assert digest(5) != digest(6)


def test_who_walks_over_the_line_at_a_metre_a_second_crosses_it_after_as_many_seconds_as_metres() -> None:
    rows = rows_of(Comers((2.0, [(-6.0, 10.0, 1.0, 0.0), (6.0, 10.0, 1.0, 0.0)])))
    crossings = of(rows, CROSSING)
    assert [(c["what"], bool(c["sound"])) for c in crossings] == [(1, True)]
    assert crossings[0]["start_us"] == pytest.approx(START_US + 8_000_000, abs=60_000)
    assert len(of(rows, OBJECT_ROW)) == 1


def test_who_turns_round_within_a_tenth_of_its_width_has_not_crossed_and_who_goes_further_crossed_both_ways() -> None:
    near = rows_of(Comers((0.0, [(-5.0, 10.0, 1.0, 0.0), (0.04, 10.0, 1.0, 0.5), (-6.0, 10.0, 1.0, 0.0)])))
    far = rows_of(Comers((0.0, [(-5.0, 10.0, 1.0, 0.0), (0.6, 10.0, 1.0, 0.5), (-6.0, 10.0, 1.0, 0.0)])))
    assert len(of(near, CROSSING)) == 0
    assert sorted(of(far, CROSSING)["what"]) == [0, 1]


def test_a_stay_in_a_zone_lasts_as_long_as_the_way_through_it_and_the_wait() -> None:
    # The pavement is 8 to 11 m wide; at y = 11 from about -4.76 to 4.76.
    (visit,) = of(rows_of(Comers((0.0, [(-7.0, 11.0, 1.0, 0.0), (0.0, 11.0, 1.0, 6.0), (7.0, 11.0, 1.0, 0.0)]))), VISIT)
    assert (visit["end_us"] - visit["start_us"]) / 1e6 == pytest.approx(2 * 4.76 + 6.0, abs=1.2)


def test_who_stands_in_the_yard_is_told_once() -> None:
    events = of(rows_of(Comers((0.0, [(-7.0, 17.0, 1.0, 0.0), (0.0, 17.0, 1.0, 6.0), (7.0, 17.0, 1.0, 0.0)]))), EVENT)
    assert [event["what"] for event in events] == [Kind.RESTRICTED]


def test_who_walks_hidden_behind_another_all_the_way_is_not_visible() -> None:
    way = [(-5.0, 10.0, 1.0, 0.0), (5.0, 10.0, 1.0, 0.0)]
    behind = [(-5.0, 10.4, 1.0, 0.0), (5.0, 10.4, 1.0, 0.0)]
    objects = of(rows_of(Comers((0.0, way), (0.0, behind))), OBJECT_ROW)
    assert len(objects) == 1


def test_what_a_tally_says_is_what_the_messages_hold() -> None:
    city = City(city_plans(4, faults="none"), 20, 3, START_US)
    frames = [get_frames(parse_batch(message.payload)) for message in city.messages()]
    tallies = [tally for tallies in city.truth().tallies for tally in tallies]
    assert sum(tally.detections for tally in tallies) == sum(len(f.scores) for f in frames) > 0
    assert sum(tally.frames_sent for tally in tallies) == sum(len(f.counts) for f in frames) > 0


def test_messages_arrive_in_order_of_time_and_one_camera_s_session_ends_once() -> None:
    city = City(city_plans(3, faults="none"), 12, 3, START_US)
    messages = list(city.messages())
    assert [m.arrives_us for m in messages] == sorted(m.arrives_us for m in messages)
    assert sum(parse_batch(m.payload).end_of_session for m in messages) == 3


@pytest.mark.parametrize("fault", ALL_FAULTS)
def test_a_fault_is_drawn_from_the_seed_too(fault: Fault) -> None:
    plans = city_plans(1, faults=fault)
    one, other = ([m.payload for m in City(plans, 20, 9, START_US).messages()] for _ in range(2))
    assert one == other


def test_the_command_writes_camera_files_messages_and_truth(tmp_path) -> None:
    words = ["simulate", "--out", str(tmp_path), "--cameras", "2", "--minutes", "0.5", "--start", "1760000040"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert len(load_cameras(tmp_path / "cameras")) == 2
    messages = pq.read_table(tmp_path / "messages.parquet")
    assert len(messages) == 60
    assert parse_batch(messages["value"][0].as_py()).captured_us == START_US
    assert {"objects.parquet", "crossings.parquet", "truth.json"} <= {path.name for path in (tmp_path / "truth").iterdir()}


@pytest.mark.parametrize("words", [{"scene": "moon"}, {"traffic": "mad"}, {"faults": "fire"}, {"frame_rate": 7}])
def test_a_word_that_is_not_known_is_told_in_one_line(words) -> None:
    with pytest.raises(ConfigError, match=r"is not one of|give none"):
        city_plans(2, **words)
