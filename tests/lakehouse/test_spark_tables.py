"""What only a Spark session can tell of the tables: one driver for all of it."""

import datetime as dt
from dataclasses import replace

import pytest
from deltalake import DeltaTable
from sample_tables import as_arrow, sample_rows, write_rows

from sightline_contract.errors import ConfigError
from sightline_lakehouse import ddl
from sightline_lakehouse.audit.chain import GENESIS, Entry, chained
from sightline_lakehouse.audit.log import AuditLog
from sightline_lakehouse.ddl import (
    create_local_tables,
    create_table_sql,
    create_tables,
    last_commit_of_folder,
    last_commit_with_spark,
    register_tables,
    table_location,
)
from sightline_lakehouse.maintenance import maintain
from sightline_lakehouse.quality import run_quality_gate
from sightline_lakehouse.tables import (
    ALL_TABLES,
    AUDIT_CHECKPOINTS,
    AUDIT_LOG,
    LINE_CROSSINGS,
    NODE_STATUS,
    OBJECT_COUNTS,
    TRACK_SEGMENTS,
    TRACKER_FACTS,
    Column,
)
from sightline_streaming.delta_sink import append_with_spark

pytestmark = pytest.mark.spark


@pytest.mark.parametrize("table", [TRACK_SEGMENTS, OBJECT_COUNTS], ids=lambda table: table.name)
def test_spark_and_delta_rs_create_the_same_table(table, spark, tmp_path):
    by_spark, by_delta_rs = str(tmp_path / "spark"), str(tmp_path / "delta-rs")
    spark.sql(create_table_sql(table, by_spark))
    create_local_tables(by_delta_rs, (table,))
    first, second = (DeltaTable(table_location(root, table)) for root in (by_spark, by_delta_rs))
    assert first.schema().to_json() == second.schema().to_json()
    assert first.protocol() == second.protocol()
    for what in ("partition_columns", "description", "configuration"):
        assert getattr(first.metadata(), what) == getattr(second.metadata(), what)


def test_spark_refuses_a_table_that_another_release_laid_out(spark, tmp_path, monkeypatch):
    """On an object store; here a folder is taken for one."""
    monkeypatch.setattr(ddl, "is_local", lambda _: False)
    create_tables(spark, str(tmp_path), (TRACK_SEGMENTS, TRACKER_FACTS))
    create_tables(spark, str(tmp_path), (TRACK_SEGMENTS, TRACKER_FACTS))
    with pytest.raises(
        ConfigError, match=r"^/\S+/bronze/tracker_facts: another release made .* no column part2: give a new [^\n]*$"
    ):
        create_tables(
            spark, str(tmp_path), (replace(TRACKER_FACTS, columns=(*TRACKER_FACTS.columns, Column("part2", "int", ""))),)
        )


@pytest.mark.filterwarnings("default::DeprecationWarning")  # Great Expectations'
def test_spark_adds_columns_that_may_be_null_and_writer_and_gate_work_on_what_comes_of_it(spark, tmp_path, monkeypatch):
    """A table of an earlier release, on an object store; here a folder is taken for one."""
    old = replace(NODE_STATUS, columns=tuple(c for c in NODE_STATUS.columns if not c.name.startswith(("spool_", "clock_"))))
    rows = sample_rows()["gold.node_status"]
    location = table_location(str(tmp_path), NODE_STATUS)
    with monkeypatch.context() as patch:
        patch.setattr(ddl, "is_local", lambda _: False)
        create_tables(spark, str(tmp_path), (old,))
        append_with_spark(spark, as_arrow(old, rows[:3]), location, "before", 1)
        create_tables(spark, str(tmp_path), (NODE_STATUS,))
        create_tables(spark, str(tmp_path), (NODE_STATUS,))
    news = [rows[3] | {"spool_messages": 7, "spool_oldest_s": 2.5}, rows[4] | {"spool_messages": -1}]
    append_with_spark(spark, as_arrow(NODE_STATUS, news), location, "after", 1)
    table = DeltaTable(location)
    assert table.version() == 3
    comments = {field.name: field.metadata["comment"] for field in table.schema().fields}
    assert comments == {column.name: column.description for column in NODE_STATUS.columns}
    found = {row["reported_at"]: row["spool_messages"] for row in table.to_pyarrow_table().to_pylist()}
    assert found == {row["reported_at"]: row.get("spool_messages") for row in (*rows[:3], *news)}
    # What is unknown is no fault; what cannot be is.
    (verdict,) = run_quality_gate(spark, str(tmp_path), tables=(NODE_STATUS,)).tables
    assert (verdict.rows, verdict.failed) == (5, {"between:spool_messages": 1})


def test_both_ways_tell_a_table_that_was_written_to_from_one_that_was_not(spark, tmp_path):
    create_local_tables(str(tmp_path))
    location = table_location(str(tmp_path), LINE_CROSSINGS)
    assert (last_commit_of_folder(location), last_commit_with_spark(spark, location)) == (0, 0)
    write_rows(tmp_path, sample_rows())
    assert last_commit_of_folder(location) == last_commit_with_spark(spark, location) > 0


def test_tables_are_visible_by_name_at_the_newest_root(spark, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    create_tables(spark, str(first))
    register_tables(spark, str(first), (LINE_CROSSINGS,))
    assert spark.table("silver.line_crossings").count() == 0
    write_rows(second, sample_rows())
    register_tables(spark, str(second), (LINE_CROSSINGS,))
    assert spark.table("silver.line_crossings").count() == 36
    assert all((first / table.path / "_delta_log").is_dir() for table in ALL_TABLES)


def test_maintenance_expires_old_rows_and_compacts_the_rest(spark, tmp_path):
    old = sample_rows()["silver.line_crossings"]
    new = [row | {"event_date": dt.date(2027, 3, 1)} for row in old]
    for rows in (old, new[:20], new[20:]):
        write_rows(tmp_path, {"silver.line_crossings": rows})
    (done,) = maintain(spark, str(tmp_path), dt.date(2027, 3, 3), (LINE_CROSSINGS,))
    assert (done.rows_expired, done.files_removed, done.files_added) == (len(old), 2, 1)
    kept = DeltaTable(table_location(str(tmp_path), LINE_CROSSINGS)).to_pyarrow_table()
    assert kept["event_date"].unique().to_pylist() == [dt.date(2027, 3, 1)]
    assert kept.num_rows == len(new)


def test_maintenance_compacts_the_audit_log_and_deletes_no_row_of_it(spark, tmp_path):
    entries = [Entry(f"r{n}", "k", "node", "ann", "why", n, None, "{}", "audit", 0, n, n, 0) for n in range(6)]
    create_local_tables(str(tmp_path), (AUDIT_LOG, AUDIT_CHECKPOINTS))
    rows = list(chained(entries, 0, GENESIS))
    for part in (rows[:3], rows[3:]):  # of 1970: older than any retention
        AuditLog(str(tmp_path)).append(part)
    (done,) = maintain(spark, str(tmp_path), dt.date(2027, 3, 3), (AUDIT_LOG,))
    assert (done.rows_expired, done.files_removed, done.files_added) == (0, 2, 1)
    assert list(AuditLog(str(tmp_path)).rows()) == rows
