"""``sightline bench city``: a whole city through the real jobs, from a backlog or live, beside reference trackers."""

import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from sightline.bench.city_figures import (
    batches,
    bytes_per_detection,
    cpu_seconds,
    frames_per_s,
    log_freshness,
    memory,
    silver_freshness,
    slope,
    sums,
)
from sightline.bench.city_peers import race_peers
from sightline.bench.city_report import plot_live, print_run, print_together
from sightline.bench.city_run import Plan, Run, Sample, run_city
from sightline.results.machine import installed_versions, this_machine

# Frames captured in a live city's first seconds meet a JVM that compiles: they are told apart.
WARM_UP_S = 60


@dataclass(frozen=True)
class Output:
    """Where results go, if anywhere, beside the terminal."""

    json: Path | None = None
    plot: Path | None = None
    work: Path | None = None


def bench_city(plan: Plan, repeats: int, peers: int, output: Output) -> dict[str, Any]:
    """Run the city ``repeats`` times, print and return all figures; raises SightlineError."""
    console = Console()
    results = []
    for number in range(repeats):
        with tempfile.TemporaryDirectory(prefix="sightline-city-") as folder:
            home = (output.work / str(number)) if output.work else Path(folder)
            run = run_city(plan, home, console)
            result = figures(run)
            print_run(plan, result, console)
            if plan.live and output.plot and number == 0:
                plot_live(run, WARM_UP_S, output.plot)
        results.append(result)
    rates = race_peers(plan.fps, plan.objects, peers) if peers else {}
    document = {
        "machine": this_machine().model_dump(),
        "versions": installed_versions(),
        "plan": asdict(replace(plan, spark=dict(plan.spark))),
        "runs": results,
        "peers_frames_per_cpu_s": {name: list(rate.runs) for name, rate in rates.items()},
    }
    if not plan.live:
        document["frames_per_s"] = median(result["frames_per_s"] for result in results)
    print_together(document, rates, console)
    if output.json:
        output.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return document


def figures(run: Run) -> dict[str, Any]:
    """Everything about one run."""
    done = batches(run)
    found: dict[str, Any] = {
        "sums": {name: {"sent": sent, "counted": counted} for name, (sent, counted) in sums(run).items()},
        "bytes_per_detection": bytes_per_detection(run),
        "micro_batches": [
            {"number": b.number, "messages": b.messages, "took_s": b.took_s, "parts_ms": b.parts_ms, "commit_ms": b.commit_ms}
            for b in done
        ],
    }
    if run.plan.live:
        return found | _live_figures(run)
    first_ended_s, last_ended_s = done[0].began_s + done[0].took_s, done[-1].began_s + done[-1].took_s
    frames = sum(batch.messages for batch in done[1:]) * run.plan.fps
    cpu = cpu_seconds(run.samples, first_ended_s, last_ended_s)
    return found | {
        "frames_per_s": frames_per_s(run),
        "cpu_s": cpu,
        "cpu_s_per_million_frames": {what: seconds / max(frames, 1) * 1e6 for what, seconds in cpu.items()},
        "peak_memory_mb": float(memory(run.samples, 0.0)[1].max(initial=0.0)),
    }


def _live_figures(run: Run) -> dict[str, Any]:
    warm_s, end_s = run.began_s + min(WARM_UP_S, run.plan.seconds / 2), run.began_s + run.plan.seconds
    log, silver = log_freshness(run), silver_freshness(run)
    samples = [s for s in run.samples if s.at_s < end_s]
    cpu = cpu_seconds(run.samples, warm_s, end_s)
    warm = [batch for batch in batches(run) if warm_s <= batch.began_s < end_s]
    starts = [batch.began_s for batch in warm]
    return {
        "freshness_s": {
            name: {f"p{share:g}": found.since(warm_s).quantile(share / 100) for share in (50, 90, 95, 99, 100)}
            for name, found in (("log", log), ("silver", silver))
        },
        "freshness_warming_up_p95_s": log.quantile(0.95),
        "memory_mb": _memory_figures(samples, warm_s)
        | {"by_process": {what: _memory_figures([s for s in samples if s.what == what], warm_s) for what in cpu}},
        "batch_s": {"median": median(b.took_s for b in warm), "max": max(b.took_s for b in warm)} if warm else {},
        "batch_slope_s_a_minute": slope(_array(starts), _array([batch.took_s for batch in warm])),
        "cpu_cores": {what: seconds / (end_s - warm_s) for what, seconds in cpu.items()},
        "worst_send_delay_s": run.worst_delay_s,
    }


def _memory_figures(samples: list[Sample], from_s: float) -> dict[str, Any]:
    at_s, megabytes = memory(samples, from_s)
    return {"median": float(median(megabytes)) if len(megabytes) else None, "slope_a_minute": slope(at_s, megabytes)}


def _array(values: list[float]) -> Any:
    import numpy as np

    return np.array(values)
