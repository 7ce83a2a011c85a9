import json

import pytest
from deltalake import DeltaTable, write_deltalake
from sample_tables import as_arrow, sample_rows, write_rows

from sightline_contract.errors import StorageError
from sightline_lakehouse import quality
from sightline_lakehouse.ddl import table_location
from sightline_lakehouse.quality import GATED_TABLES, quarantine_table, run_quality_gate
from sightline_lakehouse.tables import ALERTS, OBJECT_COUNTS

pytestmark = [
    pytest.mark.spark,
    pytest.mark.slow,
    # Great Expectations and what it imports use names that their own libraries call old.
    pytest.mark.filterwarnings("default::DeprecationWarning"),
]


def test_lawful_tables_pass_and_leave_no_quarantine(spark, tmp_path):
    write_rows(tmp_path, sample_rows())
    report = run_quality_gate(spark, str(tmp_path), tmp_path / "report")
    assert report.success
    assert {verdict.table: verdict.rows for verdict in report.tables} == {
        table.full_name: len(sample_rows()[table.full_name]) for table in GATED_TABLES
    }
    assert not (tmp_path / "quarantine" / "object_counts").exists()
    written = json.loads((tmp_path / "report" / "quality.json").read_text())
    assert written["success"] is True
    assert "| gold.object_counts | passed | 720 | 0 |" in (tmp_path / "report" / "quality.md").read_text()


def test_bad_rows_are_quarantined_under_the_names_of_the_checks_they_break(spark, tmp_path):
    good = sample_rows()["gold.object_counts"]
    bad = [
        good[0] | {"camera_id": "bad", "objects": -1, "completeness": 1.5},
        good[0] | {"camera_id": "nan", "completeness": float("nan")},
    ]
    twice = [good[5]]
    write_rows(tmp_path, {"gold.object_counts": good + bad + twice})

    (verdict,) = run_quality_gate(spark, str(tmp_path), tables=(OBJECT_COUNTS,)).tables
    unique = "unique:camera_id+session+window_start+class_name"
    assert not verdict.success
    assert verdict.failed == {"between:completeness": 1, "between:objects": 1, "not_null:completeness": 1, unique: 2}
    assert verdict.quarantined == 4
    # Great Expectations comes to the same verdict by itself.
    judged = {each["expectation_config"]["meta"]["check"] for each in verdict.result["results"] if not each["success"]}
    assert judged == set(verdict.failed)

    quarantine = quarantine_table(OBJECT_COUNTS)
    rows = DeltaTable(table_location(str(tmp_path), quarantine)).to_pyarrow_table().to_pylist()
    assert list(rows[0]) == [column.name for column in quarantine.columns]
    assert {tuple(row["failed_checks"]) for row in rows if row["camera_id"] == "bad"} == {
        ("between:objects", "between:completeness")
    }


def test_a_gate_after_the_repair_empties_the_quarantine(spark, tmp_path):
    good = sample_rows()["gold.object_counts"]
    write_rows(tmp_path, {"gold.object_counts": [*good, good[0]]})
    assert not run_quality_gate(spark, str(tmp_path), tables=(OBJECT_COUNTS,)).success
    write_deltalake(tmp_path / "gold" / "object_counts", as_arrow(OBJECT_COUNTS, good), mode="overwrite")
    assert run_quality_gate(spark, str(tmp_path), tables=(OBJECT_COUNTS,)).success
    assert DeltaTable(table_location(str(tmp_path), quarantine_table(OBJECT_COUNTS))).to_pyarrow_table().num_rows == 0


def test_a_table_that_is_not_there_is_one_line(spark, tmp_path):
    with pytest.raises(StorageError, match=r"^/\S+/gold/alerts: cannot be judged \(.*\): check the table root$"):
        run_quality_gate(spark, str(tmp_path), tables=(ALERTS,))


def test_an_alert_that_was_delivered_twice_is_no_fault(spark, tmp_path):
    alerts = sample_rows()["gold.alerts"]
    write_rows(tmp_path, {"gold.alerts": [*alerts, alerts[0]]})
    assert run_quality_gate(spark, str(tmp_path), tables=(ALERTS,)).success


def test_a_table_beyond_the_sample_is_counted_in_full(spark, tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "ROWS_PER_PATTERN", 10)
    good = sample_rows()["gold.object_counts"]
    bad = [row | {"camera_id": "bad", "objects": -1} for row in good[:50:2]]
    write_rows(tmp_path, {"gold.object_counts": good + bad})
    (verdict,) = run_quality_gate(spark, str(tmp_path), tables=(OBJECT_COUNTS,)).tables
    assert (verdict.rows, verdict.quarantined) == (len(good) + 25, 25)
    assert verdict.failed == {"between:objects": 25}
    assert verdict.result["results"][0]["result"]["element_count"] == 20
