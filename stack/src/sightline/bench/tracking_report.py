"""What ``sightline bench tracking`` prints and writes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import typer

from sightline.bench.baselines import Goal, best
from sightline.bench.scoring import COMBINED, METRICS, Key, Score, Scores
from sightline.bench.sequences import Sequence as Recording
from sightline.bench.stopwatch import Rate


def show_scores(recordings: Iterable[Recording], ours: Scores, others: Mapping[str, Scores], measured_here: list[str]) -> None:
    """A table by sequence, beside the best reference of each; then the combined scores, metric by metric."""
    scenes = {recording.name: recording.scene.value for recording in recordings}
    rows = [_score_row(key, scenes, score, others) for key, score in sorted(ours.items(), key=_in_order)]
    head = ("sequence", "class", "camera", *METRICS, "switches", "tracks", "true", "count error")
    typer.echo("Scores in percent; in brackets the difference to the best reference.")
    table(head, rows)
    combined = [key for key in ours if key[1] == COMBINED]
    rows = []
    for key in sorted(combined):
        for metric in METRICS:
            if leader := best(others, key, metric):
                mine = getattr(ours[key], metric)
                rows.append((key[0], key[2], metric, f"{mine:.2f}", f"{leader[1]:.2f}", leader[0], f"{mine - leader[1]:+.2f}"))
    table(("combined", "class", "metric", "sightline", "best", "by", "difference"), rows)
    rows = []
    for key in sorted(combined):
        for name, scores in others.items():
            if row := scores.get(key):
                rows.append((key[0], key[2], name, *_numbers(row)))
    table(("combined", "class", "reference", *METRICS, "switches", "tracks", "true", "count error"), rows)
    if measured_here:
        typer.echo(f"Measured now, for want of baselines of just these sequences: references on {', '.join(measured_here)}.\n")


def show_goals(verdict: Sequence[Goal]) -> None:
    """Each goal, whether it is met, and by how much it is missed."""
    rows = [
        (goal.rules, goal.class_name, goal.what, f"{goal.reached:.2f}", f"{'<=' if goal.at_most else '>='} {goal.wanted:g}",
         "met" if goal.met else f"missed by {abs(goal.reached - goal.wanted):.2f}")
        for goal in verdict
    ]  # fmt: skip
    table(("goal", "class", "what", "reached", "wanted", "verdict"), rows)


def show_ablations(scores: Mapping[str, Scores]) -> None:
    """Combined HOTA / IDF1 without each idea."""
    keys = sorted(key for key in next(iter(scores.values())) if key[1] == COMBINED and key[2] != "all")
    rows = [
        (idea, *(f"{found[key].HOTA:.1f} / {found[key].IDF1:.1f}" if key in found else "-" for key in keys))
        for idea, found in scores.items()
    ]
    table(("HOTA / IDF1 without", *(f"{key[0]} {key[2]}" for key in keys)), rows)


def show_speed(ours: str, speeds: Mapping[str, Mapping[str, Rate]]) -> None:
    """Frames a second of each tracker, and how many times as fast ours is."""
    rows = []
    for rules, rates in speeds.items():
        for name, rate in rates.items():
            ratio = "" if name == ours else f"{_spread(rates[ours].over(rate))} times"
            rows.append((rules, name, _spread(rate), ratio))
    if rows:
        typer.echo("Frames per CPU second on one core: median (least to most).")
        table(("detections", "tracker", "frames/s", "sightline is"), rows)


def show_core(core: Mapping[str, Mapping[int, Rate]]) -> None:
    """Frames a second of the core on made-up cameras."""
    rows = [(what, str(objects), _spread(rate)) for what, rates in core.items() for objects, rate in rates.items()]
    if rows:
        table(("made-up cameras", "objects a frame", "frames/s"), rows)


def as_json(
    versions: Mapping[str, str],
    recordings: Iterable[Recording],
    ours: Scores,
    others: Mapping[str, Scores],
    measured_here: list[str],
    verdict: Sequence[Goal],
    without: Mapping[str, Scores],
    speeds: Mapping[str, Mapping[str, Rate]],
    core: Mapping[str, Mapping[int, Rate]],
) -> dict[str, Any]:
    """All numbers; scores are lists of flat rows, "combined" in place of a sequence where they are of all."""
    return {
        "versions": dict(versions),
        "scenes": {recording.name: recording.scene.value for recording in recordings},
        "scores": _flat(ours),
        "references": {name: _flat(scores) for name, scores in others.items()},
        "references_measured_here": measured_here,
        "goals": [{**asdict(goal), "met": goal.met} for goal in verdict],
        "ablations": {idea: _flat(scores) for idea, scores in without.items()},
        "frames_per_cpu_s": {rules: {name: list(rate.runs) for name, rate in rates.items()} for rules, rates in speeds.items()},
        "core_frames_per_cpu_s": {what: {str(n): list(rate.runs) for n, rate in rates.items()} for what, rates in core.items()},
    }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their content, numbers to the right; never cut, whatever the terminal's width."""
    widths = [max(len(row[k]) for row in (head, *rows)) for k in range(len(head))]
    for row in (head, *rows):
        cells = (cell.rjust(width) if _is_number(cell) else cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
    typer.echo()


def _is_number(cell: str) -> bool:
    return cell[:1] in "+-0123456789" and cell != ""


def _score_row(key: Key, scenes: Mapping[str, str], score: Score, others: Mapping[str, Scores]) -> tuple[str, ...]:
    rules, sequence, class_name = key
    cells = list(_numbers(score))
    for k, metric in enumerate(METRICS):
        if leader := best(others, key, metric):
            cells[k] += f" ({getattr(score, metric) - leader[1]:+.1f})"
    return sequence or f"{rules} combined", class_name, scenes.get(sequence, ""), *cells


def _numbers(score: Score) -> tuple[str, ...]:
    error = "-" if score.count_error is None else f"{score.count_error:+.1f} %"
    shares = (f"{getattr(score, metric):.2f}" for metric in METRICS)
    return *shares, str(score.id_switches), str(score.tracks), str(score.objects), error


def _in_order(item: tuple[Key, Score]) -> tuple[str, bool, str, str]:
    (rules, sequence, class_name), _ = item
    return rules, sequence == COMBINED, sequence, class_name


def _spread(rate: Rate) -> str:
    return f"{_short(rate.median)} ({_short(min(rate.runs))} to {_short(max(rate.runs))})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _flat(scores: Scores) -> list[dict[str, Any]]:
    return [
        {"rules": rules, "sequence": sequence or "combined", "class": class_name, **score.as_row()}
        for (rules, sequence, class_name), score in sorted(scores.items(), key=_in_order)
    ]
