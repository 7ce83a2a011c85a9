"""An A/B comparison: two versions side by side over the same windows, as a table and a plot per metric.

A is the baseline (control), B the candidate (canary). The arms' streets differ; where windows from before are given, A is told
as it would be in B's streets. Nothing is decided here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

from sightline_contract.rollout import SCORE_BINS
from sightline_models.judge import distances
from sightline_models.judge.figures import ArmWindow
from sightline_models.judge.metrics import detections_per_frame, error_rate, latency_ms, received_per_frame, tracks_per_frame
from sightline_models.judge.pairs import Offset, Pair, pairs_of
from sightline_models.judge.sequential import median_interval

Figure = Callable[[ArmWindow], float | None]


@dataclass(frozen=True)
class Compared:
    """A row of the table. ``difference`` is the median over windows of B minus A; ``low`` and ``high`` bound it.

    The bounds of all rows hold at once, and at all times at which somebody may look; None where windows are too few.
    """

    name: str
    unit: str
    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    windows: int


def _mean_score(window: ArmWindow) -> float | None:
    counts = distances.counts_of(window.score_counts, SCORE_BINS)
    return distances.mean_score(counts) if counts.sum() else None


# name -> (unit, figure of a window, whether streets multiply it).
_FIGURES: Final[dict[str, tuple[str, Figure, bool]]] = {
    "mean score": ("", _mean_score, False),
    "detections a frame": ("", detections_per_frame, True),
    "latency p50": ("ms", lambda window: latency_ms(window, 50), True),
    "latency p95": ("ms", lambda window: latency_ms(window, 95), True),
    "latency p99": ("ms", lambda window: latency_ms(window, 99), True),
    "inference errors": ("of frames", error_rate, False),
    "received detections a frame": ("", received_per_frame, True),
    "tracks a frame": ("", tracks_per_frame, True),
}


def compare(
    windows: Sequence[ArmWindow], before: Sequence[ArmWindow] = (), confidence: float = 0.95, until_us: int | None = None
) -> tuple[Compared, ...]:
    """The table; a metric that was not measured has no row. Windows closed by ``until_us`` (UTC us) count, or all."""
    alpha = (1 - confidence) / len(_FIGURES)
    rows = []
    for name, points in _points(windows, before, until_us).items():
        differences = [b - a for _, a, b in points]
        low, high = median_interval(differences, alpha)
        a, b = median(point[1] for point in points), median(point[2] for point in points)
        rows.append(Compared(name, _FIGURES[name][0], a, b, median(differences), low, high, len(points)))
    return tuple(rows)


def plot(
    windows: Sequence[ArmWindow],
    folder: Path,
    names: tuple[str, str] = ("A", "B"),
    before: Sequence[ArmWindow] = (),
    until_us: int | None = None,
) -> list[Path]:
    """Write one PNG a metric into ``folder``: both versions over time. ``names`` are the two versions'."""
    from matplotlib.figure import Figure as Canvas

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, points in _points(windows, before, until_us).items():
        canvas = Canvas(figsize=(8, 3), layout="constrained")
        axes = canvas.subplots()
        times = [datetime.fromtimestamp(start_us / 1e6, UTC) for start_us, _, _ in points]
        axes.plot(times, [a for _, a, _ in points], label=names[0], color="#777777")  # type: ignore[arg-type]
        axes.plot(times, [b for _, _, b in points], label=names[1], color="#c2410c")  # type: ignore[arg-type]
        axes.set_ylabel(" ".join(word for word in (name, _FIGURES[name][0]) if word))
        axes.tick_params(axis="x", rotation=30)
        axes.legend(loc="upper right")
        paths.append(folder / f"{name.replace(' ', '-')}.png")
        canvas.savefig(paths[-1], dpi=110)
    return paths


def table(rows: Sequence[Compared], names: tuple[str, str] = ("A", "B"), confidence: float = 0.95) -> str:
    """The rows as a Markdown table."""
    lines = [
        f"| metric | {names[0]} | {names[1]} | difference | {confidence:.0%} interval | windows |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        bounds = " to ".join("open" if bound is None else f"{bound:+.4g}" for bound in (row.low, row.high))
        name = f"{row.name} ({row.unit})" if row.unit else row.name
        lines.append(f"| {name} | {row.a:.4g} | {row.b:.4g} | {row.difference:+.4g} | {bounds} | {row.windows} |")
    return "\n".join(lines)


def _points(
    windows: Sequence[ArmWindow], before: Sequence[ArmWindow], until_us: int | None
) -> dict[str, list[tuple[int, float, float]]]:
    """(start, A, B) of each metric by window."""
    until = max((int(w.start_us + w.window_s * 1e6) for w in windows), default=0) if until_us is None else until_us
    pairs = pairs_of(windows, until)
    first_us = min((pair.canary.start_us for pair in pairs), default=0)
    offset = Offset.of(before, first_us, least=1)
    made = {name: _points_of(pairs, figure, offset if scaled else Offset()) for name, (_, figure, scaled) in _FIGURES.items()}
    return {name: points for name, points in made.items() if points}


def _points_of(pairs: Sequence[Pair], figure: Figure, offset: Offset) -> list[tuple[int, float, float]]:
    points = []
    for pair in pairs:
        a, b = figure(pair.control), figure(pair.canary)
        if a is not None and b is not None:
            points.append((pair.canary.start_us, a * offset.ratio(figure), b))
    return points
