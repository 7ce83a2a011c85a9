"""What ``sightline demo --scenario drones`` shows: who warned whom how fast, and what the centre holds in the end."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table

from sightline.results.whole_file import whole_file


@dataclass(frozen=True)
class Warned:
    """A drone's reaction to its neighbour's event: from the neighbour's sending to its receipt."""

    of_node: str
    latency_ms: float
    centre_gone: bool


@dataclass(frozen=True)
class Drone:
    """One drone's flight. Messages are DetectionBatches."""

    name: str
    frames: int
    events: int
    handed_over: int
    arrived: int
    repeated: int
    withheld: int
    warned: tuple[Warned, ...]

    @property
    def lost(self) -> int:
        """Messages that the drone handed over and the centre does not have."""
        return self.handed_over - self.arrived


@dataclass(frozen=True)
class Report:
    """The scenario's outcome."""

    drones: tuple[Drone, ...]
    gone_s: float
    total_s: float

    def latencies_ms(self, *, centre_gone: bool) -> list[float]:
        """Of all warnings with the centre gone, or there."""
        return sorted(w.latency_ms for drone in self.drones for w in drone.warned if w.centre_gone is centre_gone)


def print_report(report: Report, summary: Path, console: Console) -> None:
    """Print it."""
    flights = Table(title=f"Two drones, the centre gone for {report.gone_s:.0f} s", title_justify="left", box=None)
    flights.add_column("")
    for header in ("frames", "events", "warnings", "messages", "at the centre", "lost", "repeated", "withheld"):
        flights.add_column(header, justify="right")
    for drone in report.drones:
        figures = (
            drone.frames, drone.events, len(drone.warned), drone.handed_over, drone.arrived, drone.lost, drone.repeated,
            drone.withheld,
        )  # fmt: skip
        flights.add_row(drone.name, *(str(figure) for figure in figures))
    latency = Table(title="From one drone's event to the other's warning", title_justify="left", box=None)
    for header in ("", "warnings", "median ms", "95 % ms", "worst ms"):
        latency.add_column(header, justify="right" if header else "left")
    for label, gone in (("centre there", False), ("centre gone", True)):
        latency.add_row(label, *_cells(report.latencies_ms(centre_gone=gone)))
    console.print()
    console.print(flights)
    console.print("messages: seconds of detections; withheld: detections that selection kept on the drone", style="dim")
    console.print()
    console.print(latency)
    console.print(f"\n{report.total_s:.0f} s; figures: {summary}", soft_wrap=True)


def write_summary(path: Path, report: Report) -> None:
    """Write the figures for machines."""
    gone = report.latencies_ms(centre_gone=True)
    document = asdict(report) | {"lost": sum(drone.lost for drone in report.drones)}
    document["latency_ms_centre_gone"] = {"p50": median(gone), "worst": gone[-1], "warnings": len(gone)} if gone else None
    with whole_file(path) as partial:
        partial.write_text(json.dumps(document, indent=2), encoding="utf-8")


def _cells(latencies_ms: list[float]) -> list[str]:
    if not latencies_ms:
        return ["0", "", "", ""]
    p95 = quantiles(latencies_ms, n=20, method="inclusive")[-1] if len(latencies_ms) > 1 else latencies_ms[0]
    return [str(len(latencies_ms)), *(f"{value:.1f}" for value in (median(latencies_ms), p95, latencies_ms[-1]))]
