import io
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console
from sample_run import CAMERA, MODEL, SESSION, run_rows, write_run

from sightline.results.reading import read_results
from sightline.results.summary import Run, Summary, build_summary, write_summary
from sightline.results.terminal import Places, print_summary
from sightline_contract.errors import StorageError


@dataclass(frozen=True)
class Span:
    name: str
    start_s: float
    end_s: float


RUN = Run("walk.mkv", [Span("spark", 1.0, 9.5), Span("broker", 0.0, 3.25)], 12.5, 2048.0, {}, {"Java": "17"})


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    root = write_run(tmp_path_factory.mktemp("run") / "tables")
    return build_summary(read_results(root, CAMERA.camera_id), RUN)


def printed(summary: Summary, **console: object) -> str:
    out = io.StringIO()
    print_summary(summary, Places(Path("t"), video=Path("demo.mp4")), Console(file=out, **console))  # type: ignore[arg-type]
    return out.getvalue()


def test_frames_come_from_the_node_and_from_the_tracking_job(summary: Summary) -> None:
    frames = summary.frames
    assert (frames.read, frames.analysed, frames.received, frames.expected) == (31, 30, 28, 30)
    assert frames.completeness == pytest.approx(28 / 30, abs=1e-6)
    assert (summary.detections, summary.late_detections) == (36, 2)
    assert summary.batches.model_dump() == {"received": 4, "duplicate": 2, "missing": 0, "late": 0}


def test_the_nodes_own_words_go_before_its_last_heartbeat(tmp_path: Path) -> None:
    results = read_results(write_run(tmp_path), CAMERA.camera_id)
    told = build_summary(results, Run("clip", node={"frames_read": 40, "model_name": "yolox-nano"}))
    assert (told.frames.read, told.frames.analysed) == (40, 30)
    assert (told.model.name, told.model.version) == ("yolox-nano", MODEL)


def test_tracks_count_once_however_many_segments_they_have(summary: Summary) -> None:
    assert summary.tracks.total == 2
    assert summary.tracks.by_class == {"car": 1, "person": 1}


def test_crossings_and_visits_are_grouped(summary: Summary) -> None:
    rows = [(row.line, row.direction, row.class_name, row.count) for row in summary.line_crossings.rows]
    assert rows == [("gate", "east", "person", 1), ("gate", "west", "car", 1)]
    assert [(row.zone, row.count, row.median_dwell_s) for row in summary.zone_visits.rows] == [("yard", 2, 0.7)]


def test_an_alert_delivered_twice_counts_once(summary: Summary) -> None:
    assert summary.alerts.total == 3
    assert summary.alerts.latency_ms is not None
    assert summary.alerts.latency_ms.model_dump() == {"p50": 4.0, "p95": 8.5, "max": 9.0}
    assert summary.alerts.from_frame_ms is not None
    assert summary.alerts.from_frame_ms.max == pytest.approx(89.0)


def test_windows_count_once_for_all_classes(summary: Summary) -> None:
    assert summary.count_windows.model_dump() == {"windows": 3, "window_s": 1, "complete": 2}


def test_dead_letters_from_before_the_session_are_left_out(summary: Summary) -> None:
    assert summary.dead_letters == 1
    assert summary.rows["quarantine.dead_letters"] == 2


def test_rows_name_every_table_also_those_that_are_not_there(tmp_path: Path) -> None:
    results = read_results(tmp_path, CAMERA.camera_id)
    assert set(results.rows.values()) == {0}
    assert next(iter(results.rows)) == "bronze.detections_raw"


def test_stages_stand_in_the_order_in_which_they_began(summary: Summary) -> None:
    assert [(stage.name, stage.seconds) for stage in summary.stages] == [("broker", 3.25), ("spark", 8.5)]


def test_an_empty_root_gives_zeros_and_no_latency(tmp_path: Path) -> None:
    summary = build_summary(read_results(tmp_path, "nobody"), Run("clip"))
    assert (summary.detections, summary.tracks.total, summary.alerts.total, summary.dead_letters) == (0, 0, 0, 0)
    assert summary.alerts.latency_ms is None
    assert summary.frames.completeness is None
    assert summary.count_windows.window_s is None


def test_an_older_session_can_be_asked_for(tmp_path: Path) -> None:
    results = read_results(write_run(tmp_path), CAMERA.camera_id, SESSION - 1)
    assert build_summary(results, Run("clip")).tracks.by_class == {"dog": 1}


def test_a_broken_table_is_named_in_one_line(tmp_path: Path) -> None:
    log = write_run(tmp_path) / "gold" / "alerts" / "_delta_log"
    for file in log.iterdir():
        file.write_text("no json")
    with pytest.raises(StorageError, match=r"gold/alerts: is not a readable Delta table \(.*\): delete it"):
        read_results(tmp_path, CAMERA.camera_id)


def test_a_table_whose_files_are_gone_is_named(tmp_path: Path) -> None:
    for file in (write_run(tmp_path) / "silver" / "line_crossings").rglob("*.parquet"):
        file.unlink()
    with pytest.raises(StorageError, match=r"silver/line_crossings: does not read as silver\.line_crossings"):
        read_results(tmp_path, CAMERA.camera_id)


def test_summary_json_holds_the_same_figures_and_leaves_no_partial_file(summary: Summary, tmp_path: Path) -> None:
    path = write_summary(tmp_path / "new" / "summary.json", summary)
    assert Summary.model_validate(json.loads(path.read_text())) == summary
    assert [file.name for file in path.parent.iterdir()] == ["summary.json"]


def test_the_documented_keys_are_the_keys(summary: Summary) -> None:
    documented = re.findall(r"^ {4}(\w+)  ", sys.modules[Summary.__module__].__doc__ or "", re.MULTILINE)
    assert documented == list(summary.model_dump())


def test_a_summary_that_cannot_be_written_says_so(summary: Summary, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_summary(tmp_path / "file" / "summary.json", summary)


def test_the_terminal_gets_plain_text_of_at_most_100_columns(summary: Summary) -> None:
    text = printed(summary, width=100)
    assert "\x1b" not in text
    tables, _, where = text.partition("Where to look")
    assert max(map(len, tables.splitlines())) <= 100
    assert "demo.mp4" in where
    assert "DeltaTable('t/gold/object_counts')" in where
    assert "93.3% of 30 expected" in tables
    assert "p50 4.0, p95 8.5, max 9.0 ms" in tables


def test_completeness_is_never_rounded_up_to_all(tmp_path: Path) -> None:
    rows = run_rows()
    rows["silver.camera_health"][1] |= {"frames_received": 99_999, "frames_expected": 100_000}
    text = printed(build_summary(read_results(write_run(tmp_path, rows), CAMERA.camera_id), RUN), width=100)
    assert "99.9% of 100,010 expected" in text


def test_names_from_the_data_are_not_read_as_markup(tmp_path: Path) -> None:
    rows = run_rows()
    rows["silver.line_crossings"][0]["direction"] = "[red]east[/nonsense]"
    text = printed(build_summary(read_results(write_run(tmp_path, rows), CAMERA.camera_id), RUN), width=100)
    assert "[red]east[/nonsense]" in text
