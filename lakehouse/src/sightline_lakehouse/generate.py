"""Files of the repository that are made from the table definitions: expectation suites and dbt's sources.

``python -m sightline_lakehouse.generate`` writes them again after a change of ``tables``; a test holds them equal.
"""

import json
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import yaml

from sightline_lakehouse.checks import GATED_LAYERS, suite_document
from sightline_lakehouse.tables import ALL_TABLES, Table

REPOSITORY: Final = Path(__file__).parents[3]
COMMAND: Final = "python -m sightline_lakehouse.generate"


def generated_files() -> dict[str, str]:
    """Text of every generated file by its path in the repository."""
    suites = {
        f"lakehouse/expectations/{table.full_name}.json": json.dumps(suite_document(table), indent=2) + "\n"
        for table in ALL_TABLES
        if table.layer in GATED_LAYERS
    }
    return suites | {"dbt/models/sources.yml": sources_yaml()}


def sources_yaml() -> str:
    """Sources of the dbt project: the tables by their place below SIGHTLINE_TABLE_ROOT, one source per layer."""
    ordered = sorted(ALL_TABLES, key=lambda table: table.layer)
    sources = [
        {
            "name": str(layer),
            "schema": "delta",  # Spark SQL reads a table by its place as delta.`place`
            "quoting": {"identifier": False},
            "tables": [_source(table) for table in tables],
        }
        for layer, tables in groupby(ordered, key=lambda table: table.layer)
    ]
    return f"# Made by: {COMMAND}\n" + yaml.safe_dump({"sources": sources}, sort_keys=False, width=1000)


def _source(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "identifier": f"`{{{{ env_var('SIGHTLINE_TABLE_ROOT') }}}}/{table.path}`",
        "description": table.description,
        "columns": [{"name": c.name, "data_type": c.type, "description": c.description} for c in table.columns],
    }


def main() -> None:
    """Write the generated files."""
    for path, text in generated_files().items():
        target = REPOSITORY / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
