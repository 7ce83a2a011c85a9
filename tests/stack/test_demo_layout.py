"""The demo clears what the last demo left, and nobody else's files."""

from pathlib import Path

import pytest

from sightline.demo.layout import fresh_layout
from sightline_contract.errors import ConfigError


def test_a_second_run_starts_from_empty_folders(tmp_path: Path) -> None:
    first = fresh_layout(tmp_path / "out")
    first.video.write_text("old")
    (first.tables / "silver").mkdir(parents=True)
    (first.work / "log").write_text("old")
    second = fresh_layout(tmp_path / "out")
    assert not second.video.exists()
    assert not second.tables.exists()
    assert list(second.work.iterdir()) == []


def test_a_half_finished_run_is_no_obstacle(tmp_path: Path) -> None:
    first = fresh_layout(tmp_path / "out")
    (first.work / "broker").mkdir()
    assert list(fresh_layout(tmp_path / "out").work.iterdir()) == []


def test_a_folder_of_somebody_elses_files_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="not empty and not from a demo"):
        fresh_layout(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        fresh_layout(tmp_path / "out")
