"""What ``sightline demo --scenario rollout`` shows: how each rollout ended, why, and what it did to the fleet."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sightline.fleet.picture import Mark, Sample
from sightline.fleet.trial import Outcome
from sightline.results.whole_file import whole_file
from sightline_models.rollout.steps import StepName

_MOST_REASONS = 3


@dataclass(frozen=True)
class Report:
    """The scenario's outcome."""

    outcomes: tuple[Outcome, ...]
    samples: tuple[Sample, ...]
    marks: tuple[Mark, ...]
    aliases: Mapping[str, tuple[str, ...]]  # by version, in the registry
    unserved_frames: int
    total_s: float
    audit: str  # what verifying the audit log said
    picture: Path | None = None


def print_report(report: Report, summary: Path, console: Console) -> None:
    """Print it."""
    console.print()
    console.print(outcome_table(report.outcomes, "Two rollouts that nobody watched"))
    for outcome in report.outcomes:
        console.print(f"\nversion {outcome.version}, {_word(outcome)}:", style="bold")
        for reason in outcome.reasons[:_MOST_REASONS]:
            console.print(f"  {reason}", soft_wrap=True)
    named = ", ".join(f"{alias} {version}" for version, aliases in report.aliases.items() for alias in aliases)
    console.print(f"\nregistry: {named}; frames for which a node had no model: {report.unserved_frames}", soft_wrap=True)
    console.print(f"audit log: {report.audit}", soft_wrap=True)
    console.print(f"{report.total_s:.0f} s; rings over time: {report.picture}; figures: {summary}", soft_wrap=True)


def outcome_table(outcomes: tuple[Outcome, ...], title: str) -> Table:
    """A row a rollout; hours are the fleet's."""
    table = Table(title=title, title_justify="left", box=None)
    for header in ("version", "end", "nodes that served it", "% of the fleet", "detected after h", "restored after h", "s"):
        table.add_column(header, justify="left" if header == "end" else "right")
    for outcome in outcomes:
        share = 100 * outcome.served / outcome.nodes
        table.add_row(
            outcome.version, _word(outcome), str(outcome.served), f"{share:.0f}", _hours(outcome.detect_h),
            _hours(outcome.restore_h), f"{outcome.wall_s:.0f}",
        )  # fmt: skip
    return table


def write_summary(path: Path, report: Report) -> None:
    """Write the figures for machines."""
    rollouts = [
        {
            "version": outcome.version, "end": _word(outcome), "nodes": outcome.nodes, "served": outcome.served,
            "detect_h": outcome.detect_h, "restore_h": outcome.restore_h, "reasons": outcome.reasons, "wall_s": outcome.wall_s,
            "steps": [{"name": step.name.value, "at_us": step.at_us, "ring": step.ring} for step in outcome.steps],
        }
        for outcome in report.outcomes
    ]  # fmt: skip
    document = {
        "rollouts": rollouts, "aliases": dict(report.aliases), "unserved_frames": report.unserved_frames,
        "audit": report.audit, "total_s": report.total_s,
    }  # fmt: skip
    with whole_file(path) as partial:
        partial.write_text(json.dumps(document, indent=2), encoding="utf-8")


def _word(outcome: Outcome) -> str:
    return "rolled back" if outcome.end is StepName.RESTORED else outcome.end.value.replace("_", " ")


def _hours(hours: float | None) -> str:
    return "" if hours is None else f"{hours:.1f}"
