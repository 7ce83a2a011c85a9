"""baselines.json: what reference trackers reached on the same detections; and the goals that are set against them.

    {"scores": {TRACKER: {RULES: {"sequences": {SEQUENCE: {CLASS: ROW}}, "combined": {CLASS: ROW}}}},
     "settings": {RULES: {TRACKER: {...}}}}

ROW has HOTA, DetA, AssA, MOTA, IDF1 (percent), IDSW, Tracks, GT_IDs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.bench.scoring import COMBINED, METRICS, Score, Scores
from sightline.bench.sequences import KITTI, MOT15
from sightline_contract.errors import ConfigError

# Combined HOTA that we want to be ahead of the best reference, by rules and class.
HOTA_AHEAD = {("MOT17", "pedestrian"): 2.0, (KITTI, "car"): 1.5, (KITTI, "pedestrian"): 2.0}
# Percent that confirmed tracks may differ from true objects, combined.
COUNT_WITHIN = 10.0

# Under which name settings may stand for rules that have none of their own.
_SETTINGS_OF = {MOT15: "TUD", "MOT16": "MOT17", "MOT20": "MOT17"}


@dataclass(frozen=True)
class Baselines:
    """Scores of each reference tracker, and its settings by rules."""

    scores: dict[str, Scores] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Mapping[str, float | str]]] = field(default_factory=dict)

    def settings_of(self, rules: str, tracker: str) -> Mapping[str, float | str]:
        """The tracker's settings for sequences of these rules; empty where there are none."""
        group = self.settings.get(rules) or self.settings.get(_SETTINGS_OF.get(rules, "")) or {}
        return group.get(tracker, {})

    def covers(self, rules: str, sequences: set[str]) -> bool:
        """Whether each tracker has scores of these sequences and of no others: only then do combined ones compare."""
        have = [{key[1] for key in scores if key[0] == rules} - {COMBINED} for scores in self.scores.values()]
        return bool(have) and all(names == sequences for names in have)


def read_baselines(path: Path) -> Baselines:
    """Read the file; nothing where there is none; raises ConfigError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        scores = {tracker: _flat(by_rules) for tracker, by_rules in content.get("scores", {}).items()}
        return Baselines(scores, content.get("settings", {}))
    except FileNotFoundError:
        return Baselines()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: not a file of baselines ({error!r}): mend it, or take it away") from error


def _flat(by_rules: Mapping[str, Any]) -> Scores:
    return {
        (rules, sequence, class_name): _score(row)
        for rules, part in by_rules.items()
        for sequence, by_class in {**part["sequences"], COMBINED: part["combined"]}.items()
        for class_name, row in by_class.items()
    }


def _score(row: Mapping[str, Any]) -> Score:
    shares = {name: float(row[name]) for name in METRICS}
    return Score(**shares, id_switches=int(row["IDSW"]), tracks=int(row["Tracks"]), objects=int(row["GT_IDs"]))


@dataclass(frozen=True)
class Goal:
    """One thing wanted of combined scores: ``reached`` must be at least ``wanted``, or at most where ``at_most``."""

    rules: str
    class_name: str
    what: str
    reached: float
    wanted: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.reached <= self.wanted if self.at_most else self.reached >= self.wanted


def best(references: Mapping[str, Scores], key: tuple[str, str, str], metric: str) -> tuple[str, float] | None:
    """The reference tracker with the highest value, and the value."""
    values = {name: float(getattr(scores[key], metric)) for name, scores in references.items() if key in scores}
    if not values:
        return None
    name = max(values, key=lambda tracker: values[tracker])
    return name, values[name]


def goals(ours: Scores, references: Mapping[str, Scores]) -> list[Goal]:
    """Everything that is wanted of the combined scores there are."""
    found = []
    for key, score in ours.items():
        rules, sequence, class_name = key
        if sequence != COMBINED:
            continue
        if class_name != "all":
            for metric, ahead in (("HOTA", HOTA_AHEAD.get((rules, class_name), 0.0)), ("IDF1", 0.0)):
                if leader := best(references, key, metric):
                    reached = float(getattr(score, metric)) - leader[1]
                    found.append(Goal(rules, class_name, f"{metric} ahead of {leader[0]}", reached, ahead))
        if score.count_error is not None:
            found.append(Goal(rules, class_name, "count error, %", abs(score.count_error), COUNT_WITHIN, at_most=True))
    return found
