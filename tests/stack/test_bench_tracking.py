"""``sightline bench tracking``: scores that are known beforehand, on folders that the tests make."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sightline.bench.baselines import COUNT_WITHIN, goals, read_baselines
from sightline.bench.core_speed import FRAME_RATE, messages
from sightline.bench.scoring import COMBINED, Score, score
from sightline.bench.sequences import Choice, find_sequences
from sightline.bench.stopwatch import Rate, race
from sightline.cli import app
from sightline_contract.batch import get_frames, parse_batch
from sightline_contract.camera import Scene
from sightline_contract.errors import ConfigError, SourceError

ALL = Choice(["*"], [], [])
FRAMES = 40
PEDESTRIAN, CAR, VAN = 1, 3, 4

# Objects of a sequence: class, and left, top, width, height in px of the first frame; all walk 4 px to the right a frame.
Objects = tuple[tuple[int, float, float, float, float], ...]
TWO_PEOPLE: Objects = ((PEDESTRIAN, 100, 100, 40, 90), (PEDESTRIAN, 100, 300, 40, 90))


def write_sequence(folder: Path, objects: Objects, *, info: str = "", logit: float | None = None) -> Path:
    """A sequence whose detections are its ground truth."""
    truth, seen = [], []
    for frame in range(1, FRAMES + 1):
        for number, (class_id, left, top, width, height) in enumerate(objects, start=1):
            box = f"{left + 4 * frame},{top},{width},{height}"
            truth.append(f"{frame},{number},{box},1,{class_id},1")
            seen.append(f"{frame},-1,{box}," + (f"{logit},{class_id}" if logit is not None else "0.99"))
    for name, text in {
        "gt/gt.txt": "\n".join(truth),
        "det/det.txt": "\n".join(seen),
        "seqinfo.ini": f"[Sequence]\nname={folder.name}\nframeRate=10\nseqLength={FRAMES}\nimWidth=640\nimHeight=480\n{info}",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n")
    return folder


def true_tracks(objects: Objects) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    rows = [
        (frame, number, left + 4 * frame, top, width, height, 0.99, class_id)
        for frame in range(1, FRAMES + 1)
        for number, (class_id, left, top, width, height) in enumerate(objects, start=1)
    ]
    return np.array(rows, np.float64)


def bench(*words: str | Path) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["bench", "tracking", *map(str, words)])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.output


@pytest.mark.parametrize("name", ["MOT17-90", "TUD-Street"])
def test_true_tracks_score_100(tmp_path: Path, name: str) -> None:
    write_sequence(tmp_path / name, TWO_PEOPLE)
    sequences = find_sequences(tmp_path, ALL)
    scores = score(sequences, {name: true_tracks(TWO_PEOPLE)})
    expected = Score(100.0, 100.0, 100.0, 100.0, 100.0, id_switches=0, tracks=2, objects=2)
    assert scores == {(sequences[0].rules, at, "pedestrian"): expected for at in (name, COMBINED)}


def test_a_new_number_half_way_is_one_switch(tmp_path: Path) -> None:
    write_sequence(tmp_path / "MOT17-90", TWO_PEOPLE)
    tracks = true_tracks(TWO_PEOPLE)
    tracks[(tracks[:, 1] == 2) & (tracks[:, 0] > FRAMES / 2), 1] = 3
    scores = score(find_sequences(tmp_path, ALL), {"MOT17-90": tracks})
    row = scores["MOT17", "MOT17-90", "pedestrian"]
    assert (row.id_switches, row.tracks, row.objects, row.count_error) == (1, 3, 2, 50.0)
    # Half of the boxes belong to a track that has all of its object, half to one that has half of it.
    assert row.AssA == pytest.approx(75.0)
    assert row.DetA == 100.0
    assert pytest.approx(100 * (1 - 1 / (2 * FRAMES))) == row.MOTA


def test_kitti_scores_cars_and_pedestrians_apart_and_leaves_vans_out(tmp_path: Path) -> None:
    objects = ((CAR, 50, 50, 80, 60), (PEDESTRIAN, 50, 200, 40, 90), (VAN, 50, 350, 80, 60))
    write_sequence(tmp_path / "KITTI-0099", objects, logit=4.0)
    tracks = true_tracks(objects)
    tracks[tracks[:, 1] == 3, 7] = CAR  # a van that is taken for a car is forgiven
    scores = score(find_sequences(tmp_path, ALL), {"KITTI-0099": tracks})
    assert {key[2]: (row.HOTA, row.objects) for key, row in scores.items() if key[1] == COMBINED} == {
        "car": (100.0, 1),
        "pedestrian": (100.0, 1),
        "all": (100.0, 2),
    }


def test_kitti_s_own_labels_count_where_they_are(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path / "KITTI-0099", ((CAR, 50, 50, 80, 60), (CAR, 50, 200, 80, 60)), logit=4.0)
    end = "-1 -1 -1 -1000 -1000 -1000 -10"
    # The second car is cut off by the frame (third column): a detector need not find it.
    lines = [
        f"{n} {car} Car {car} 0 -10 {54 + 4 * n} {50 + 150 * car} {134 + 4 * n} {110 + 150 * car} {end}"
        for n in range(FRAMES)
        for car in (0, 1)
    ]
    (folder / "gt/label_02.txt").write_text("\n".join(lines) + "\n")
    only_first = true_tracks(((CAR, 50, 50, 80, 60),))
    row = score(find_sequences(tmp_path, ALL), {"KITTI-0099": only_first})["KITTI", COMBINED, "car"]
    assert (row.HOTA, row.objects) == (100.0, 1)


def test_the_command_tracks_scores_and_compares(tmp_path: Path) -> None:
    write_sequence(tmp_path / "data/MOT17-90", TWO_PEOPLE)
    write_sequence(tmp_path / "data/KITTI-0099", ((CAR, 50, 50, 80, 60),), logit=6.0)
    out, kept = tmp_path / "out.json", tmp_path / "tracks"
    code, printed = bench("--data", tmp_path / "data", "--repeats", "0", "--json", out, "--results", kept, "--ablations")
    assert code == 0
    report = json.loads(out.read_text())
    rows = {(row["rules"], row["sequence"], row["class"]): row for row in report["scores"]}
    for key in (("MOT17", "combined", "pedestrian"), ("KITTI", "combined", "car")):
        assert rows[key]["HOTA"] > 99.0
        assert (rows[key]["id_switches"], rows[key]["count_error"]) == (0, 0.0)
    assert set(report["references"]) == {"SORT", "ByteTrack", "OC-SORT", "BoT-SORT"}
    assert report["references_measured_here"] == ["KITTI", "MOT17"]
    assert all(len(scores) > 0 for scores in report["ablations"].values())
    assert "price of surprise" in printed
    assert "count error, %" in printed
    assert sorted(path.name for path in kept.iterdir()) == ["KITTI-0099.txt", "MOT17-90.txt"]


def test_baselines_of_just_these_sequences_are_taken_as_they_are(tmp_path: Path) -> None:
    write_sequence(tmp_path / "MOT17-90", TWO_PEOPLE)
    row = {"HOTA": 99.0, "DetA": 1, "AssA": 1, "MOTA": 1, "IDF1": 99.5, "IDSW": 7, "Tracks": 9, "GT_IDs": 2}
    part = {"sequences": {"MOT17-90": {"pedestrian": row}}, "combined": {"pedestrian": row}}
    (tmp_path / "baselines.json").write_text(json.dumps({"scores": {"Other": {"MOT17": part}}}))
    code, printed = bench("--data", tmp_path, "--repeats", "0")
    assert code == 0
    assert "Other" in printed
    assert "HOTA ahead of Other" in printed
    assert "missed by" in printed  # nobody can be 2 ahead of 99
    assert "Measured now" not in printed


def test_goals_are_of_combined_scores_and_of_the_best_reference() -> None:
    def at(hota: float, tracks: int) -> Score:
        return Score(hota, 0, 0, 0, hota, id_switches=0, tracks=tracks, objects=100)

    key = ("MOT17", COMBINED, "pedestrian")
    others = {"A": {key: at(50.0, 100)}, "B": {key: at(52.0, 100)}}
    verdict = goals({key: at(53.5, 89), ("MOT17", "MOT17-90", "pedestrian"): at(0.0, 0)}, others)
    assert [(goal.what, goal.reached, goal.wanted, goal.met) for goal in verdict] == [
        ("HOTA ahead of B", 1.5, 2.0, False),
        ("IDF1 ahead of B", 1.5, 0.0, True),
        ("count error, %", 11.0, COUNT_WITHIN, False),
    ]


def test_the_scene_is_told_by_option_then_file_then_name(tmp_path: Path) -> None:
    for name, info in (("MOT17-02", ""), ("MOT17-05", ""), ("MOT17-90", "scene=fixed"), ("KITTI-0099", "")):
        write_sequence(tmp_path / name, TWO_PEOPLE, info=info, logit=4.0)

    def scenes(choice: Choice) -> dict[str, Scene]:
        return {sequence.name: sequence.scene for sequence in find_sequences(tmp_path, choice)}

    usual = {"KITTI-0099": Scene.MOVING, "MOT17-02": Scene.FIXED, "MOT17-05": Scene.MOVING, "MOT17-90": Scene.FIXED}
    assert scenes(ALL) == usual
    assert scenes(Choice(["*"], ["KITTI-*"], ["*-90"])) == {**usual, "KITTI-0099": Scene.FIXED, "MOT17-90": Scene.MOVING}
    assert set(scenes(Choice(["mot17-*"], [], []))) == {"MOT17-02", "MOT17-05", "MOT17-90"}


def write_each(folder: Path, files: Iterable[str]) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1,-1,10,10,20,20,0.9\n" if name.endswith(".txt") else "[Sequence]\nseqLength=1\n")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ((), "no folder of it has det/det.txt, gt/gt.txt, seqinfo.ini"),
        (("det/det.txt", "seqinfo.ini"), "gt/gt.txt is missing"),
        (("det/det.txt", "gt/gt.txt"), "seqinfo.ini is missing"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, files: tuple[str, ...], expected: str) -> None:
    write_each(tmp_path / "MOT17-90", files)
    with pytest.raises(SourceError, match=expected):
        bench("--data", tmp_path)


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ("no ini", "not a seqinfo.ini"),
        ("[Sequence]\nframeRate=10", "seqLength is ''"),
        ("[Sequence]\nseqLength=10", "seqLength is 10, but det/det.txt has frame 40"),
        ("[Sequence]\nseqLength=40\nframeRate=0", "frameRate 0 is not usable"),
        ("[Sequence]\nseqLength=40\nscene=flying", "scene is 'flying'"),
    ],
)
def test_a_seqinfo_that_cannot_be_used_is_refused(tmp_path: Path, info: str, expected: str) -> None:
    folder = write_sequence(tmp_path / "MOT17-90", TWO_PEOPLE)
    (folder / "seqinfo.ini").write_text(info)
    with pytest.raises(SourceError, match=expected):
        bench("--data", tmp_path)


def test_an_absent_folder_and_patterns_that_fit_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        bench("--data", tmp_path / "absent")
    write_sequence(tmp_path / "MOT17-90", TWO_PEOPLE)
    with pytest.raises(ConfigError, match="fits no sequence"):
        bench("--data", tmp_path, "--only", "KITTI-*")


def test_baselines_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "baselines.json"
    for text in ("{", '{"scores": {"A": {"MOT17": {}}}}', "[]"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="not a file of baselines"):
            read_baselines(path)
    assert read_baselines(tmp_path / "absent.json").scores == {}


def test_json_is_whole_or_not_there(tmp_path: Path) -> None:
    write_sequence(tmp_path / "data/MOT17-90", TWO_PEOPLE)
    with pytest.raises(ConfigError, match="is a folder"):
        bench("--data", tmp_path / "data", "--repeats", "0", "--json", tmp_path)


def test_made_up_cameras_send_what_the_contract_asks_and_repeat_themselves() -> None:
    frames = get_frames(parse_batch(messages("cam-1", 20, seed=1)[0]))
    assert len(frames.counts) == FRAME_RATE
    assert 0.9 < frames.counts.mean() / 20 < 1.0
    assert messages("cam-1", 20, seed=1) == messages("cam-1", 20, seed=1)
    assert messages("cam-1", 20, seed=1) != messages("cam-1", 20, seed=2)


def test_contestants_take_turns_and_ratios_are_taken_turn_by_turn() -> None:
    calls: list[str] = []

    def contestant(name: str) -> tuple[int, object]:
        return 10, lambda: calls.append(name) or sum(range(3_000_000))

    rates = race({name: contestant(name) for name in "ab"}, repeats=3)  # type: ignore[arg-type,misc]
    assert {name: len(rate.runs) for name, rate in rates.items()} == {"a": 3, "b": 3}
    turns = [name for k, name in enumerate(calls) if k == 0 or calls[k - 1] != name]
    assert "".join(turns).startswith("ab")
    assert turns.count("a") >= 3
    assert Rate((10.0, 30.0, 8.0)).over(Rate((5.0, 10.0, 2.0))).runs == (2.0, 3.0, 4.0)
