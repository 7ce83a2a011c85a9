import json
from dataclasses import replace

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from sample_tables import as_arrow, sample_rows

from sightline_contract.errors import ConfigError, StorageError
from sightline_lakehouse import ddl
from sightline_lakehouse.arrow import arrow_schema, arrow_type, spark_type
from sightline_lakehouse.checks import checks_of
from sightline_lakehouse.ddl import create_local_tables, create_table_sql, table_location, table_properties
from sightline_lakehouse.generate import COMMAND, REPOSITORY, generated_files
from sightline_lakehouse.quality import GATED_TABLES
from sightline_lakehouse.tables import ALERTS, ALL_TABLES, LINE_CROSSINGS, NODE_STATUS, TRACKER_FACTS, Column, Table
from sightline_streaming.delta_sink import append_to_folder
from sightline_streaming.fact_columns import FACT_COLUMNS


@pytest.mark.parametrize("path", generated_files())
def test_a_generated_file_equals_the_definitions(path):
    assert (REPOSITORY / path).read_text(encoding="utf-8") == generated_files()[path], f"run: {COMMAND}"


def test_no_suite_outlives_its_table():
    suites = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "lakehouse/expectations").glob("*.json")}
    assert suites == {path for path in generated_files() if path.endswith(".json")}


@pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: table.full_name)
def test_a_created_table_equals_its_definition(table: Table, tmp_path):
    create_local_tables(str(tmp_path), (table,))
    created = DeltaTable(table_location(str(tmp_path), table))
    assert pa.schema(created.schema().to_arrow()).equals(arrow_schema(table), check_metadata=True)
    assert created.metadata().partition_columns == list(table.partition_by)
    assert created.metadata().description == table.description
    assert created.metadata().configuration == table_properties(table)
    assert ("delta.appendOnly" in table_properties(table)) == table.append_only


def test_creating_tables_again_leaves_them_alone(tmp_path):
    create_local_tables(str(tmp_path))
    create_local_tables(str(tmp_path))
    assert [DeltaTable(table_location(str(tmp_path), table)).version() for table in ALL_TABLES] == [0] * len(ALL_TABLES)


WHAT_TO_DO = "give a new table_root and a new checkpoint_root"


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        (TRACKER_FACTS.columns[:7] + TRACKER_FACTS.columns[8:], "no column payload"),
        ((*TRACKER_FACTS.columns, Column("track_no", "bigint", "")), "a column track_no that is not known"),
        ((*TRACKER_FACTS.columns[:1], Column("shard", "string", ""), *TRACKER_FACTS.columns[2:]), "shard as string, not int"),
        # As it was when each fact was a row.
        ((*FACT_COLUMNS, TRACKER_FACTS.columns[-1]), "no column shard"),
    ],
)
def test_a_table_that_another_release_laid_out_is_refused_in_one_line(columns, complaint, tmp_path):
    create_local_tables(str(tmp_path), (replace(TRACKER_FACTS, columns=columns),))
    with pytest.raises(ConfigError) as caught:
        create_local_tables(str(tmp_path), (LINE_CROSSINGS, NODE_STATUS, TRACKER_FACTS))
    where = table_location(str(tmp_path), TRACKER_FACTS)
    assert str(caught.value) == f"{where}: another release made this table, it has {complaint}: {WHAT_TO_DO}"


NEW_COLUMNS = tuple(column for column in NODE_STATUS.columns if column.name.startswith(("spool", "detections", "clock")))
OLD_NODE_STATUS = replace(NODE_STATUS, columns=tuple(c for c in NODE_STATUS.columns if c not in NEW_COLUMNS))


