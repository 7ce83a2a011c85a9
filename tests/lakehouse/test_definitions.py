import json

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from sightline_contract.errors import StorageError
from sightline_lakehouse.arrow import arrow_schema
from sightline_lakehouse.checks import checks_of
from sightline_lakehouse.ddl import TABLE_PROPERTIES, create_local_tables, create_table_sql, table_location
from sightline_lakehouse.generate import COMMAND, REPOSITORY, generated_files
from sightline_lakehouse.quality import GATED_TABLES
from sightline_lakehouse.tables import ALERTS, ALL_TABLES, LINE_CROSSINGS, Table


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
