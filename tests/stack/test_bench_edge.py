"""The edge's benchmark: how it judges, and small runs of the real thing."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sightline.bench.edge import bench_outage
from sightline.bench.edge_figures import growth_per_s
from sightline.bench.edge_judge import judge
from sightline.bench.edge_node import Look
from sightline.bench.edge_outage import OutagePlan
from sightline.bench.edge_parts import measure_clips
from sightline.bench.edge_path import measure_path
from sightline.bench.edge_soak import DAY_S, soak
from sightline.broker import Broker, BrokerConfig
from sightline.mosquitto import has_mosquitto
from sightline.ports import free_port

CAMERAS = 2


def of(*numbers: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.array(numbers, np.int64)


def test_what_was_promised_and_did_not_arrive_is_lost() -> None:
    verdict = judge(of(0, 1, 3), of(0, 1, 2, 3), 4, CAMERAS)
    assert (verdict.promised, verdict.arrived, verdict.lost, verdict.lost_share) == (4, 3, 1, 0.25)


def test_what_was_never_promised_may_arrive_and_what_was_never_handed_over_may_not() -> None:
    assert judge(of(0, 1, 2), of(0), 3, CAMERAS).alien == 0
    assert judge(of(0, 1, 2), of(0), 2, CAMERAS).alien == 1


def test_a_repetition_is_told_with_its_distance_and_is_no_disorder() -> None:
    verdict = judge(of(0, 2, 4, 0, 6), of(), 8, CAMERAS)
    assert (verdict.repeated, verdict.furthest, verdict.disordered) == (1, 3, 0)


def test_order_is_that_of_each_camera() -> None:
    assert judge(of(0, 2, 4, 1, 3), of(), 8, CAMERAS).disordered == 0
    assert judge(of(0, 4, 2), of(), 8, CAMERAS).disordered == 1


def look(life: int, at_s: float, memory_bytes: int) -> Look:
    return Look(at_s, life, memory_bytes, files=1, threads=1, disk_bytes=0)


def test_growth_is_that_within_lives_without_their_beginnings() -> None:
    first = [look(1, at_s, 100 + (1000 if at_s < 3 else 0) + at_s * 2) for at_s in range(10)]
    second = [look(2, 20 + at_s, 50 + (1000 if at_s < 3 else 0) + at_s * 2) for at_s in range(10)]
    assert growth_per_s([*first, *second], lambda each: each.memory_bytes) == pytest.approx(2)
    assert math.isnan(growth_per_s(first[:3], lambda each: each.memory_bytes))


@pytest.mark.kafka
@pytest.mark.slow
def test_an_outage_is_told_for_the_node_and_for_the_bridges_that_can_run(tmp_path: Path) -> None:
    plan = OutagePlan(cameras=20, away_s=240, speed=60, kills=1)
    bench_outage(plan, tmp_path)
    runs = json.loads((tmp_path / "edge-outage.json").read_text(encoding="utf-8"))["runs"]
    assert len(runs) == (3 if has_mosquitto() else 1)
    ours = runs[0]["verdict"]
    assert (ours["lost"], ours["alien"], ours["disordered"]) == (0, 0, 0)
    assert ours["promised"] > 0.8 * plan.messages
    for run in runs[1:]:
        assert run["verdict"]["promised"] == plan.messages  # a publisher that lives on sends again what has no answer
        assert run["verdict"]["lost"] > 0
    assert (tmp_path / "edge-outage.svg").stat().st_size > 1000


@pytest.mark.kafka
def test_what_a_node_holds_does_not_grow_over_a_short_soak(tmp_path: Path, own_broker: Broker) -> None:
    """Minutes of cameras with an outage in them: memory of the first seconds apart, it ends with what it began."""
    from rich.console import Console

    found = soak(0.05, 5, 600.0, tmp_path, own_broker, Console(quiet=True))
    assert (found["verdict"]["lost"], found["verdict"]["promised"]) == (0, round(0.05 * DAY_S) * 5)
    for name in ("open_files", "threads"):
        measure = found["measures"][name]
        assert measure["last"] <= measure["median"] + 2, name


@pytest.mark.kafka
def test_the_path_tells_its_speed_and_an_events_way(tmp_path: Path, own_broker: Broker) -> None:
    found = measure_path(tmp_path, own_broker.bootstrap, 10_000, 5)
    assert found["out_of_the_spool"]["messages_per_s"] > 0
    assert found["event_ms"]["idle"]["events"] == 5


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(BrokerConfig(tmp_path / "broker", free_port())) as running:
        yield running


def test_a_drawn_street_is_kept_with_its_people_and_without() -> None:
    clips = measure_clips(frames=10)
    assert list(clips) == ["not blurred", "12 people blurred"]
    # The noise of the sensor alone takes more than this, and what is blurred is another picture.
    assert min(costs["bytes"] for costs in clips.values()) > 10_000
    assert clips["not blurred"]["bytes"] != clips["12 people blurred"]["bytes"]
    assert all(costs["gb_an_hour"] == pytest.approx(costs["bytes"] * 5 * 3600 / 1e9) for costs in clips.values())
