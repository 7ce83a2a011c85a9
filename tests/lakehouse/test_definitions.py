import json
from dataclasses import replace

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from sightline_contract.errors import ConfigError, StorageError
from sightline_lakehouse.arrow import arrow_schema, arrow_type, spark_type
from sightline_lakehouse.checks import checks_of
from sightline_lakehouse.ddl import TABLE_PROPERTIES, create_local_tables, create_table_sql, table_location
from sightline_lakehouse.generate import COMMAND, REPOSITORY, generated_files
from sightline_lakehouse.quality import GATED_TABLES
from sightline_lakehouse.tables import ALERTS, ALL_TABLES, LINE_CROSSINGS, TRACKER_FACTS, Column, Table
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
    assert created.metadata().configuration == TABLE_PROPERTIES


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
        create_local_tables(str(tmp_path), (LINE_CROSSINGS, TRACKER_FACTS))
    where = table_location(str(tmp_path), TRACKER_FACTS)
    assert str(caught.value) == f"{where}: another release made this table, it has {complaint}: {WHAT_TO_DO}"


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
