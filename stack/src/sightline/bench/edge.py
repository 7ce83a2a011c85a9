"""``sightline bench edge``: an hour without the centre, for the node and for a plain Mosquitto bridge; a week; speed."""

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sightline.bench.edge_bridge import PLAIN, RAISED
from sightline.bench.edge_outage import OutagePlan, Outcome, bridge, ours
from sightline.bench.edge_parts import measure_parts
from sightline.bench.edge_path import measure_path
from sightline.bench.edge_soak import soak
from sightline.broker import Broker, BrokerConfig
from sightline.hush import Hush
from sightline.mosquitto import has_mosquitto
from sightline.ports import free_port
from sightline.results.machine import installed_versions, this_machine

_BRIDGES = {"Mosquitto bridge, defaults": PLAIN, "Mosquitto bridge, persistent, limits raised": RAISED}
_BACKLOG, _EVENTS = 100_000, 300
_PACKAGES = ("sightline", "confluent-kafka", "paho-mqtt")


def bench_outage(plan: OutagePlan, out: Path) -> dict[str, Any]:
    """The outage for all carriers; writes ``edge-outage.json`` and ``edge-outage.svg`` into ``out``."""
    console = Console()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="sightline-edge-") as folder:
        home = Path(folder)
        with console.status("node with spool"), Broker(BrokerConfig(home / "broker", free_port())) as broker:
            outcomes.append(ours(plan, home / "ours", broker))
        for number, (name, options) in enumerate(_BRIDGES.items()):
            if has_mosquitto():
                with console.status(name):
                    outcomes.append(bridge(name, plan, home / f"bridge-{number}", options))
    _print_outage(plan, outcomes, console)
    if not has_mosquitto():
        console.print("no Mosquitto on this machine: the bridges were not measured (Debian: apt install mosquitto)")
    document = _document(plan=asdict(plan), moments=plan.moments, runs=[outcome.as_json() for outcome in outcomes])
    _write(document, out / "edge-outage.json")
    draw(outcomes, out / "edge-outage.svg")
    return document


