"""The reference trackers: SORT, ByteTrack, OC-SORT and BoT-SORT of the package ``trackers``, without appearance or pictures.

Each class of a sequence has a tracker of its own, as these trackers know no classes. Settings come from baselines.json
where it has some for the rules of the sequences, else they are the package's own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import supervision
import trackers

from sightline.bench.sequences import Sequence
from sightline_contract.errors import ConfigError
from sightline_streaming.motchallenge import Table

# Setting in baselines.json: the name of the constructor's parameter, by tracker where they differ. "min" is no parameter:
# detections below it are left out beforehand.
_PARAMETERS = {
    "new": "track_activation_threshold",
    "high": "high_conf_det_threshold",
    "iou": "minimum_iou_threshold",
    "iou2": "minimum_iou_threshold_second_assoc",
    "iou3": "minimum_iou_threshold_unconfirmed_assoc",
    "min_hits": "minimum_consecutive_frames",
    "buffer": "lost_track_buffer",
    "delta_t": "delta_t",
    "vdc": "direction_consistency_weight",
}
REFERENCES: dict[str, tuple[type[Any], dict[str, str], dict[str, Any]]] = {
    "SORT": (trackers.SORTTracker, _PARAMETERS, {}),
    "ByteTrack": (trackers.ByteTrackTracker, _PARAMETERS, {}),
    "OC-SORT": (trackers.OCSORTTracker, _PARAMETERS, {}),
    "BoT-SORT": (
        trackers.BoTSORTTracker,
        {**_PARAMETERS, "iou": "minimum_iou_threshold_first_assoc"},
        {"enable_cmc": False},
    ),
}

Settings = Mapping[str, float | str]


@dataclass(frozen=True)
class Prepared:
    """A sequence as the reference trackers take it: for each class the detections of every frame from the first on."""

    first_frame: int
    frame_rate: float
    frames: dict[int, list[Any]]


def prepare(sequence: Sequence, settings: Settings) -> Prepared:
    """Make the packages' own objects ahead, so that they are no part of a timing."""
    rows = sequence.detections
    numbers = rows[:, 0].astype(np.int64)
    first, last = int(numbers[0]), int(numbers[-1])
    kept = rows[:, 5] >= _threshold(settings.get("min", 0.0))
    frames = {
        int(class_id): [_detections(rows[kept & (rows[:, 6] == class_id) & (numbers == n)]) for n in range(first, last + 1)]
        for class_id in np.unique(rows[:, 6])
    }
    return Prepared(first, sequence.frame_rate, frames)


def run(name: str, settings: Settings, prepared: Prepared) -> list[tuple[int, int, Any]]:
    """Track a sequence; returns (frame, class, tracked detections) of each frame and class."""
    kind, parameters, always = REFERENCES[name]
    given = {parameters[key]: _threshold(value) for key, value in settings.items() if key != "min"}
    for key in ("lost_track_buffer", "minimum_consecutive_frames", "delta_t"):
        if key in given:
            given[key] = int(given[key])
    tracked = []
    for class_id, frames in prepared.frames.items():
        tracker = kind(frame_rate=prepared.frame_rate, **always, **given)
        tracked += [(n, class_id, tracker.update(seen)) for n, seen in enumerate(frames, start=prepared.first_frame)]
    return tracked


def as_rows(tracked: list[tuple[int, int, Any]]) -> Table:
    """Rows (frame, id, left, top, width, height, score, class) of what ``run`` returned, ids from 1."""
    numbers: dict[tuple[int, int], int] = {}
    rows = []
    for frame, class_id, found in tracked:
        for box, score, tracker_id in zip(found.xyxy, found.confidence, found.tracker_id, strict=True) if len(found) else ():
            if tracker_id >= 0:
                number = numbers.setdefault((class_id, int(tracker_id)), len(numbers) + 1)
                left, top, right, bottom = box
                rows.append((frame, number, left, top, right - left, bottom - top, score, class_id))
    return np.array(rows, np.float64).reshape(-1, 8)


def _detections(rows: Table) -> Any:
    boxes = rows[:, 1:5].copy()
    boxes[:, 2:] += boxes[:, :2]
    return supervision.Detections(xyxy=boxes, confidence=rows[:, 5].copy())


def _threshold(value: float | str) -> float:
    """A number, or a score before the sigmoid, written as 'logit 2.0'."""
    try:
        return 1.0 / (1.0 + math.exp(-float(value.removeprefix("logit")))) if isinstance(value, str) else float(value)
    except ValueError:
        raise ConfigError(f"baselines.json: setting {value!r} is not understood: give a number, or 'logit NUMBER'") from None
