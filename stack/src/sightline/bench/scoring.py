"""Scores of tracks by TrackEval: its readers, its official preprocessing, its metrics.

HOTA: Luiten et al., 2021; CLEAR MOT: Bernardin and Stiefelhagen, 2008; IDF1: Ristani et al., 2016. Files are laid out the
way TrackEval's readers want them, in a folder that lives as long as the call.
"""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trackeval
from trackeval.utils import TrackEvalException

from sightline.bench.sequences import KITTI, Sequence
from sightline_contract.errors import SourceError
from sightline_streaming.motchallenge import Table

COMBINED = ""
METRICS = ("HOTA", "DetA", "AssA", "MOTA", "IDF1")

# Class numbers of MOTChallenge-style KITTI files.
_KITTI_NAMES = ("", "Pedestrian", "Cyclist", "Car", "Van", "Truck", "Tram", "Person", "DontCare", "Misc")
_KITTI_SCORED = {1: "pedestrian", 3: "car"}
# Occlusion states of KITTI by the share that such files call visible.
_KITTI_OCCLUSION = {1.0: 0, 0.6: 1, 0.3: 2, 0.0: 3, -1.0: -1}
# What counts as a person elsewhere: no class, or the number that labels.py or MOTChallenge has for one.
_PERSON = (-1, 0, 1)


@dataclass(frozen=True)
class Score:
    """Of one class in one sequence, or in all of the same rules; the first five in percent."""

    HOTA: float
    DetA: float
    AssA: float
    MOTA: float
    IDF1: float
    id_switches: int
    tracks: int
    objects: int

    @property
    def count_error(self) -> float | None:
        """Percent that the tracks are more than the objects; None without objects."""
        return 100.0 * (self.tracks - self.objects) / self.objects if self.objects else None

    def as_row(self) -> dict[str, float | int | None]:
        """All numbers by name."""
        return {**asdict(self), "count_error": self.count_error}


# By (rules, sequence or COMBINED, class).
Key = tuple[str, str, str]
Scores = dict[Key, Score]


def score(sequences: list[Sequence], tracks: Mapping[str, Table]) -> Scores:
    """Score the tracks of each sequence by name, rows (frame, id, left, top, width, height, score, class).

    Raises SourceError where TrackEval refuses a file.
    """
    found: Scores = {}
    for rules in sorted({sequence.rules for sequence in sequences}):
        members = [sequence for sequence in sequences if sequence.rules == rules]
        with tempfile.TemporaryDirectory(prefix="sightline-bench-") as folder:
            try:
                reader = _kitti(Path(folder), members, tracks) if rules == KITTI else _mot(Path(folder), members, tracks)
                found |= _score_group(rules, reader, members)
            except TrackEvalException as error:
                raise SourceError(f"{members[0].folder.parent}: TrackEval refuses a sequence of {rules}: {error}") from error
    return found


def _score_group(rules: str, reader: Any, members: list[Sequence]) -> Scores:
    metrics = _metrics()
    by_class: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in reader.class_list}
    for sequence in members:
        raw = reader.get_raw_seq_data("tracks", sequence.name)
        for class_name, by_sequence in by_class.items():
            data = reader.get_preprocessed_seq_data(raw, class_name)
            by_sequence[sequence.name] = {name: metric.eval_sequence(data) for name, metric in metrics.items()}
    found: Scores = {}
    combined = {class_name: _combined(metrics, by_sequence) for class_name, by_sequence in by_class.items()}
    for class_name, by_sequence in by_class.items():
        found |= {(rules, sequence, class_name): _row(result) for sequence, result in by_sequence.items()}
        found[rules, COMBINED, class_name] = _row(combined[class_name])
    if len(combined) > 1:  # all classes together, every detection with the same weight
        both = {n: m.combine_classes_det_averaged({c: r[n] for c, r in combined.items()}) for n, m in metrics.items()}
        found[rules, COMBINED, "all"] = _row(both)
    return {key: row for key, row in found.items() if row.tracks or row.objects}


def _metrics() -> dict[str, Any]:
    quiet = {"PRINT_CONFIG": False}
    return {
        "HOTA": trackeval.metrics.HOTA(),
        "CLEAR": trackeval.metrics.CLEAR(quiet),
        "Identity": trackeval.metrics.Identity(quiet),
        "Count": trackeval.metrics.Count(),
    }


def _combined(metrics: dict[str, Any], by_sequence: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        name: metric.combine_sequences({sequence: result[name] for sequence, result in by_sequence.items()})
        for name, metric in metrics.items()
    }