def bench_soak(days: float, cameras: int, speed: float, out: Path) -> dict[str, Any]:
    """The soak; writes ``edge-soak.json`` into ``out``."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="sightline-edge-") as folder:
        home = Path(folder)
        with Broker(BrokerConfig(home / "broker", free_port())) as broker:
            found = soak(days, cameras, speed, home, broker, console)
    table = Table(f"{days:g} days", "least", "median", "most", "last", "growth a day", "of the second half")
    for name, figures in found["measures"].items():
        table.add_row(name, *(f"{value:,.2f}" for value in figures.values()))
    console.print(table)
    console.print(
        f"{found['messages']:,} messages in {found['took_s']:.0f} s ({found['messages_per_s']:,.0f} a second), "
        f"{found['outages']} outages: {found['verdict']}"
    )
    document = _document(soak=found)
    _write(document, out / "edge-soak.json")
    return document


def bench_path(repeats: int, out: Path) -> dict[str, Any]:
    """Throughput and latency; writes ``edge-path.json`` into ``out``."""
    console, runs = Console(), []
    # librdkafka's own lines; a node that runs leaves them out, too.
    with closing(Hush("sightline_edge.librdkafka")):
        for _ in range(repeats):
            with tempfile.TemporaryDirectory(prefix="sightline-edge-") as folder:
                home = Path(folder)
                with Broker(BrokerConfig(home / "broker", free_port())) as broker:
                    runs.append(measure_path(home, broker.bootstrap, _BACKLOG, _EVENTS))
    for run in runs:
        table = Table(f"{run['message_bytes']:.0f} bytes a message", *run["into_the_spool"])
        for name in ("into_the_spool", "out_of_the_spool"):
            table.add_row(name, *(f"{value:,.1f}" for value in run[name].values()))
        console.print(table)
        events = Table("put of an event to the answer, ms", "p50", "p95", "p99", "events")
        for name, quantiles in run["event_ms"].items():
            events.add_row(name, *(f"{quantiles.get(key, 0.0):.1f}" for key in ("p50", "p95", "p99", "events")))
        console.print(events)
    document = _document(runs=runs)
    _write(document, out / "edge-path.json")
    return document


def bench_parts(out: Path) -> dict[str, Any]:
    """What single parts of a node cost; writes ``edge-parts.json`` into ``out``."""
    console, found = Console(), measure_parts()
    clips = Table("an audit clip's frame, 1080p", "CPU, ms", "bytes", "GB a camera-hour")
    for name, costs in found["clips"].items():
        clips.add_row(name, f"{costs['cpu_ms']:.1f}", f"{costs['bytes']:,.0f}", f"{costs['gb_an_hour']:.2f}")
    console.print(clips)
    console.print(f"a deletion in the ledger: {found['ledger_row_bytes']:.0f} bytes")
    figures = Table("figures for Prometheus, logs", "us")
    for name, took_us in (found["figures_us"] | {"a masked line of the log": found["masked_line_us"]}).items():
        figures.add_row(name, f"{took_us:,.1f}")
    console.print(figures)
    document = _document(parts=found)
    _write(document, out / "edge-parts.json")
    return document


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Messages at the centre, from before it went until all that there was had come."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for outcome in outcomes:
        since_s = [at_s - outcome.back_at_s for at_s in outcome.at_s]
        axes.plot(since_s, [count / 1000 for count in outcome.arrived], label=f"{outcome.name}: {_lost(outcome)}")
    axes.axhline(outcomes[0].verdict.promised / 1000, color="0.5", ls=":", lw=1, label="what the node had promised")
    axes.axvspan(min(outcome.away_at_s - outcome.back_at_s for outcome in outcomes), 0, color="0.9", zorder=0)
    axes.text(0, 0.02, "centre away ", transform=axes.get_xaxis_transform(), ha="right", va="bottom", fontsize="small")
    axes.set_xlabel("s after the centre's return")
    axes.set_ylabel("thousand messages at the centre")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _lost(outcome: Outcome) -> str:
    return f"{outcome.verdict.lost_share:.1%} lost" if outcome.verdict.lost else "0 lost"


def _print_outage(plan: OutagePlan, outcomes: Sequence[Outcome], console: Console) -> None:
    console.print(
        f"{plan.cameras} cameras, a message a second each; centre away for {plan.away_s} s of them, {plan.speed:g} times as "
        f"fast; carrier killed {plan.kills} times meanwhile"
    )
    rows: dict[str, Callable[[Outcome], str]] = {
        "acknowledged to the sender": lambda o: f"{o.verdict.promised:,}",
        "arrived at the centre": lambda o: f"{o.verdict.arrived:,}",
        "lost": lambda o: f"{o.verdict.lost:,} ({o.verdict.lost_share:.1%})",
        "repeated": lambda o: f"{o.verdict.repeated:,}",
        "behind a later one of their camera": lambda o: f"{o.verdict.disordered:,}",
        "memory at the peak, MB": lambda o: f"{o.peak_memory_mb:.0f}",
        "its growth, MB an hour": lambda o: f"{o.memory_growth_mb_an_hour:+.1f}",
        "s from the return to the last": lambda o: f"{o.drain_s:.1f}",
        "on the disk at most, MB": lambda o: f"{o.most_disk_mb:.0f}",
        "written to the disk, MB": lambda o: f"{o.written_mb:,.0f}",
    }
    table = Table("", *(outcome.name for outcome in outcomes))
    for name, of in rows.items():
        table.add_row(name, *(of(outcome) for outcome in outcomes))
    console.print(table)


def _document(**parts: Any) -> dict[str, Any]:
    return {"machine": this_machine().model_dump(), "versions": installed_versions(_PACKAGES), **parts}


def _write(document: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
