"""Tables as Arrow schemas, for every reader and writer that is not Spark.

Spark SQL's type names, the only ones that ``tables`` uses, become Arrow types; each field carries its description in the
metadata key that Delta calls ``comment``.
"""

from typing import Final

import pyarrow as pa

from sightline_lakehouse.tables import Table

_TYPES: Final = {
    "binary": pa.binary(),
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "double": pa.float64(),
    "float": pa.float32(),
    "int": pa.int32(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
}


def arrow_type(spark_type: str) -> pa.DataType:
    """The Arrow type of a Spark SQL type name; raises KeyError for one that ``tables`` does not use."""
    if spark_type.startswith("array<"):
        return pa.list_(pa.field("element", arrow_type(spark_type.removeprefix("array<").removesuffix(">"))))
    return _TYPES[spark_type]


def spark_type(arrow: pa.DataType) -> str:
    """The Spark SQL type name of an Arrow type; Arrow's own name for one that ``tables`` does not use."""
    if pa.types.is_list(arrow):
        return f"array<{spark_type(arrow.value_type)}>"
    return next((name for name, known in _TYPES.items() if known.equals(arrow)), str(arrow))


def arrow_schema(table: Table) -> pa.Schema:
    """The table's columns in order, with nullability and descriptions."""
    return pa.schema(
        [
            pa.field(column.name, arrow_type(column.type), column.nullable, {"comment": column.description})
            for column in table.columns
        ]
    )