def _row(result: dict[str, Any]) -> Score:
    hota, clear, count = result["HOTA"], result["CLEAR"], result["Count"]
    return Score(
        HOTA=100.0 * float(np.mean(hota["HOTA"])),
        DetA=100.0 * float(np.mean(hota["DetA"])),
        AssA=100.0 * float(np.mean(hota["AssA"])),
        MOTA=100.0 * float(clear["MOTA"]),
        IDF1=100.0 * float(result["Identity"]["IDF1"]),
        id_switches=int(clear["IDSW"]),
        tracks=int(count["IDs"]),
        objects=int(count["GT_IDs"]),
    )


def _mot(folder: Path, members: list[Sequence], tracks: Mapping[str, Table]) -> Any:
    for sequence in members:
        truth = folder / "truth" / sequence.name / "gt"
        truth.mkdir(parents=True)
        shutil.copyfile(sequence.folder / "gt/gt.txt", truth / "gt.txt")
        rows = tracks[sequence.name]
        rows = rows[np.isin(rows[:, 7], _PERSON)]
        text = "".join(
            f"{r[0]:.0f},{r[1]:.0f},{r[2]:.2f},{r[3]:.2f},{r[4]:.2f},{r[5]:.2f},{r[6]:.4f},1,-1,-1\n" for r in rows.tolist()
        )
        _write_results(folder, sequence, text)
    return trackeval.datasets.MotChallenge2DBox(
        {
            **_places(folder),
            "GT_FOLDER": str(folder / "truth"),
            "SKIP_SPLIT_FOL": True,
            "BENCHMARK": members[0].rules,
            "SEQ_INFO": {sequence.name: sequence.n_frames for sequence in members},
        }
    )


def _kitti(folder: Path, members: list[Sequence], tracks: Mapping[str, Table]) -> Any:
    (folder / "truth/label_02").mkdir(parents=True)
    for sequence in members:
        labels = sequence.folder / "gt/label_02.txt"
        text = labels.read_text(encoding="utf-8") if labels.is_file() else _kitti_labels(sequence)
        text = text.replace("Person_sitting", "Person")  # the name that TrackEval knows
        (folder / f"truth/label_02/{sequence.name}.txt").write_text(text, encoding="utf-8")
        rows = tracks[sequence.name].tolist()
        lines = (_kitti_line(r, _KITTI_SCORED[int(r[7])], -1) + f" {r[6]:.4f}\n" for r in rows if int(r[7]) in _KITTI_SCORED)
        _write_results(folder, sequence, "".join(lines))
    lengths = "".join(f"{sequence.name} empty 000000 {sequence.n_frames:06d}\n" for sequence in members)
    (folder / "truth/evaluate_tracking.seqmap.training").write_text(lengths, encoding="utf-8")
    return trackeval.datasets.Kitti2DBox({**_places(folder), "GT_FOLDER": str(folder / "truth"), "SPLIT_TO_EVAL": "training"})


def _places(folder: Path) -> dict[str, Any]:
    return {
        "TRACKERS_FOLDER": str(folder),
        "TRACKERS_TO_EVAL": ["tracks"],
        "TRACKER_SUB_FOLDER": "",
        "PRINT_CONFIG": False,
    }


def _write_results(folder: Path, sequence: Sequence, text: str) -> None:
    (folder / "tracks").mkdir(exist_ok=True)
    (folder / f"tracks/{sequence.name}.txt").write_text(text, encoding="utf-8")


def _kitti_labels(sequence: Sequence) -> str:
    """Labels in KITTI's form from gt.txt, which does not know what is cut off by the frame: nothing is."""
    path = sequence.folder / "gt/gt.txt"
    lines = []
    for row in np.loadtxt(path, delimiter=",", ndmin=2).tolist():
        number = int(row[7]) if len(row) > 7 else 0
        if not 0 < number < len(_KITTI_NAMES):
            raise SourceError(f"{path}: class {number} is none of KITTI's (8th column, 1 to {len(_KITTI_NAMES) - 1})")
        occlusion = _KITTI_OCCLUSION.get(row[8], 0) if len(row) > 8 else 0
        lines.append(_kitti_line(row, _KITTI_NAMES[number], occlusion) + "\n")
    return "".join(lines)


def _kitti_line(row: list[float], name: str, occlusion: int) -> str:
    left, top, right, bottom = row[2], row[3], row[2] + row[4], row[3] + row[5]
    box = f"{left:.6f} {top:.6f} {right:.6f} {bottom:.6f}"
    return f"{row[0] - 1:.0f} {row[1]:.0f} {name} 0 {occlusion} -10 {box} -1 -1 -1 -1000 -1000 -1000 -10"
