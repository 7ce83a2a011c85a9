"""What ``sightline bench wire`` prints."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_STYLE: dict[str, Any] = {"box": None, "padding": (0, 2, 0, 0), "pad_edge": False}


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """All tables."""
    for name, figures in report["contents"].items():
        _print_sizes(name, figures, report["zstd_level"], console)
    _print_times(report["ns_per_detection"], console)
    _print_levels(report["levels"], console)
    _print_tracking(report["tracking"], console)
    machine = report["machine"]
    console.print(f"{machine['cpu']}, {machine['cores']} cores; CPU times are of one core", highlight=False)


def _print_sizes(name: str, figures: Mapping[str, Any], level: int, console: Console) -> None:
    a_frame, a_message = (figures["detections"] / figures[what] for what in ("frames", "messages"))
    console.print(
        f"{name}: {figures['detections']} detections, {a_frame:.1f} a frame, {a_message:.0f} a message; "
        f"{figures['messages']} messages of {figures['cameras']} cameras",
        highlight=False,
    )
    table = Table("bytes a detection", "plain", *_right(f"zstd {level}", "node", "city", "Kafka", "node", "city"), **_STYLE)
    for encoding, sizes in figures["bytes_per_detection"].items():
        kafka = sizes.get("kafka")
        stored = [f"{each['bytes_per_detection']:.2f}" for each in kafka.values()] if kafka else ["-"] * len(sizes["zstd"])
        table.add_row(encoding, f"{sizes['plain']:.2f}", *(f"{size:.2f}" for size in sizes["zstd"].values()), *stored)
    console.print(table)
    console.print()


def _print_times(times: Mapping[str, Sequence[float]], console: Console) -> None:
    if not times:
        return
    table = Table("CPU ns a detection, messages alone", *_right("median", "least", "most", "times JSON, columns"), **_STYLE)
    for name, runs in times.items():
        json = times[f"{name.split()[0]} JSON, columns"]
        ratio = statistics.median(mine / theirs for mine, theirs in zip(runs, json, strict=True))
        table.add_row(name, f"{statistics.median(runs):.0f}", f"{min(runs):.0f}", f"{max(runs):.0f}", f"{ratio:.2f}")
    console.print(table)
    console.print()


def _print_levels(levels: Mapping[str, Any], console: Console) -> None:
    table = Table("version 2, zstd level", *_right("alone", "node", "city", "CPU ns a detection, alone"), **_STYLE)
    for level, found in levels.items():
        sizes = (f"{found[batch]:.2f}" for batch in ("alone", "node", "city"))
        runs = found.get("ns_per_detection")
        table.add_row(level, *sizes, f"{statistics.median(runs):.0f}" if runs else "-")
    console.print(table)
    console.print()


def _print_tracking(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    if not rows:
        return
    table = Table("tracked", "class", "detections as in", *_right("HOTA", "MOTA", "IDF1", "switches"), **_STYLE)
    for row in rows:
        scores = (f"{row[metric]:.2f}" for metric in ("HOTA", "MOTA", "IDF1"))
        table.add_row(row["rules"], row["class"], row["detections"], *scores, str(row["id_switches"]))
    console.print(table)
    console.print()


def _right(*names: str) -> list[Any]:
    from rich.table import Column

    return [Column(name, justify="right") for name in names]
