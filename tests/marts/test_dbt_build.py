"""The dbt project over a real Spark Connect server, on the sample tables."""

import datetime as dt

import pytest
from deltalake import DeltaTable, write_deltalake
from sample_tables import CAMERAS, START, as_arrow, sample_rows, write_rows

from sightline_contract.errors import StageError
from sightline_lakehouse.marts import project_dir, run_dbt
from sightline_lakehouse.tables import ALERTS, OBJECT_COUNTS

pytestmark = [pytest.mark.spark, pytest.mark.slow]
MARTS = (
    "alert_latency",
    "camera_health_daily",
    "line_traffic",
    "model_comparison",
    "object_counts_per_minute",
    "scene_events_hourly",
)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Where dbt compiles to: shared, so that only the first run parses the project."""
    return tmp_path_factory.mktemp("dbt")


@pytest.fixture
def build(spark, sql_endpoint, work):
    def run(root, **options):
        """Build as a driver does that has just started: its catalog is empty, while the tables' files may be there."""
        spark.sql("DROP DATABASE IF EXISTS marts CASCADE")
        return run_dbt(project_dir(), sql_endpoint, str(root), work / "target", work / "logs", **options)

    return run


def mart(root, name):
    return DeltaTable(root / "marts" / name).to_pyarrow_table().to_pylist()


def test_marts_hold_what_the_sample_tables_say_and_a_second_build_changes_nothing(build, tmp_path):
    rows = sample_rows()
    rows["gold.alerts"].append(rows["gold.alerts"][0])  # delivered again
    write_rows(tmp_path, rows)

    report = build(tmp_path, unit_tests=True)
    assert (report.count("model"), report.count("unit_test")) == (14, 8)
    first = {name: sorted(mart(tmp_path, name), key=str) for name in MARTS}

    minutes = [START.replace(second=0) + dt.timedelta(minutes=minute) for minute in range(4)]
    counts = {
        (row["camera_id"], row["minute_start"]): row
        for row in first["object_counts_per_minute"]
        if row["class_name"] == "person"
    }
    assert set(counts) == {(camera, minute) for camera in CAMERAS for minute in minutes}
    assert [counts["front", minute]["new_objects"] for minute in minutes] == [3, 6, 6, 3]
    assert [counts["gate", minute]["frames_expected"] for minute in minutes] == [300, 600, 600, 300]
    assert {row["completeness"] for key, row in counts.items() if key[0] == "gate"} == {0.8}
    assert sum(row["crossings"] for row in first["line_traffic"]) == len(rows["silver.line_crossings"])
    assert sorted(row["events"] for row in first["scene_events_hourly"]) == [1, 1, 2, 2]
    assert [row["batches_received"] for row in first["camera_health_daily"]] == [180, 180]
    assert [(row["alerts"], row["latency_ms_p50"]) for row in first["alert_latency"]] == [(18, 12.5), (18, 12.5)]
    compared = first["model_comparison"]  # two hours
    assert [(row["nodes"], row["frames"], row["detections_per_frame"]) for row in compared] == [(1, 1800, 0.5)] * 2
    assert {(row["mean_score"], row["latency_ms_p95"]) for row in compared} == {(0.703125, 10 ** (132 / 40 - 2))}
    assert [row["tracks"] for row in compared] == [len(CAMERAS) * 9] * 2

    again = build(tmp_path)
    assert again.count("unit_test") == 0
    assert {name: sorted(mart(tmp_path, name), key=str) for name in MARTS} == first


def test_a_broken_mart_is_named_in_one_line(build, tmp_path):
    rows = sample_rows()
    write_rows(tmp_path, rows)
    wrong = [rows["gold.object_counts"][0] | {"frames_received": 99}]
    write_deltalake(tmp_path / OBJECT_COUNTS.path, as_arrow(OBJECT_COUNTS, wrong), mode="append")
    named = r"^dbt: test between_object_counts_per_minute_completeness\S+ failed \(.*\): see \S+dbt\.log$"
    with pytest.raises(StageError, match=named):
        build(tmp_path, select="+object_counts_per_minute")


def test_a_missing_table_is_named_in_one_line(build, tmp_path):
    with pytest.raises(StageError, match=rf"^dbt: model stg_alerts failed \(.*{ALERTS.name}.*\): see \S+dbt\.log$"):
        build(tmp_path, select="+alert_latency")
