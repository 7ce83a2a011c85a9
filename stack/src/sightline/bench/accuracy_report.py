"""The oracle's table on the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from sightline.bench.accuracy_judge import Group, Verdict


def print_verdict(verdict: Verdict, figures: dict[str, Any], console: Console) -> None:
    """Print all figures."""
    # Ten columns in the eighty of a terminal.
    crossings = Table(
        "crossings", "lines", "true", "counted", "err %", "line %", "over", "worst", "missed", "false",
        box=None, padding=(0, 1, 0, 0), pad_edge=False,
    )  # fmt: skip
    for group in [*verdict.groups, *([verdict.queues] if verdict.queues else [])]:
        crossings.add_row(*_cells(group))
    console.print(crossings)
    console.print(f"fast objects: {verdict.fast_counted} of {verdict.fast_true} counted")
    console.print(f"crossings that nobody could have seen: {verdict.unseen}")
    sums = Table("exact sums", "sent", "counted", "cameras that differ")
    for name, sent in verdict.sent.items():
        sums.add_row(name, str(sent), str(verdict.counted[name]), str(verdict.wrong_cameras[name]))
    console.print(sums)
    for name, numbers in (("objects per window", verdict.windows), ("zone visits", verdict.visits)):
        console.print(f"{name}: " + ", ".join(f"{key} {value:.6g}" for key, value in numbers.items()))
    events = Table("events", "true", "told", "right", "precision", "recall")
    for event in verdict.events:
        events.add_row(
            event.kind, str(event.true), str(event.told), str(event.right), f"{event.precision:.3f}", f"{event.recall:.3f}"
        )
    console.print(events)
    for line in verdict.examples:
        console.print(line, highlight=False, soft_wrap=True)
    console.print("run: " + ", ".join(f"{key} {value}" for key, value in figures.items()))


def _cells(group: Group) -> tuple[str, ...]:
    return (
        group.name, str(group.lines), str(group.true), str(group.counted), f"{group.error_pct:+.2f}",
        f"{group.line_error_pct:.2f}", str(group.over), f"{group.worst_over:+d}", str(group.missed), str(group.false),
    )  # fmt: skip