def test_a_table_of_an_earlier_release_gets_the_columns_that_may_be_null_and_keeps_its_rows(tmp_path):
    old_rows = sample_rows()["gold.node_status"]
    create_local_tables(str(tmp_path), (OLD_NODE_STATUS,))
    location = table_location(str(tmp_path), NODE_STATUS)
    write_deltalake(location, as_arrow(OLD_NODE_STATUS, old_rows), mode="append")
    create_local_tables(str(tmp_path), (NODE_STATUS,))
    create_local_tables(str(tmp_path), (NODE_STATUS,))
    table = DeltaTable(location)
    assert table.version() == 2  # created, written, changed once
    found = pa.schema(table.schema().to_arrow())
    assert {field.name: field for field in found} == {field.name: field for field in arrow_schema(NODE_STATUS)}
    rows = table.to_pyarrow_table()
    assert rows.num_rows == len(old_rows) > 0
    assert all(rows[column.name].null_count == rows.num_rows for column in NEW_COLUMNS)


def test_an_append_to_such_a_table_goes_by_the_names_of_the_columns(tmp_path):
    create_local_tables(str(tmp_path), (OLD_NODE_STATUS,))
    create_local_tables(str(tmp_path), (NODE_STATUS,))
    row = sample_rows()["gold.node_status"][0] | {"spool_messages": 7, "spool_oldest_s": 2.5}
    append_to_folder(as_arrow(NODE_STATUS, [row]), table_location(str(tmp_path), NODE_STATUS), "archive", 1)
    (found,) = DeltaTable(table_location(str(tmp_path), NODE_STATUS)).to_pyarrow_table().to_pylist()
    assert found == dict.fromkeys(column.name for column in NEW_COLUMNS) | row


def test_jobs_that_start_at_once_change_a_table_of_an_earlier_release_once(tmp_path):
    create_local_tables(str(tmp_path), (OLD_NODE_STATUS,))
    location = table_location(str(tmp_path), NODE_STATUS)
    stale = DeltaTable(location)
    create_local_tables(str(tmp_path), (NODE_STATUS,))
    ddl._add_missing_columns(stale, NODE_STATUS)  # as a job does that looked before the other one wrote
    assert DeltaTable(location).version() == 1
    assert len(stale.schema().fields) == len(NODE_STATUS.columns)


@pytest.mark.parametrize("name", sorted({column.type for table in ALL_TABLES for column in table.columns}))
def test_a_type_goes_to_arrow_and_back(name):
    assert spark_type(arrow_type(name)) == name


def test_a_root_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "silver").write_text("in the way")
    with pytest.raises(StorageError, match=r"^/\S+/silver/line_crossings: cannot be created \(.*\): check the table root$"):
        create_local_tables(str(tmp_path), (LINE_CROSSINGS,))


def test_a_location_is_absolute_for_a_folder_and_an_address_for_an_object_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert table_location("lake", ALERTS) == f"{tmp_path}/lake/gold/alerts"
    assert table_location(f"file://{tmp_path}/lake", ALERTS) == f"{tmp_path}/lake/gold/alerts"
    assert table_location("s3a://bucket/lake/", ALERTS) == "s3a://bucket/lake/gold/alerts"


def test_the_create_statement_quotes_what_it_is_given():
    statement = create_table_sql(ALERTS, "/data/it`s")
    assert "delta.`/data/it``s/gold/alerts`" in statement
    assert r"'When the node handed the event to Kafka, node\'s clock.'" in statement


@pytest.mark.parametrize("table", GATED_TABLES, ids=lambda table: table.full_name)
def test_every_bound_of_a_column_is_a_check(table: Table):
    names = {check.name for check in checks_of(table)}
    for column in table.columns:
        assert (f"not_null:{column.name}" in names) == (not column.nullable)
        assert (f"between:{column.name}" in names) == (column.minimum is not None or column.maximum is not None)
        assert (f"in_set:{column.name}" in names) == bool(column.values)
    assert (f"unique:{'+'.join(table.key)}" in names) == (not table.may_repeat)


def test_a_suite_names_its_checks():
    suite = json.loads(generated_files()["lakehouse/expectations/gold.alerts.json"])
    assert {"type": "expect_column_values_to_be_in_set", "meta": {"check": "in_set:severity"}}.items() <= {
        **next(each for each in suite["expectations"] if "value_set" in each["kwargs"])
    }.items()
