import numpy as np
import pytest

from sightline_contract.camera import Scene
from sightline_contract.errors import ConfigError, SourceError, StorageError
from sightline_streaming.motchallenge import read_detections, track_file


def line(frame, x, score=0.98, class_id=None):
    tail = "" if class_id is None else f",{class_id},-1,-1"
    return f"{frame},-1,{x},100,40.5,100,{score}{tail}"


def run(folder, lines, **changes):
    """Results as rows of numbers, and the summary."""
    (folder / "det.txt").write_text("\n".join(lines) + "\n")
    options = {"frame_rate": 25.0, "frame_size": (1920, 1080), "scene": Scene.FIXED} | changes
    summary = track_file(folder / "det.txt", folder / "res.txt", **options)
    text = (folder / "res.txt").read_text()
    return [[float(v) for v in row.split(",")] for row in text.splitlines()], summary


def test_results_have_ten_columns_and_count_frames_from_one(tmp_path):
    rows, summary = run(tmp_path, [line(k, 100.25 + 3 * k) for k in range(1, 21)])
    assert [row[0] for row in rows] == list(range(1, 21))
    assert {(row[1], *row[7:]) for row in rows} == {(1, -1, -1, -1)}
    assert rows[0][2:7] == [103.25, 100, 40.5, 100, 0.98]
    assert (summary.frames, summary.detections, summary.tracks, summary.boxes) == (20, 20, 1, 20)


def test_the_order_of_lines_does_not_matter_and_results_are_by_frame_then_id(tmp_path):
    lines = [line(k, x + 2 * k) for x in (100, 900) for k in range(1, 31)]
    in_order, _ = run(tmp_path, lines)
    shuffled, _ = run(tmp_path, np.random.default_rng(3).permutation(lines).tolist())
    assert [row[:2] for row in in_order] == sorted(row[:2] for row in in_order)
    # Numbers may differ: which of two objects in a frame comes first is the file's choice.
    assert sorted(row[2:6] for row in shuffled) == sorted(row[2:6] for row in in_order)


def test_classes_are_kept_apart_and_written_in_the_eighth_column(tmp_path):
    rows, summary = run(tmp_path, [line(k, 100 + 3 * k, class_id=c) for k in range(1, 21) for c in (1, 3)])
    assert summary.tracks == 2
    assert {(row[1], row[7]) for row in rows} == {(1, 1), (2, 3)}


def test_scores_outside_0_to_1_are_logits(tmp_path):
    lines = [line(k, 100 + 3 * k, score=6.0) for k in range(1, 21)] + [line(k, 900, score=-0.5) for k in range(1, 21)]
    rows, summary = run(tmp_path, lines)
    assert summary.tracks == 1
    assert rows[0][6] == pytest.approx(1 / (1 + np.exp(-6)), abs=1e-4)


def test_six_columns_are_enough(tmp_path):
    rows, _ = run(tmp_path, [f"{k},-1,{100 + 3 * k},100,40,100" for k in range(1, 21)])
    assert len(rows) == 20


def test_frames_without_detections_take_time(tmp_path):
    lines = [line(k, 100) for k in [*range(1, 21), *range(621, 641)]]
    _, summary = run(tmp_path, lines)
    assert summary.tracks == 2


def test_a_very_large_frame_number_takes_no_longer(tmp_path):
    lines = [line(k, 100) for k in [*range(1, 21), *range(999_999_001, 999_999_021)]]
    rows, summary = run(tmp_path, lines, lost_s=1e9)
    assert summary.tracks >= 1
    assert rows[-1][0] == 999_999_020


@pytest.mark.parametrize("frame_rate", [14.0, 29.97, 59.94, 1000.0, 0.5])
def test_frame_numbers_survive_the_way_through_time(tmp_path, frame_rate):
    rows, _ = run(tmp_path, [line(k, 100) for k in range(1, 400)], frame_rate=frame_rate, lost_s=100)
    assert [row[0] for row in rows] == list(range(1, 400))


def test_a_threshold_can_be_changed(tmp_path):
    lines = [line(k, 100 + 3 * k, score=0.6) for k in range(1, 31)]
    assert run(tmp_path, lines)[1].tracks == 0
    assert run(tmp_path, lines, new_score=0.5, high_score=0.4)[1].tracks == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no detections"),
        ("1,2,three,4,5,6\n", "not a MOTChallenge"),
        ("1,2,3\n", "3 columns"),
        ("0,-1,1,1,9,9,1\n", "frame numbers"),
        ("1.5,-1,1,1,9,9,1\n", "frame numbers"),
        ("1,-1,nan,1,9,9,1\n", "not finite"),
        ("1,-1,1,1,9,9,1,900\n", "classes"),
        ("1,-1,1,1,9,9,1\n2,-1,1,1\n", "not a MOTChallenge"),
        ("1,-1,5000,1,9,9,1\n", "outside a frame of 1920x1080"),
    ],
)
def test_a_bad_file_is_told_in_one_line(tmp_path, text, words):
    (tmp_path / "det.txt").write_text(text)
    with pytest.raises(SourceError, match=words) as error:
        track_file(tmp_path / "det.txt", tmp_path / "res.txt", 30.0, (1920, 1080), Scene.FIXED)
    assert "\n" not in str(error.value)
    assert str(tmp_path / "det.txt") in str(error.value)
    assert not (tmp_path / "res.txt").exists()


def test_binary_and_missing_files_are_told(tmp_path):
    (tmp_path / "det.txt").write_bytes(bytes(range(128, 256)))
    for path in (tmp_path / "det.txt", tmp_path / "none.txt", tmp_path):
        with pytest.raises(SourceError, match=str(path)):
            read_detections(path)


@pytest.mark.parametrize(
    "changes",
    [{"frame_rate": 0.0}, {"frame_rate": float("nan")}, {"frame_size": (0, 10)}, {"lost_s": -1.0}, {"lost": 1.0}],
)
def test_options_that_make_no_sense_are_refused(tmp_path, changes):
    with pytest.raises(ConfigError):
        run(tmp_path, [line(1, 100)], **changes)


def test_results_that_cannot_be_written_leave_nothing_behind(tmp_path):
    (tmp_path / "det.txt").write_text(line(1, 100))
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match="taken"):
        track_file(tmp_path / "det.txt", tmp_path / "taken", 30.0, (1920, 1080), Scene.FIXED)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["det.txt", "taken"]
