"""Creating the tables below a table root, and showing them to SQL users by name.

A root is a folder or an object store's address; every table's place below it is in ``tables``. Creating is idempotent. A
table that an earlier release made gets the columns that it lacks where they may be NULL, which no row of it and no reader of
it minds; one that differs otherwise is refused. A folder gets its tables from delta-rs, which takes milliseconds where Spark
takes a second a table and a JVM; an object store gets them from Spark, whose commits there must have a single kind of
writer. Both ways make the same table, which a test holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from sightline_contract.errors import ConfigError, StorageError
from sightline_lakehouse.tables import ALL_TABLES, Column, Table

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyspark.sql import SparkSession

TABLE_PROPERTIES: Final = {
    # A streaming writer commits every few seconds, and a checkpoint costs its micro-batch several: one in a hundred.
    "delta.checkpointInterval": "100",
    # How far back a slow reader or a time traveller may look.
    "delta.deletedFileRetentionDuration": "interval 7 days",
    "delta.logRetentionDuration": "interval 7 days",
}


def table_properties(table: Table) -> dict[str, str]:
    """The table's Delta properties. appendOnly would forbid the deletes that keep retention_days."""
    return TABLE_PROPERTIES | ({"delta.appendOnly": "true"} if table.append_only else {})


def is_local(root: str) -> bool:
    """Whether the root is a folder of this machine."""
    return urlsplit(root).scheme in ("", "file")


def table_location(root: str, table: Table) -> str:
    """Where the table lies: an absolute path, or an object store's address."""
    if not is_local(root):
        return f"{root.rstrip('/')}/{table.path}"
    return str(Path(urlsplit(root).path).absolute() / table.path)


def path_identifier(location: str) -> str:
    """Spark SQL's name for the Delta table at a location."""
    return f"delta.`{location.replace('`', '``')}`"


def create_table_sql(table: Table, root: str) -> str:
    """The statement that creates the table below ``root`` unless it is there."""
    columns = ",\n  ".join(map(_column_sql, table.columns))
    partitions = ", ".join(f"`{name}`" for name in table.partition_by)
    properties = ", ".join(f"{_text(key)} = {_text(value)}" for key, value in sorted(table_properties(table).items()))
    return (
        f"CREATE TABLE IF NOT EXISTS {path_identifier(table_location(root, table))} (\n  {columns}\n) USING DELTA\n"
        f"PARTITIONED BY ({partitions})\nCOMMENT {_text(table.description)}\nTBLPROPERTIES ({properties})"
    )


def create_tables(spark: SparkSession, root: str, tables: tuple[Table, ...] = ALL_TABLES) -> None:
    """Create below ``root`` every table that is not there yet, and add columns that may be NULL to those that lack them.

    Raises StorageError where the root refuses, ConfigError where a table is there with other columns.
    """
    if is_local(root):
        create_local_tables(root, tables)
        return
    for table in tables:
        spark.sql(create_table_sql(table, root))
        location = table_location(root, table)
        found = dict(spark.table(path_identifier(location)).dtypes)
        if missing := _missing_columns(table, found):
            spark.sql(f"ALTER TABLE {path_identifier(location)} ADD COLUMNS ({', '.join(map(_column_sql, missing))})")
        _require_columns(table, location, found | {column.name: column.type for column in missing})


def create_local_tables(root: str, tables: tuple[Table, ...] = ALL_TABLES) -> None:
    """Create the tables in a folder without Spark; raises as ``create_tables`` does."""
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    from sightline_lakehouse.arrow import arrow_schema

    for table in tables:
        location = table_location(root, table)
        try:
            Path(location).mkdir(parents=True, exist_ok=True)
            created = DeltaTable.create(
                location,
                schema=arrow_schema(table),
                mode="ignore",
                partition_by=list(table.partition_by),
                description=table.description,
                configuration=table_properties(table),
            )
            _add_missing_columns(created, table)
        except (OSError, DeltaError) as error:
            raise StorageError(f"{location}: cannot be created ({_first_line(error)}): check the table root") from error
        _require_columns(table, location, _column_types(created))


