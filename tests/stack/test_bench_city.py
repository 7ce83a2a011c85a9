"""The city's benchmark: a small city through the real jobs; sums are exact, figures follow from what the run left."""

import json
from pathlib import Path

import numpy as np
import pytest

from sightline.bench.city import Output, bench_city
from sightline.bench.city_figures import Freshness, slope
from sightline.bench.city_run import Plan
from sightline.bench.growth import GROWTHS, bench_growth, draw
from sightline_contract.errors import ConfigError


def test_a_quantile_of_freshness_weighs_frames() -> None:
    found = Freshness(np.array([0.0, 1.0, 2.0]), np.array([5.0, 1.0, 3.0]), np.array([1.0, 98.0, 1.0]))
    assert found.quantile(0.5) == 1.0
    assert found.quantile(0.985) == 3.0
    assert found.quantile(1.0) == 5.0
    assert found.since(2.0).quantile(0.5) == 3.0
    assert np.isnan(found.since(9.0).quantile(0.5))


def test_a_slope_is_told_a_minute() -> None:
    assert slope(np.array([0.0, 30.0, 60.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(2.0)
    assert np.isnan(slope(np.array([0.0]), np.array([1.0])))


@pytest.mark.spark
@pytest.mark.kafka
@pytest.mark.slow
def test_a_live_city_is_counted_exactly_and_told_how_fresh(tmp_path: Path) -> None:
    plan = Plan(cameras=20, fps=10, objects=3, seconds=12, live=True, facts_s=1.0)
    output = Output(tmp_path / "city.json", tmp_path / "live.png", tmp_path / "work")
    document = bench_city(plan, repeats=1, peers=0, output=output)
    (run,) = document["runs"]
    for name in ("messages", "frames", "detections", "messages refused"):
        assert run["sums"][name]["counted"] == run["sums"][name]["sent"], name
    assert run["sums"]["frames"]["sent"] == 20 * 10 * 12
    fresh = run["freshness_s"]
    # A frame waits for the end of its message at least, and is in the log before it is in the silver tables.
    assert 0 < fresh["log"]["p50"] <= fresh["log"]["p95"] <= fresh["log"]["p100"]
    assert fresh["silver"]["p50"] > fresh["log"]["p50"]
    assert sum(batch["messages"] for batch in run["micro_batches"]) == 20 * 12
    sizes = run["bytes_per_detection"]
    assert set(sizes) == {"Kafka", "log", "silver and gold"}
    assert min(sizes.values()) > 1
    assert json.loads((tmp_path / "city.json").read_text())["plan"]["cameras"] == 20
    assert (tmp_path / "live.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.spark
@pytest.mark.kafka
@pytest.mark.slow
def test_a_backlog_is_tracked_in_bounded_micro_batches(tmp_path: Path) -> None:
    plan = Plan(cameras=20, fps=10, objects=3, seconds=12, jobs=("tracking",), batch_s=4)
    document = bench_city(plan, repeats=1, peers=0, output=Output())
    (run,) = document["runs"]
    assert [batch["messages"] for batch in run["micro_batches"]] == [80, 80, 80]
    assert run["sums"]["detections"]["counted"] == run["sums"]["detections"]["sent"] > 0
    assert document["frames_per_s"] == run["frames_per_s"] > 0


def test_an_unknown_growth_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="--what sideways: is not one of workers, partitions, objects, cameras, day"):
        bench_growth(["sideways"], Plan(), 1, None, None)


def test_micro_batches_of_crowded_frames_are_shorter() -> None:
    plans = [GROWTHS["objects"].plan(Plan(batch_s=6), objects) for objects in (6, 60)]
    assert [plan.batch_s * plan.objects for plan in plans] == [36, 60]


def test_a_growth_is_drawn(tmp_path: Path) -> None:
    points = [{"value": n, "frames_per_s": 10.0 * n, "detections_per_s": 60.0 * n} for n in (1.0, 2.0)]
    draw("workers", "workers of one core", points, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
