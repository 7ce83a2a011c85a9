"""Reading tables for the report: as many rows as there are."""

import json
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake

from sightline.results.reading import rows_per_table


def test_rows_are_counted_where_the_writer_kept_no_statistics(tmp_path: Path) -> None:
    folder = tmp_path / "bronze/tracker_facts"
    write_deltalake(folder, pa.table({"number": [1, 2, 3]}))
    commit = folder / "_delta_log/00000000000000000000.json"
    actions = [json.loads(line) for line in commit.read_text(encoding="utf-8").splitlines()]
    for action in actions:
        action.get("add", {}).pop("stats", None)
    commit.write_text("".join(json.dumps(action) + "\n" for action in actions), encoding="utf-8")
    assert rows_per_table(tmp_path)["bronze.tracker_facts"] == 3
