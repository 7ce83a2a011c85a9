"""The end of ``sightline demo``: what was found, how long it took, where to look. At most 100 columns."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sightline.results.summary import Latency, Summary

WIDTH = 100
QUERY = "from deltalake import DeltaTable; print(DeltaTable('{table}').to_pandas())"


@dataclass(frozen=True)
class Places:
    """Where a run left its results; what was not made is None."""

    tables: Path
    summary: Path | None = None
    report: Path | None = None
    video: Path | None = None


def plain_console() -> Console:
    """A console as wide as its terminal. A pipe has no width of its own, and Rich would take 80."""
    return Console(width=None if sys.stdout.isatty() else WIDTH)


def print_summary(summary: Summary, places: Places, console: Console | None = None) -> None:
    """Print the figures and the places; without colours where the output is not a terminal."""
    console = console or plain_console()
    sides = Table.grid(padding=(0, 5, 0, 0))
    sides.add_row(
        _stack(_found(summary), _crossings(summary), _visits(summary)),
        _stack(_stages(summary), _rows(summary)),
    )
    title = f"{summary.run.clip} · camera {summary.run.camera_id} · {summary.run.total_s:.1f} s"
    console.print(Text(f"\n{title}\n", style="bold"))
    console.print(sides, width=min(WIDTH, console.width))
    # A path or a command that is broken over lines cannot be copied.
    console.print(_where(places), soft_wrap=True)


def _stack(*tables: Table) -> Group:
    """Tables that have rows, one below the other, with a blank line after each."""
    return Group(*(part for table in tables if table.row_count for part in (table, "")))


def _table(title: str, *headers: str) -> Table:
    """A table without lines; the first column is text, the others are numbers unless they say otherwise."""
    table = Table(title=title, title_justify="left", title_style="bold cyan", box=None, pad_edge=False, header_style="dim")
    table.show_header = any(headers)
    for header in headers:
        table.add_column(header)
    return table


def _found(summary: Summary) -> Table:
    frames = summary.frames
    table = _table("What was found", "", "", "")
    table.columns[1].justify = "right"
    table.columns[2].style = "dim"
    by_class = ", ".join(f"{name} {count}" for name, count in summary.tracks.by_class.items())
    rows = [
        ("frames read", frames.read, ""),
        ("frames analysed", frames.analysed, ""),
        ("frames received", frames.received, completeness_text(summary)),
        ("detections", summary.detections, f"{summary.late_detections:,} too late" if summary.late_detections else ""),
        ("tracks", summary.tracks.total, by_class),
        ("line crossings", summary.line_crossings.total, ""),
        ("zone visits", summary.zone_visits.total, ""),
        ("alerts", summary.alerts.total, _latency(summary.alerts.latency_ms)),
        ("count windows", summary.count_windows.windows, f"{summary.count_windows.complete:,} complete"),
        ("dead letters", summary.dead_letters, ""),
    ]
    for name, count, note in rows:
        table.add_row(name, f"{count:,}", escape(note))
    return table


def completeness_text(summary: Summary) -> str:
    """How much of what the camera gave arrived; never rounded up to all of it."""
    frames = summary.frames
    if frames.completeness is None:
        return "none expected"
    percent = math.floor(frames.completeness * 1000) / 10
    return f"{percent:g}% of {frames.expected:,} expected"


def _latency(latency: Latency | None) -> str:
    return f"p50 {latency.p50:.1f}, p95 {latency.p95:.1f}, max {latency.max:.1f} ms" if latency else ""


def _crossings(summary: Summary) -> Table:
    table = _table("Line crossings", "line", "direction", "class", "count")
    table.columns[3].justify = "right"
    for row in summary.line_crossings.rows:
        table.add_row(escape(row.line), escape(row.direction), escape(row.class_name), f"{row.count:,}")
    return table


def _visits(summary: Summary) -> Table:
    table = _table("Zone visits", "zone", "visits", "median stay")
    table.columns[1].justify = table.columns[2].justify = "right"
    for row in summary.zone_visits.rows:
        table.add_row(escape(row.zone), f"{row.count:,}", f"{row.median_dwell_s:.1f} s")
    return table


def _stages(summary: Summary) -> Table:
    table = _table("Stages (they overlap)", "stage", "seconds")
    table.columns[1].justify = "right"
    for stage in summary.stages:
        table.add_row(escape(stage.name), f"{stage.seconds:.1f}")
    if summary.stages:
        table.add_row("[bold]whole run", f"[bold]{summary.run.total_s:.1f}")
    if summary.run.peak_memory_mb is not None:
        table.add_row("peak memory, GB", f"{summary.run.peak_memory_mb / 1000:.1f}")
    return table


def _rows(summary: Summary) -> Table:
    table = _table("Tables", "table", "rows")
    table.columns[1].justify = "right"
    for name, count in summary.rows.items():
        table.add_row(escape(name), f"{count:,}")
    return table


def _where(places: Places) -> Text:
    named = (("video", places.video), ("report", places.report), ("summary", places.summary), ("tables", places.tables))
    lines = [f"{name:<9}{path}" for name, path in named if path is not None]
    query = QUERY.format(table=places.tables / "gold" / "object_counts")
    lines.append(f'{"query":<9}{sys.executable} -c "{query}"')
    return Text("Where to look\n", style="bold cyan").append(Text("\n".join(lines), style="not bold default"))
