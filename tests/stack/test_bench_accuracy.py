"""The oracle: what the core and the real jobs count of a simulated city, judged by the truth."""

import json
from pathlib import Path

import numpy as np
import pytest

from sightline.bench.accuracy import Choice, bench_accuracy
from sightline.bench.accuracy_core import run_core
from sightline.bench.accuracy_facts import Known, logged_facts, true_facts
from sightline.bench.accuracy_judge import Verdict, judge, match
from sightline.simulate.city import City, Truth, city_plans
from sightline.simulate.faults import ALL_FAULTS, Fault

START_US = 1_760_000_040_000_000 // 60_000_000 * 60_000_000


def through_core(cameras: int, seconds: int, **words: str) -> tuple[Truth, Known, int, Known]:
    city = City(city_plans(cameras, **words), seconds, 4, START_US)
    counted = logged_facts(run_core(city), {config.camera_id: "forward" for config in city.configs})
    true, unseen = true_facts(city.truth())
    return city.truth(), true, unseen, counted


def verdict_of(cameras: int, seconds: int, **words: str) -> Verdict:
    return judge(*through_core(cameras, seconds, **words))


def test_a_light_minute_on_walkways_and_shelves_is_counted_right() -> None:
    for scene in ("walkway", "shelf"):
        verdict = verdict_of(4, 120, traffic="light", faults="none", scene=scene)
        (total,) = (group for group in verdict.groups if group.name == "all, light")
        assert total.true >= 8
        assert total.missed + total.false <= 1
        assert total.worst_over <= 1


@pytest.mark.parametrize("fault", ALL_FAULTS)
def test_detections_and_frames_are_exact_whatever_is_wrong_with_the_cameras(fault) -> None:
    verdict = verdict_of(3, 900 if fault in (Fault.TOO_LATE, Fault.RESTART, Fault.ENDS) else 120, faults=fault)
    assert verdict.sent["detections"] > 0
    assert verdict.counted == verdict.sent
    assert set(verdict.wrong_cameras.values()) == {0}


def test_the_oracle_sees_a_crossing_too_many_one_too_few_and_a_lost_detection() -> None:
    truth, true, unseen, counted = through_core(2, 120, traffic="light", faults="none", scene="walkway")
    before = judge(truth, true, unseen, counted)
    first = counted.crossings.iloc[:1]
    counted.crossings.drop(index=first.index, inplace=True)
    assert judge(truth, true, unseen, counted).groups[-1].missed == before.groups[-1].missed + 1
    counted.counts.loc[counted.counts.index[counted.counts["detections"] > 0][:1], "detections"] -= 1
    assert judge(truth, true, unseen, counted).wrong_cameras["detections in windows"] == 1


def test_times_are_paired_nearest_first_and_each_once() -> None:
    a, b = np.array([0, 100, 1000]), np.array([90, 105, 5000])
    assert sorted(map(tuple, match(a, b, 150).tolist())) == [(0, 0), (1, 1)]


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.kafka
def test_the_real_jobs_count_a_simulated_minute_to_the_last_detection(tmp_path: Path, jars) -> None:
    path = tmp_path / "accuracy.json"
    verdict = bench_accuracy(Choice(cameras=3, minutes=1, traffic="light", faults="none"), path, tmp_path / "work")
    assert verdict.counted == verdict.sent
    assert verdict.sent["detections"] > 100
    (total,) = (group for group in verdict.groups if group.name == "all, light")
    assert total.true >= 5
    assert total.missed + total.false <= 2
    assert json.loads(path.read_text())["run"]["through"] == "jobs"
