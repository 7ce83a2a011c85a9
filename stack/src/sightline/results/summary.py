"""The figures of a run, as ``summary.json`` keeps them and every display shows them.

Keys of summary.json (names are kept; new ones may be added):

    format            version of this list
    run               clip, camera_id, session, started_at (UTC), tables (folder), total_s, peak_memory_mb
    frames            read, analysed: by the edge node; expected, received, completeness: by the tracking job
    batches           received, duplicate, missing, late: messages of the detections topic
    detections        detections received
    late_detections   detections too late to be tracked
    tracks            total, by_class: distinct confirmed tracks
    line_crossings    total, rows of line, direction, class_name, count
    zone_visits       total, rows of zone, count, median_dwell_s
    alerts            total, latency_ms (node's event to alert), from_frame_ms (frame at the node to alert): p50, p95, max;
                      null without alerts
    count_windows     windows, window_s, complete (every expected frame received)
    dead_letters      messages refused
    rows              rows of every table by layer.name
    stages            rows of name, start_s, seconds; stages overlap
    model             name, version
    versions          of the software
    machine           cpu, cores, memory_gb, system
"""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from sightline.results.machine import Machine, installed_versions, this_machine
from sightline.results.reading import Results, microseconds
from sightline.results.whole_file import whole_file

FORMAT = 1


class StageSpan(Protocol):
    """A stage of the run, in seconds since the run began."""

    @property
    def name(self) -> str:
        """What was done."""

    @property
    def start_s(self) -> float:
        """When it began."""

    @property
    def end_s(self) -> float:
        """When it ended."""


@dataclass(frozen=True)
class Run:
    """What the tables do not say about a run: told by whoever ran it."""

    clip: str
    stages: Sequence[StageSpan] = ()
    total_s: float = 0.0
    peak_memory_mb: float | None = None
    # The node's last words; keys as in NodeStatus. What is not here comes from gold.node_status.
    node: Mapping[str, Any] = field(default_factory=dict)
    # Of software that is no Python package, such as the broker and Java.
    versions: Mapping[str, str] = field(default_factory=dict)


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunFigures(_Figures):
    """Which run."""

    clip: str
    camera_id: str
    session: int
    started_at: dt.datetime
    tables: str
    total_s: float
    peak_memory_mb: float | None


class Frames(_Figures):
    """Frames on their way."""

    read: int
    analysed: int
    expected: int
    received: int
    completeness: float | None  # None where no frame was expected


class Batches(_Figures):
    """Messages of the detections topic."""

    received: int
    duplicate: int
    missing: int
    late: int


class Tracks(_Figures):
    """Distinct confirmed tracks."""

    total: int
    by_class: dict[str, int]


class CrossingCount(_Figures):
    """Crossings of a line."""

    line: str
    direction: str
    class_name: str
    count: int


class LineCrossings(_Figures):
    """Crossings of all lines."""

    total: int
    rows: tuple[CrossingCount, ...]


class VisitCount(_Figures):
    """Completed stays in a zone."""

    zone: str
    count: int
    median_dwell_s: float


class ZoneVisits(_Figures):
    """Completed stays in all zones."""

    total: int
    rows: tuple[VisitCount, ...]


class Latency(_Figures):
    """Percentiles, ms."""

    p50: float
    p95: float
    max: float


class Alerts(_Figures):
    """Alerts, each counted once."""

    total: int
    latency_ms: Latency | None
    from_frame_ms: Latency | None


class CountWindows(_Figures):
    """Closed counting windows."""

    windows: int
    window_s: int | None
    complete: int


class StageFigures(_Figures):
    """A stage."""

    name: str
    start_s: float
    seconds: float


class Model(_Figures):
    """The detector."""

    name: str
    version: str


class Summary(_Figures):
    """All figures of a run; the module's docstring explains them."""

    format: int = FORMAT
    run: RunFigures
    frames: Frames
    batches: Batches
    detections: int
    late_detections: int
    tracks: Tracks
    line_crossings: LineCrossings
    zone_visits: ZoneVisits
    alerts: Alerts
    count_windows: CountWindows
    dead_letters: int
    rows: dict[str, int]
    stages: tuple[StageFigures, ...]
    model: Model
    versions: dict[str, str]
    machine: Machine


