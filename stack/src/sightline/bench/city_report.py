"""What ``sightline bench city`` prints and draws."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from sightline.bench.city_figures import Freshness, batches, log_freshness, memory, silver_freshness
from sightline.bench.city_run import Plan, Run
from sightline.bench.stopwatch import Rate

_PARTS = ("addBatch", "queryPlanning", "walCommit", "commitOffsets", "latestOffset", "getBatch")


def print_run(plan: Plan, result: dict[str, Any], console: Console) -> None:
    """One run's tables."""
    how = "live" if plan.live else f"backlog, micro-batches of {plan.batch_s} s of the city"
    console.print(
        f"{plan.cameras} cameras x {plan.fps} frames/s x {plan.objects} objects, {plan.seconds} s, {how}; jobs "
        f"{', '.join(plan.jobs)}; {plan.shards} shards in {plan.partitions} partitions"
    )
    exact = Table("sums", "sent", "counted", "difference")
    for name, both in result["sums"].items():
        exact.add_row(name, f"{both['sent']:,}", f"{both['counted']:,}", f"{both['counted'] - both['sent']:+,}")
    console.print(exact)
    sizes = ", ".join(f"{size:.1f} in {place}" for place, size in result["bytes_per_detection"].items())
    console.print(f"bytes a detection on disk: {sizes}")
    _print_budget(result["micro_batches"], console)
    if plan.live:
        _print_live(result, console)
    else:
        console.print(f"[bold]{result['frames_per_s']:,.0f} frames/s[/] over all micro-batches after the first")
        cpu = Table("processor time", "s", "s a million frames")
        for what, seconds in sorted(result["cpu_s"].items()):
            cpu.add_row(what, f"{seconds:.1f}", f"{result['cpu_s_per_million_frames'][what]:.2f}")
        console.print(cpu)
        console.print(f"memory at the peak: {result['peak_memory_mb']:,.0f} MB")


def _print_budget(done: list[dict[str, Any]], console: Console) -> None:
    """Where a micro-batch's time goes, by Spark's own account, without the first."""
    later = done[1:] or done
    budget = Table("of a micro-batch, ms", "median", "longest")
    for part in ("triggerExecution", *_PARTS):
        spent = [batch["parts_ms"].get(part, 0) for batch in later]
        budget.add_row(part, f"{median(spent):,.0f}", f"{max(spent):,.0f}")
    commits = [batch["commit_ms"] for batch in later]
    budget.add_row("state commit, all partitions", f"{median(commits):,.0f}", f"{max(commits):,.0f}")
    console.print(budget)
    messages = [batch["messages"] for batch in later]
    console.print(f"{len(done)} micro-batches, {median(messages):,.0f} messages in the median one")


def _print_live(result: dict[str, Any], console: Console) -> None:
    fresh = Table("capture to Delta, s", *result["freshness_s"]["log"])
    for name, quantiles in result["freshness_s"].items():
        fresh.add_row(name, *(f"{value:.2f}" for value in quantiles.values()))
    console.print(fresh)
    console.print(
        f"micro-batches: median {result['batch_s'].get('median', 0):.2f} s, longest {result['batch_s'].get('max', 0):.2f} s, "
        f"growing by {result['batch_slope_s_a_minute']:+.3f} s a minute"
    )
    console.print(
        f"memory: {result['memory_mb']['median'] or 0:,.0f} MB, growing by {result['memory_mb']['slope_a_minute']:+.1f} MB a "
        f"minute; messages were sent at most {result['worst_send_delay_s']:.2f} s late"
    )
    processes = Table("process", "cores", "memory, MB", "growing, MB a minute")
    for what, cores in sorted(result["cpu_cores"].items()):
        held = result["memory_mb"]["by_process"][what]
        processes.add_row(what, f"{cores:.2f}", f"{held['median'] or 0:,.0f}", f"{held['slope_a_minute']:+.1f}")
    console.print(processes)


def print_together(document: dict[str, Any], rates: Mapping[str, Rate], console: Console) -> None:
    """All runs together, the peers, and the machine."""
    if "frames_per_s" in document:
        found = [result["frames_per_s"] for result in document["runs"]]
        spread = f"{min(found):,.0f} to {max(found):,.0f}"
        console.print(f"[bold]median of {len(found)}: {median(found):,.0f} frames/s[/] ({spread})")
    if rates:
        ours = rates["sightline core"]
        peers = Table("one core, the same detections", "frames per CPU second", "our core is")
        for name, rate in rates.items():
            times = "" if name == "sightline core" else f"{ours.over(rate).median:,.0f} times as fast"
            peers.add_row(name, f"{rate.median:,.0f} ({min(rate.runs):,.0f} to {max(rate.runs):,.0f})", times)
        console.print(peers)
    machine, versions = document["machine"], document["versions"]
    console.print(f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}")
    console.print(", ".join(f"{name} {version}" for name, version in versions.items()))


def plot_live(run: Run, warm_up_s: float, path: Path) -> None:
    """Freshness, micro-batches and memory over the run, as PNG or SVG by the file's name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7.5), layout="constrained")
    fresh, batch, mem = figure.subplots(3, 1, sharex=True)
    for name, found in (("log", log_freshness(run)), ("silver", silver_freshness(run))):
        at_s, p50, p95 = _by_time(found, run.began_s)
        (line,) = fresh.plot(at_s, p95, label=f"{name}, p95")
        fresh.plot(at_s, p50, "--", color=line.get_color(), label=f"{name}, median")
    fresh.set_ylabel("capture to Delta, s")
    fresh.set_ylim(bottom=0)
    fresh.legend(loc="upper right", fontsize="small")
    done = batches(run)
    batch.plot([b.began_s - run.began_s for b in done], [b.took_s for b in done], ".-", lw=0.7)
    batch.set_ylabel("micro-batch, s")
    batch.set_ylim(bottom=0)
    at, megabytes = memory(run.samples, run.began_s)
    mem.plot(at - run.began_s, megabytes / 1000)
    mem.set_ylabel("memory, GB")
    mem.set_ylim(bottom=0)
    mem.set_xlabel("s of the city")
    for axes in (fresh, batch, mem):
        axes.axvspan(0, warm_up_s, color="0.92", zorder=0)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _by_time(found: Freshness, began_s: float) -> tuple[list[float], list[float], list[float]]:
    """Median and 95th percentile of the frames captured in each five seconds."""
    at_s, p50, p95 = [], [], []
    seconds = found.captured_s - began_s
    for first in np.arange(0, seconds.max(initial=0), 5.0):
        inside = (seconds >= first) & (seconds < first + 5)
        part = Freshness(found.captured_s[inside], found.waited_s[inside], found.frames[inside])
        if inside.any():
            at_s.append(float(first) + 2.5)
            p50.append(part.quantile(0.5))
            p95.append(part.quantile(0.95))
    return at_s, p50, p95