def _add_missing_columns(existing: DeltaTable, table: Table) -> None:
    """Add what ``_missing_columns`` finds; raises DeltaError."""
    import pyarrow as pa
    from deltalake import Schema
    from deltalake.exceptions import DeltaError

    from sightline_lakehouse.arrow import arrow_schema

    missing = _missing_columns(table, _column_types(existing))
    if not missing:
        return
    schema = arrow_schema(table)
    fields = Schema.from_arrow(pa.schema([schema.field(column.name) for column in missing])).fields
    try:
        existing.alter.add_columns(fields)
    except DeltaError:
        # Jobs that start at the same time do the same: the first adds the columns, and the others find them.
        existing.update_incremental()
        if _missing_columns(table, _column_types(existing)):
            raise


def _column_types(existing: DeltaTable) -> dict[str, str]:
    """Spark SQL types by column."""
    import pyarrow as pa

    from sightline_lakehouse.arrow import spark_type

    return {field.name: spark_type(field.type) for field in pa.schema(existing.schema().to_arrow())}


def _missing_columns(table: Table, found: Mapping[str, str]) -> tuple[Column, ...]:
    """Columns to add to a table that has those ``found``; none where one of them could not be, so that it is left alone."""
    missing = tuple(column for column in table.columns if column.name not in found)
    known = {column.name: column.type for column in table.columns}
    same = all(known.get(name) == type_ for name, type_ in found.items())
    return missing if same and all(column.nullable for column in missing) else ()


def _require_columns(table: Table, location: str, found: Mapping[str, str]) -> None:
    """Raise ConfigError where the table at ``location`` has other columns; ``found`` are its Spark SQL types by name."""
    wanted = {column.name: column.type for column in table.columns}
    differs = [f"no column {name}" for name in wanted if name not in found]
    differs += [f"a column {name} that is not known" for name in found if name not in wanted]
    differs += [f"{name} as {found[name]}, not {type_}" for name, type_ in wanted.items() if found.get(name, type_) != type_]
    if differs:
        raise ConfigError(
            f"{location}: another release made this table, it has {differs[0]}: give a new table_root and a new checkpoint_root"
        )


def last_commit(spark: SparkSession, root: str, table: Table) -> int:
    """Number of the table's last commit; 0: it was created and never written to since. Raises StorageError."""
    location = table_location(root, table)
    return last_commit_of_folder(location) if is_local(root) else last_commit_with_spark(spark, location)


def last_commit_of_folder(location: str) -> int:
    """Without Spark."""
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    try:
        return DeltaTable(location).version()
    except (OSError, DeltaError) as error:
        raise StorageError(f"{location}: cannot be read ({_first_line(error)}): check the table root") from error


def last_commit_with_spark(spark: SparkSession, location: str) -> int:
    """Wherever Spark can read."""
    (row,) = spark.sql(f"DESCRIBE HISTORY {path_identifier(location)} LIMIT 1").select("version").collect()
    return int(row.version)


def register_tables(spark: SparkSession, root: str, tables: tuple[Table, ...] = ALL_TABLES) -> None:
    """Show the tables in the session's catalog as ``layer.table``; a name that pointed elsewhere points here afterwards."""
    for layer in sorted({table.layer for table in tables}):
        spark.sql(f"CREATE DATABASE IF NOT EXISTS `{layer}`")
    for table in tables:
        # Dropping an external table leaves its files.
        spark.sql(f"DROP TABLE IF EXISTS `{table.layer}`.`{table.name}`")
        spark.sql(f"CREATE TABLE `{table.layer}`.`{table.name}` USING DELTA LOCATION {_text(table_location(root, table))}")


def _column_sql(column: Column) -> str:
    return f"`{column.name}` {column.type}{'' if column.nullable else ' NOT NULL'} COMMENT {_text(column.description)}"


def _text(value: str) -> str:
    """A SQL string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
