"""``sightline bench growth``: how the work grows with each thing that grows, one plot each.

Workers, shuffle partitions, objects in a frame and cameras: backlogs through the real tracking job, as ``sightline bench city
--backlog`` runs them. The state over a day: the core alone, a few cameras from midnight to midnight.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from sightline.bench.city_figures import batches, cpu_seconds, frames_per_s
from sightline.bench.city_run import Plan, run_city
from sightline.results.machine import installed_versions, this_machine
from sightline.simulate.steady import SteadyCity
from sightline_contract.errors import ConfigError
from sightline_streaming.core.shard import process_shard
from sightline_streaming.core.site import shard_config
from sightline_streaming.packed_state import pack_state
from sightline_streaming.tracking import compile_kernels

Point = dict[str, float]

_DAY_CAMERAS, _DAY_FPS, _DAY_OBJECTS, _DAY_S = 4, 5, 6, 86_400
_DAY_CALL_S = 60


@dataclass(frozen=True)
class Growth:
    """One thing that grows: its name, the axis' text, its values, and the run for each."""

    axis: str
    values: tuple[int, ...]
    plan: Callable[[Plan, int], Plan]


GROWTHS = {
    "workers": Growth("workers of one core", (1, 2), lambda plan, n: replace(plan, workers=n)),
    "partitions": Growth(
        "shuffle partitions, two shards each", (1, 2, 4), lambda plan, n: replace(plan, partitions=n, shards=2 * n)
    ),
    "objects": Growth("objects in a frame", (6, 15, 30, 60), lambda plan, n: replace(plan, objects=n, batch_s=_fewer(plan, n))),
    "cameras": Growth(
        "cameras", (1000, 5000, 20_000), lambda plan, n: replace(plan, cameras=n, seconds=max(9, plan.seconds * 5000 // n))
    ),
}
DAY = "day"


def _fewer(plan: Plan, objects: int) -> int:
    """Seconds in a micro-batch, so that it holds about as many detections whatever a frame holds."""
    return max(1, plan.batch_s * 6 // objects)


def bench_growth(what: Iterable[str], plan: Plan, repeats: int, json_path: Path | None, plots: Path | None) -> dict[str, Any]:
    """Run, print, draw; raises SightlineError."""
    names = list(what)
    for name in names:
        if name not in (*GROWTHS, DAY):
            raise ConfigError(f"--what {name}: is not one of {', '.join((*GROWTHS, DAY))}")
    console = Console()
    compile_kernels()  # once for this machine: a cluster's workers would each compile
    document: dict[str, Any] = {"machine": this_machine().model_dump(), "versions": installed_versions()}
    for name in names:
        points = day(console) if name == DAY else _grow(GROWTHS[name], plan, repeats, console)
        axis = "hours" if name == DAY else GROWTHS[name].axis
        _print(axis, points, console)
        if plots:
            plots.mkdir(parents=True, exist_ok=True)
            draw(name, axis, points, plots / f"growth-{name}.svg")
        document[name] = points
        if json_path:
            json_path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return document


def _grow(growth: Growth, base: Plan, repeats: int, console: Console) -> list[Point]:
    return [_point(growth.plan(base, value), value, repeats, console) for value in growth.values]


def _point(plan: Plan, value: int, repeats: int, console: Console) -> Point:
    rates, cpu, took = [], [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="sightline-growth-") as folder:
            run = run_city(plan, Path(folder), console)
            done = batches(run)
            rates.append(frames_per_s(run))
            first_ended_s, last_ended_s = done[0].began_s + done[0].took_s, done[-1].began_s + done[-1].took_s
            frames = sum(batch.messages for batch in done[1:]) * plan.fps
            spent = cpu_seconds(run.samples, first_ended_s, last_ended_s)
            cpu.append(sum(spent.get(kind, 0.0) for kind in ("JVM", "Python workers")) / max(frames, 1) * 1e6)
            took.append(median(batch.took_s for batch in done[1:] or done))
    point = {
        "value": float(value),
        "frames_per_s": median(rates),
        "least": min(rates),
        "most": max(rates),
        "detections_per_s": median(rates) * plan.objects,
        "batch_s": median(took),
    }
    # A cluster's executors are no children of its driver: what they take is not seen.
    return point if plan.workers else point | {"cpu_s_per_million_frames": median(cpu)}


def day(console: Console) -> list[Point]:
    """Size of the state, a camera's share in bytes, at every hour of a day."""
    start_us = int(time.time()) // _DAY_S * _DAY_S * 1_000_000 - _DAY_S * 1_000_000
    city = SteadyCity(_DAY_CAMERAS, _DAY_FPS, _DAY_OBJECTS, 1, start_us)
    config, state, points = shard_config(list(city.configs)), None, []
    with console.status("a day"):
        for first in range(0, _DAY_S, _DAY_CALL_S):
            messages = [message for second in range(first, first + _DAY_CALL_S) for message in city.second(second)]
            n = len(messages)
            keys: list[bytes | None] = [message.key.encode() for message in messages]
            payloads: list[bytes | None] = [message.payload for message in messages]
            arrived_us = np.array([message.arrives_us for message in messages], np.int64)
            state, _ = process_shard(config, state, payloads, keys, np.zeros(n, np.int32), np.arange(n), arrived_us)
            if (first + _DAY_CALL_S) % 3600 == 0:
                hours = (first + _DAY_CALL_S) / 3600
                stored = len(pack_state(state)) / _DAY_CAMERAS
                points.append({"value": hours, "state_bytes": len(state) / _DAY_CAMERAS, "stored_bytes": stored})
    return points


def _print(axis: str, points: list[Point], console: Console) -> None:
    table = Table(axis, *(name for name in points[0] if name != "value"))
    for point in points:
        table.add_row(*(f"{number:,.0f}" if number >= 100 else f"{number:.3g}" for number in point.values()))
    console.print(table)


def draw(name: str, axis: str, points: list[Point], path: Path) -> None:
    """One plot; frames a second beside what linear growth from the first point would be."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    values = [point["value"] for point in points]
    if name == DAY:
        axes.plot(values, [point["state_bytes"] for point in points], label="in memory")
        axes.plot(values, [point["stored_bytes"] for point in points], label="stored, compressed")
        axes.set_ylabel("bytes a camera")
    else:
        unit = "detections" if name == "objects" else "frames"
        rates = np.array([point[f"{unit}_per_s"] for point in points])
        axes.plot(values, rates, "o-", label="measured")
        ideal = rates[0] * np.array(values) / values[0] if name == "workers" else np.full(len(values), rates[0])
        axes.plot(values, ideal, ":", color="0.5", label="linear" if name == "workers" else "as the first")
        axes.set_ylabel(f"{unit}/s")
        axes.set_xticks(values)
        if name in ("cameras", "partitions"):
            axes.set_xscale("log")
            axes.set_xticks(values, [f"{value:,.0f}" for value in values])
            axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(axis)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100, metadata={"Date": None} if path.suffix == ".svg" else None)
