"""What the report plots, and how each plot is read. A chart of nothing is left out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from sightline.results.detections import Detections
from sightline.results.paths import TrackPath
from sightline.results.reading import Results, microseconds
from sightline.results.svg import INK, SERIES, svg_plot

Floats = npt.NDArray[np.float64]

ALL_CLASSES = "all"


@dataclass(frozen=True)
class Chart:
    """A plot with its title and a sentence on how to read it."""

    title: str
    note: str
    svg: str


def all_charts(results: Results, paths: Sequence[TrackPath], detections: Detections, start_us: int) -> list[Chart]:
    """Every chart for which there is something to draw, in the report's order."""
    charts = (
        objects_over_time(results.counts, start_us),
        crossings_over_time(results.crossings, start_us),
        detections_per_frame(detections),
        score_distribution(detections),
        track_lengths(paths),
        alert_latency(results.alerts),
        frames_over_time(results.health, start_us),
    )
    return [chart for chart in charts if chart is not None]


def objects_over_time(counts: pa.Table, start_us: int) -> Chart | None:
    """Objects per counting window, stacked by class; windows with missing frames are shaded."""
    if not counts.num_rows:
        return None
    starts_s = (microseconds(counts["window_start"]) - start_us) / 1e6
    window_s = float(counts["window_s"][0].as_py())
    names = np.array(counts["class_name"].to_pylist())
    classes = sorted(set(names) - {ALL_CLASSES}) or [ALL_CLASSES]
    grid_s = np.arange(starts_s.min(), starts_s.max() + window_s, window_s)
    slot = np.rint((starts_s - grid_s[0]) / window_s).astype(int)
    stack = np.zeros((len(classes), len(grid_s)))
    for row, name in enumerate(classes):
        np.add.at(stack[row], slot[names == name], np.asarray(counts["objects"])[names == name])
    missing_s = sorted(set(starts_s[np.asarray(counts["completeness"]) < 1]))

    def draw(axes: Axes) -> None:
        edges_s = np.append(grid_s, grid_s[-1] + window_s)
        base = np.zeros(len(grid_s))
        for row, name in enumerate(classes):
            colour = SERIES[row % len(SERIES)]
            axes.stairs(base + stack[row], edges_s, baseline=base, fill=True, color=colour, alpha=0.75, label=name, linewidth=0)
            base = base + stack[row]
        for index, begin_s in enumerate(missing_s):
            axes.axvspan(begin_s, begin_s + window_s, color=INK, alpha=0.18, lw=0, label=None if index else "frames missing")
        _over_time(axes, "objects in the window")
        _legend_above(axes)

    most = int(stack.sum(axis=0).max())
    listed = ", ".join(classes)
    alt = f"Objects per window of {window_s:g} s by class ({listed}): at most {most}. {len(missing_s)} windows miss frames."
    note = f"Distinct tracks in each window of {window_s:g} s. Shaded ones miss frames: a low count may be a blind camera."
    return Chart("Objects over time", note, svg_plot("objects", alt, draw))


def crossings_over_time(crossings: pa.Table, start_us: int) -> Chart | None:
    """Cumulative crossings per line and direction."""
    if not crossings.num_rows:
        return None
    times_s = (microseconds(crossings["crossed_at"]) - start_us) / 1e6
    pairs = zip(crossings["line"].to_pylist(), crossings["direction"].to_pylist(), strict=True)
    names = np.array([f"{line} · {direction}" for line, direction in pairs])
    end_s = float(times_s.max())

    def draw(axes: Axes) -> None:
        for index, name in enumerate(sorted(set(names))):
            of_name = np.sort(times_s[names == name])
            x, y = np.concatenate(([0], of_name, [end_s])), np.append(np.arange(len(of_name) + 1), len(of_name))
            axes.step(x, y, where="post", color=SERIES[index % len(SERIES)], label=name)
        _over_time(axes, "crossings so far")
        axes.set_ylim(bottom=0)
        _legend_above(axes)

    totals = ", ".join(f"{name} {np.count_nonzero(names == name)}" for name in sorted(set(names)))
    note = "Each confirmed track counts once per line and direction, at the moment when its foot-point's path cuts the line."
    return Chart("Line crossings", note, svg_plot("crossings", f"Cumulative line crossings, in the end: {totals}.", draw))


def detections_per_frame(detections: Detections) -> Chart | None:
    """Mean number of detections per frame, second by second."""
    if not len(detections.times_us):
        return None
    seconds = detections.times_us // 1_000_000
    values, index = np.unique(seconds, return_inverse=True)
    means = np.bincount(index, detections.counts) / np.bincount(index)

    def draw(axes: Axes) -> None:
        axes.plot(values, means, color=SERIES[0])
        axes.fill_between(values, means, color=SERIES[0], alpha=0.15, lw=0)
        axes.set_ylim(bottom=0)
        _over_time(axes, "detections a frame")

    alt = f"Mean detections per frame over time: {detections.counts.mean():.1f} on average, at most {detections.counts.max()}."
    note = "What the detector saw, before tracking: mean over each second."
    return Chart("Detections per frame", note, svg_plot("detections", alt, draw))