def build_summary(results: Results, run: Run) -> Summary:
    """Sum up the tables of a run."""
    node = _newest(results.node_status) | dict(run.node)
    expected, received = _sum(results.health, "frames_expected"), _sum(results.health, "frames_received")
    return Summary(
        run=RunFigures(
            clip=run.clip,
            camera_id=results.camera_id,
            session=results.session,
            started_at=dt.datetime.fromtimestamp(results.session / 1e6, dt.UTC),
            tables=str(results.root),
            total_s=round(run.total_s, 2),
            peak_memory_mb=None if run.peak_memory_mb is None else round(run.peak_memory_mb, 1),
        ),
        frames=Frames(
            read=int(node.get("frames_read", expected)),
            analysed=int(node.get("frames_analysed", received)),
            expected=expected,
            received=received,
            completeness=round(received / expected, 6) if expected else None,
        ),
        batches=Batches(**{name: _sum(results.health, f"batches_{name}") for name in Batches.model_fields}),
        detections=_sum(results.health, "detections"),
        late_detections=_sum(results.health, "late_rows"),
        tracks=_tracks(results.segments),
        line_crossings=_crossings(results.crossings),
        zone_visits=_visits(results.visits),
        alerts=_alerts(results.alerts),
        count_windows=_windows(results.counts),
        dead_letters=results.dead_letters.num_rows,
        rows=results.rows,
        stages=tuple(
            StageFigures(name=stage.name, start_s=round(stage.start_s, 2), seconds=round(stage.end_s - stage.start_s, 2))
            for stage in sorted(run.stages, key=lambda stage: stage.start_s)
        ),
        model=Model(name=str(node.get("model_name", "")), version=str(node.get("model_version", ""))),
        versions=installed_versions() | dict(run.versions),
        machine=this_machine(),
    )


def write_summary(path: Path, summary: Summary) -> Path:
    """Write ``summary`` as JSON, whole or not at all; raises StorageError where the disk refuses."""
    with whole_file(path) as partial:
        partial.write_text(summary.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path


def _newest(node_status: pa.Table) -> dict[str, Any]:
    rows: list[dict[str, Any]] = node_status.sort_by([("reported_at", "descending")]).slice(0, 1).to_pylist()
    return rows[0] if rows else {}


def _sum(rows: pa.Table, column: str) -> int:
    return int(pc.sum(rows[column]).as_py() or 0)


def _tracks(segments: pa.Table) -> Tracks:
    class_of = dict(zip(segments["track_id"].to_pylist(), segments["class_name"].to_pylist(), strict=True))
    return Tracks(total=len(class_of), by_class=dict(sorted(Counter(class_of.values()).items(), key=_largest_first)))


def _largest_first(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]


def _crossings(crossings: pa.Table) -> LineCrossings:
    keys = zip(*(crossings[name].to_pylist() for name in ("line", "direction", "class_name")), strict=True)
    rows = [
        CrossingCount(line=line, direction=direction, class_name=class_name, count=count)
        for (line, direction, class_name), count in sorted(Counter(keys).items())
    ]
    return LineCrossings(total=crossings.num_rows, rows=tuple(rows))


def _visits(visits: pa.Table) -> ZoneVisits:
    dwells: dict[str, list[float]] = {}
    for zone, dwell_s in zip(visits["zone"].to_pylist(), visits["dwell_s"].to_pylist(), strict=True):
        dwells.setdefault(zone, []).append(dwell_s)
    rows = [
        VisitCount(zone=zone, count=len(dwells[zone]), median_dwell_s=round(float(np.median(dwells[zone])), 2))
        for zone in sorted(dwells)
    ]
    return ZoneVisits(total=visits.num_rows, rows=tuple(rows))


def _alerts(alerts: pa.Table) -> Alerts:
    latency_ms = np.asarray(alerts["alert_latency_ms"], dtype=np.float64)
    from_frame_ms = (microseconds(alerts["alerted_at"]) - microseconds(alerts["received_at"])) / 1000
    return Alerts(total=alerts.num_rows, latency_ms=_latency(latency_ms), from_frame_ms=_latency(from_frame_ms))


def _latency(values_ms: np.typing.NDArray[np.float64]) -> Latency | None:
    if not len(values_ms):
        return None
    p50, p95 = np.percentile(values_ms, (50, 95))
    return Latency(p50=round(float(p50), 2), p95=round(float(p95), 2), max=round(float(values_ms.max()), 2))


def _windows(counts: pa.Table) -> CountWindows:
    # Every class of a window carries the same frames.
    whole = dict(zip(counts["window_start"].to_pylist(), counts["completeness"].to_pylist(), strict=True))
    return CountWindows(
        windows=len(whole),
        window_s=pc.max(counts["window_s"]).as_py(),
        complete=sum(completeness >= 1 for completeness in whole.values()),
    )
