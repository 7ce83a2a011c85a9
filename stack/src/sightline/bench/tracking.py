"""``sightline bench tracking``: the run, from a folder of sequences to the report."""

import importlib.metadata
import json as json_format
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from sightline.bench import references
from sightline.bench.ablations import ABLATIONS, DEFAULT, Ablation
from sightline.bench.baselines import Baselines, goals, read_baselines
from sightline.bench.core_speed import core_speed
from sightline.bench.references import REFERENCES, Prepared, prepare
from sightline.bench.scoring import Scores, score
from sightline.bench.sequences import Choice, Sequence, find_sequences
from sightline.bench.stopwatch import Rate, race
from sightline.bench.tracking_report import as_json, show_ablations, show_core, show_goals, show_scores, show_speed
from sightline.results.whole_file import whole_file
from sightline_contract.errors import ConfigError
from sightline_streaming.motchallenge import Table, results, track_detections, write_results

__all__ = ["Choice", "bench_tracking"]

OURS = "sightline"

Speeds = dict[str, dict[str, Rate]]


def bench_tracking(
    data: Path, choice: Choice, json: Path | None, results_folder: Path | None, ablations: bool, repeats: int
) -> None:
    """Track, score, compare, time and print; numbers go to ``json``, tracks to ``results_folder`` where they are given."""
    if json is not None and json.is_dir():
        raise ConfigError(f"--json {json}: is a folder: give a file")
    sequences = find_sequences(data, choice)
    baselines = read_baselines(data / "baselines.json")
    rows = {sequence.name: tracked(sequence, DEFAULT) for sequence in sequences}
    if results_folder is not None:
        for name, table in rows.items():
            write_results(results_folder / f"{name}.txt", table)
    ours = score(sequences, rows)
    others, measured_here = _reference_scores(sequences, baselines)
    show_scores(sequences, ours, others, measured_here)
    verdict = goals(ours, others)
    show_goals(verdict)
    without = (
        {each.idea: score(sequences, {s.name: tracked(s, each) for s in sequences}) for each in ABLATIONS} if ablations else {}
    )
    if ablations:
        show_ablations({DEFAULT.idea: ours, **without})
    speeds = _speeds(sequences, baselines, repeats) if repeats else {}
    show_speed(OURS, speeds)
    core = core_speed(repeats) if repeats else {}
    show_core(core)
    if json is not None:
        report = as_json(_versions(), sequences, ours, others, measured_here, verdict, without, speeds, core)
        with whole_file(json) as partial:
            partial.write_text(json_format.dumps(report, indent=1) + "\n", encoding="utf-8")
        typer.echo(f"all numbers: {json}")


def tracked(sequence: Sequence, variant: Ablation) -> Table:
    """Rows of results, with the digits that a file of results has."""
    emissions = track_detections(variant.params(sequence.scene), sequence.detections, sequence.frame_rate)
    rows = results(emissions, sequence.frame_rate)
    rows[:, 2:6] = rows[:, 2:6].round(2)
    return rows


def _reference_scores(sequences: list[Sequence], baselines: Baselines) -> tuple[dict[str, Scores], list[str]]:
    """Scores of each reference tracker: the file's where they are of just these sequences, else measured now.

    Returns them with the rules under which they were measured now.
    """
    here = []
    found: dict[str, Scores] = {name: {} for name in (*baselines.scores, *REFERENCES)}
    for rules in sorted({sequence.rules for sequence in sequences}):
        members = [sequence for sequence in sequences if sequence.rules == rules]
        if baselines.covers(rules, {sequence.name for sequence in members}):
            for name, scores in baselines.scores.items():
                found[name] |= {key: row for key, row in scores.items() if key[0] == rules}
            continue
        here.append(rules)
        for name in REFERENCES:
            settings = baselines.settings_of(rules, name)
            rows = {s.name: references.as_rows(references.run(name, settings, prepare(s, settings))) for s in members}
            found[name] |= score(members, rows)
    return {name: scores for name, scores in found.items() if scores}, here


def _speeds(sequences: list[Sequence], baselines: Baselines, repeats: int) -> Speeds:
    """Frames per CPU second by rules and tracker, ours as OURS."""
    speeds: Speeds = {}
    for rules in sorted({sequence.rules for sequence in sequences}):
        members = [sequence for sequence in sequences if sequence.rules == rules]
        frames = sum(int(s.detections[-1, 0] - s.detections[0, 0]) + 1 for s in members)
        contestants: dict[str, Any] = {OURS: (frames, lambda members=members: [_track_only(s) for s in members])}
        for name in REFERENCES:
            settings = baselines.settings_of(rules, name)
            prepared = [prepare(sequence, settings) for sequence in members]
            contestants[name] = frames, _reference_call(name, settings, prepared)
        speeds[rules] = race(contestants, repeats)
    return speeds


def _track_only(sequence: Sequence) -> object:
    return track_detections(DEFAULT.params(sequence.scene), sequence.detections, sequence.frame_rate)


def _reference_call(name: str, settings: Mapping[str, float | str], prepared: list[Prepared]) -> Any:
    return lambda: [references.run(name, settings, each) for each in prepared]


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("sightline", "trackeval", "trackers", "numba", "numpy")}
