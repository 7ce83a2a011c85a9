import json

import matplotlib as mpl
import pytest
from sample_tables import sample_rows, write_rows

from sightline_lakehouse.generate import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_on_a_table_root_and_stores_no_output(path, tmp_path, monkeypatch):
    mpl.use("agg")
    write_rows(tmp_path, sample_rows())
    monkeypatch.setenv("SIGHTLINE_TABLE_ROOT", str(tmp_path))
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    names: dict[str, object] = {}
    for cell in cells:
        assert cell["outputs"] == []
        exec("".join(cell["source"]), names)  # the notebook's own code
    assert names["crossings"].shape[0] == 36
