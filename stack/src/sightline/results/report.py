"""The run's HTML report: one file that needs nothing from elsewhere but the video beside it."""

import base64
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from sightline.results.annotate import AnnotatedVideo
from sightline.results.charts import all_charts
from sightline.results.detections import read_detections
from sightline.results.heatmap import foot_point_heatmap
from sightline.results.paths import track_paths
from sightline.results.reading import Results
from sightline.results.summary import Latency, Summary
from sightline.results.terminal import completeness_text
from sightline.results.whole_file import whole_file
from sightline_contract.camera import CameraConfig

NEWEST_ALERTS = 12


@dataclass(frozen=True)
class Tile:
    """A headline figure."""

    name: str
    value: str
    note: str = ""
    good: bool = True


@dataclass(frozen=True)
class Step:
    """A station of the data's way, and what passed it."""

    name: str
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Bar:
    """A stage on the run's time line, in percent of the run."""

    name: str
    seconds: float
    left: float
    width: float


@dataclass(frozen=True)
class Photo:
    """A picture as a data URI."""

    alt: str
    uri: str


def write_report(
    path: Path,
    results: Results,
    summary: Summary,
    camera: CameraConfig,
    start_us: int,
    video: AnnotatedVideo | None = None,
) -> Path:
    """Write the report to ``path``; ``video``, where there is one, is linked relative to it.

    ``start_us`` is the capture time of the clip's first frame. Raises StorageError where the disk refuses.
    """
    paths = track_paths(results.segments, start_us)
    heatmap = None
    if video and paths:
        jpeg = foot_point_heatmap(video.scene.jpeg, paths, camera.frame_size)
        heatmap = _photo(jpeg, f"Heat map of the foot-points of {len(paths)} tracks over the scene of {camera.camera_id}.")
    page = _environment().get_template("report.html.j2")
    html = page.render(
        summary=summary,
        tiles=_tiles(summary),
        steps=_steps(summary),
        bars=_bars(summary),
        charts=all_charts(results, paths, read_detections(results, start_us), start_us),
        heatmap=heatmap,
        stills=_stills(video) if video else (),
        video=_relative(video.path, path.parent) if video else None,
        completeness=completeness_text(summary),
        alerts=results.alerts.sort_by([("alerted_at", "descending")]).slice(0, NEWEST_ALERTS).to_pylist(),
    )
    with whole_file(path) as partial:
        partial.write_text(html, encoding="utf-8")
    return path


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sightline.results"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.filters["clock"] = lambda time: time.astimezone(dt.UTC).strftime("%H:%M:%S.%f")[:-3]
    return environment


def _tiles(summary: Summary) -> Sequence[Tile]:
    frames, tracks, alerts = summary.frames, summary.tracks, summary.alerts
    by_class = ", ".join(f"{name} {count:,}" for name, count in tracks.by_class.items())
    return (
        Tile("frames received", f"{frames.received:,}", completeness_text(summary), frames.completeness == 1),
        Tile("detections", f"{summary.detections:,}", f"by {_model(summary)}"),
        Tile("tracks", f"{tracks.total:,}", by_class),
        Tile("line crossings", f"{summary.line_crossings.total:,}", _by_direction(summary)),
        Tile("zone visits", f"{summary.zone_visits.total:,}", ", ".join(row.zone for row in summary.zone_visits.rows)),
        Tile("alerts", f"{alerts.total:,}", _latency(alerts.latency_ms)),
        Tile("dead letters", f"{summary.dead_letters:,}", "messages that broke the contract", not summary.dead_letters),
    )


def _steps(summary: Summary) -> Sequence[Step]:
    batches, windows = summary.batches, summary.count_windows
    return (
        Step("Clip", (summary.run.clip, f"{summary.frames.read:,} frames read")),
        Step("Edge node", (f"{summary.frames.analysed:,} frames analysed", _model(summary))),
        Step("Kafka", (f"{batches.received:,} batches", f"{batches.duplicate:,} twice, {batches.missing:,} missing")),
        Step("Spark", (f"{summary.tracks.total:,} tracks", f"{windows.windows:,} windows", f"{summary.alerts.total:,} alerts")),
        Step("Delta tables", (f"{len(summary.rows)} tables", f"{sum(summary.rows.values()):,} rows")),
    )


def _bars(summary: Summary) -> Sequence[Bar]:
    end_s = max([summary.run.total_s, *(stage.start_s + stage.seconds for stage in summary.stages)])
    if end_s <= 0:
        return ()
    return [
        Bar(stage.name, stage.seconds, round(100 * stage.start_s / end_s, 2), round(max(0.4, 100 * stage.seconds / end_s), 2))
        for stage in summary.stages
    ]


def _stills(video: AnnotatedVideo) -> Sequence[Photo]:
    return [_photo(still.jpeg, f"Annotated frame at {still.time_us / 1e6:.1f} s.") for still in video.stills]


def _photo(jpeg: bytes, alt: str) -> Photo:
    return Photo(alt, "data:image/jpeg;base64," + base64.b64encode(jpeg).decode())


def _relative(file: Path, folder: Path) -> str:
    """How a page in ``folder`` names ``file``: by its name where it lies beside the page."""
    return file.name if file.parent.resolve() == folder.resolve() else file.resolve().as_uri()


def _model(summary: Summary) -> str:
    return f"{summary.model.name} {summary.model.version}".strip() or "an unnamed model"


def _by_direction(summary: Summary) -> str:
    directions: dict[str, int] = {}
    for row in summary.line_crossings.rows:
        directions[row.direction] = directions.get(row.direction, 0) + row.count
    return ", ".join(f"{name} {count:,}" for name, count in directions.items())


def _latency(latency: Latency | None) -> str:
    return f"p50 {latency.p50:g} ms, p95 {latency.p95:g} ms" if latency else ""
