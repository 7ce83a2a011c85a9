"""What a good row satisfies, from the table definitions: once as SQL for tagging rows, once as Great Expectations suites.

Both forms come from the same list, so a row that is tagged fails the expectation of the same name. NaN counts as missing
in both. No engine is imported here.
"""

from dataclasses import dataclass
from typing import Any

from sightline_lakehouse.tables import Column, Layer, Table

GATED_LAYERS = (Layer.SILVER, Layer.GOLD)  # bronze is as received; quarantine is what was refused


@dataclass(frozen=True)
class Check:
    """One expectation. ``violated`` is true in SQL for a row that breaks it; ``same_key`` there counts rows of equal key."""

    name: str
    violated: str
    expectation: str
    kwargs: dict[str, Any]


def checks_of(table: Table) -> tuple[Check, ...]:
    """Every check of a table: nullability and bounds column by column, then the key."""
    checks = [check for column in table.columns for check in _column_checks(column)]
    if not table.may_repeat:
        checks.append(_key_check(table.key))
    return tuple(checks)


def suite_document(table: Table) -> dict[str, Any]:
    """The table's expectation suite in Great Expectations' own JSON form."""
    return {
        "name": table.full_name,
        "expectations": [
            {"type": check.expectation, "kwargs": check.kwargs, "meta": {"check": check.name}} for check in checks_of(table)
        ],
        "meta": {"description": table.description},
    }


def tagged_rows_sql(table: Table, relation: str) -> str:
    """A query for every row of ``relation`` with ``failed_checks``, the names of the checks that the row breaks."""
    tags = ",\n    ".join(f"CASE WHEN {check.violated} THEN '{check.name}' END" for check in checks_of(table))
    key = ", ".join(f"`{name}`" for name in table.key)
    return (  # every name in it is a table definition's
        f"SELECT * EXCEPT (same_key),\n  array_compact(array(\n    {tags})) AS failed_checks\n"  # noqa: S608
        f"FROM (SELECT *, count(*) OVER (PARTITION BY {key}) AS same_key FROM {relation})"
    )


def _column_checks(column: Column) -> list[Check]:
    name = column.name
    checks = []
    missing = f"`{name}` IS NULL"
    if column.type in ("float", "double"):
        missing = f"({missing} OR isnan(`{name}`))"
    if not column.nullable:
        checks.append(Check(f"not_null:{name}", missing, "expect_column_values_to_not_be_null", {"column": name}))
    if column.minimum is not None or column.maximum is not None:
        bounds = {"min_value": column.minimum, "max_value": column.maximum}
        outside = [f"`{name}` < {column.minimum}"] if column.minimum is not None else []
        outside += [f"`{name}` > {column.maximum}"] if column.maximum is not None else []
        violated = f"(NOT {missing} AND ({' OR '.join(outside)}))"
        between = "expect_column_values_to_be_between"
        checks.append(Check(f"between:{name}", violated, between, {"column": name} | bounds))
    if column.values:
        listed = ", ".join(f"'{value}'" for value in column.values)
        kwargs = {"column": name, "value_set": list(column.values)}
        checks.append(Check(f"in_set:{name}", f"`{name}` NOT IN ({listed})", "expect_column_values_to_be_in_set", kwargs))
    return checks


def _key_check(key: tuple[str, ...]) -> Check:
    name = f"unique:{'+'.join(key)}"
    if len(key) == 1:
        return Check(name, "same_key > 1", "expect_column_values_to_be_unique", {"column": key[0]})
    return Check(name, "same_key > 1", "expect_compound_columns_to_be_unique", {"column_list": list(key)})