def score_distribution(detections: Detections) -> Chart | None:
    """Histogram of detection scores."""
    if not len(detections.scores):
        return None

    def draw(axes: Axes) -> None:
        axes.hist(detections.scores, bins=np.linspace(0, 1, 41).tolist(), color=SERIES[0], alpha=0.8)
        axes.set_xlim(0, 1)
        axes.set_xlabel("score")
        axes.set_ylabel("detections")

    median = float(np.median(detections.scores))
    alt = f"Histogram of {len(detections.scores)} detection scores, median {median:.2f}."
    note = f"How sure the detector was, median {median:.2f}. A change of this shape is a first sign of drift."
    return Chart("Detection scores", note, svg_plot("scores", alt, draw))


def track_lengths(paths: Sequence[TrackPath]) -> Chart | None:
    """Histogram of track durations by class."""
    if not paths:
        return None
    classes = sorted({path.class_name for path in paths})
    durations = [np.array([path.duration_s for path in paths if path.class_name == name]) for name in classes]
    median_s = float(np.median(np.concatenate(durations)))

    def draw(axes: Axes) -> None:
        colours = [SERIES[index % len(SERIES)] for index in range(len(classes))]
        axes.hist(durations, bins=24, stacked=True, color=colours, alpha=0.8, label=classes)
        axes.set_xlabel("length of the track, s")
        axes.set_ylabel("tracks")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        _legend_above(axes)

    alt = f"Histogram of the durations of {len(paths)} tracks, median {median_s:.1f} s."
    note = f"From first to last box, median {median_s:.1f} s. Many very short tracks mean that identities break."
    return Chart("Track lengths", note, svg_plot("tracks", alt, draw))


def alert_latency(alerts: pa.Table) -> Chart | None:
    """Share of alerts that were out within a time."""
    if not alerts.num_rows:
        return None
    values_ms = np.sort(np.asarray(alerts["alert_latency_ms"], dtype=np.float64))
    share = np.arange(1, len(values_ms) + 1) / len(values_ms)
    p50, p95 = np.percentile(values_ms, (50, 95))

    def draw(axes: Axes) -> None:
        axes.step(np.append(values_ms[0], values_ms), np.append(0, share), where="post", color=SERIES[0])
        axes.plot(values_ms, share, "o", color=SERIES[0], markersize=3)
        for value, name in ((p50, "p50"), (p95, "p95")):
            axes.axvline(value, color=INK, lw=0.8, ls=(0, (3, 3)))
            axes.annotate(name, (value, 0.02), xytext=(3, 0), textcoords="offset points", color=INK, fontsize=8)
        if values_ms[0] > 0 and values_ms[-1] > 20 * values_ms[0]:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.set_xlabel("from the node's event to the alert, ms")
        axes.set_ylabel("alerts")

    alt = f"Distribution of the latency of {len(values_ms)} alerts: median {p50:.1f} ms, 95th percentile {p95:.1f} ms."
    note = "Share of alerts that the broker had within so many milliseconds of the node's handing over the event."
    return Chart("Alert latency", note, svg_plot("latency", alt, draw))


def frames_over_time(health: pa.Table, start_us: int) -> Chart | None:
    """Frames expected and received, cumulative over the run."""
    if not health.num_rows:
        return None
    ordered = health.sort_by("end_time")
    times_s = np.append(0, (microseconds(ordered["end_time"]) - start_us) / 1e6)
    expected = np.append(0, np.cumsum(np.asarray(ordered["frames_expected"])))
    received = np.append(0, np.cumsum(np.asarray(ordered["frames_received"])))

    def draw(axes: Axes) -> None:
        axes.fill_between(times_s, received, expected, color=SERIES[3], alpha=0.35, lw=0, label="missing")
        axes.plot(times_s, expected, color=INK, lw=1, ls=(0, (4, 3)), label="expected")
        axes.plot(times_s, received, "o-", color=SERIES[0], markersize=3, label="received")
        _over_time(axes, "frames so far")
        axes.set_ylim(bottom=0)
        _legend_above(axes)

    alt = f"Frames so far: {expected[-1]} expected, {received[-1]} received, in {health.num_rows} micro-batches."
    note = "Each dot is a micro-batch of the tracking job. Frames not analysed, or lost on the way, open a gap."
    return Chart("Completeness", note, svg_plot("frames", alt, draw))


def _over_time(axes: Axes, what: str) -> None:
    axes.set_ylabel(what)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=9, steps=[1, 1.5, 2, 3, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{int(value) // 60}:{int(value) % 60:02d}"))
    axes.set_xlabel("time in the clip, min:s")


def _legend_above(axes: Axes) -> None:
    handles, _ = axes.get_legend_handles_labels()
    columns = min(5, len(handles))
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=columns, borderaxespad=0.1, handlelength=1.2, columnspacing=1.2)
