"""What two model versions did in the same windows of time, summed over the nodes of each side by Spark.

Windows are event time: a report belongs to the one into which its span's begin falls. All rows of a node come together in one
task, which drops repetitions and adds up what it has: a look returns a row per window and task, however many nodes there are,
and reads only the dates and times that it asks for.

Rows are plain dicts with the names of ``sightline_models.judge.figures``, which who judges makes of them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark's users know

from sightline_contract.rollout import SCORE_BINS
from sightline_lakehouse.ddl import last_commit, path_identifier, table_location
from sightline_lakehouse.tables import MODEL_DETECTIONS, MODEL_FIGURES, TRACK_SEGMENTS, Table
from sightline_streaming.archived import Row, at
from sightline_streaming.model_reports import LATENCY_BINS

_US: Final = 1_000_000
# A report spans seconds; one that spans more than this is looked at for the windows of its last part only.
_LONGEST_REPORT: Final = timedelta(minutes=10)

CANARY: Final = "canary"
CONTROL: Final = "control"


@dataclass(frozen=True)
class Version:
    """A model version by its registered name."""

    model_name: str
    model_version: str


@dataclass(frozen=True)
class Side:
    """One side: a version, and the nodes on which it is looked at."""

    version: Version
    nodes: frozenset[str]


@dataclass(frozen=True)
class Span:
    """Windows of ``window_s`` from ``from_us`` until ``to_us``, which is no part of them; UTC us, whole windows."""

    from_us: int
    to_us: int
    window_s: float

    @property
    def window_us(self) -> int:
        """Length of a window."""
        return round(self.window_s * _US)

    @property
    def starts_us(self) -> range:
        """Begin of each window."""
        return range(self.from_us, self.to_us, self.window_us)

    def start_of(self, time_us: int) -> int:
        """Begin of the window into which a time falls."""
        return self.from_us + (time_us - self.from_us) // self.window_us * self.window_us


_COUNTS: Final = ("frames", "errors", "detections", "matched", "only_live", "only_shadow")
_SUMS: Final = ("iou_sum", "score_gap_sum")
_FIGURES: Final = (
    "node_id", "slot", "model_name", "model_version", "from_us", "reported_us", *_COUNTS, *_SUMS,
    "score_counts", "class_names", "class_counts", "latency_counts",
)  # fmt: skip
_PART_SCHEMA: Final = pa.schema(
    [pa.field("window_us", pa.int64()), pa.field("arm", pa.string()), pa.field("nodes", pa.list_(pa.string()))]
    + [pa.field(name, pa.int64()) for name in _COUNTS]
    + [pa.field(name, pa.float64()) for name in _SUMS]
    + [pa.field("score_counts", pa.list_(pa.int64())), pa.field("latency_counts", pa.list_(pa.int64()))]
    + [pa.field("class_names", pa.list_(pa.string())), pa.field("class_counts", pa.list_(pa.int64()))]
)
_PART_DDL: Final = (
    "window_us bigint, arm string, nodes array<string>, "
    + ", ".join([f"{name} bigint" for name in _COUNTS] + [f"{name} double" for name in _SUMS])
    + ", score_counts array<bigint>, latency_counts array<bigint>, class_names array<string>, class_counts array<bigint>"
)


@dataclass
class _Total:
    """Sums of one arm in one window."""

    nodes: set[str] = field(default_factory=set)
    numbers: Counter[str] = field(default_factory=Counter)
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_SUMS, 0.0))
    scores: Any = field(default_factory=lambda: np.zeros(SCORE_BINS, np.int64))
    latencies: Any = field(default_factory=lambda: np.zeros(LATENCY_BINS, np.int64))
    classes: Counter[str] = field(default_factory=Counter)

    def add(self, nodes: Iterable[str], row: Mapping[str, Any]) -> None:
        """Take in a report, or a part of the same window and arm."""
        self.nodes.update(nodes)
        for name in _COUNTS:
            self.numbers[name] += row[name]
        for name in _SUMS:
            self.sums[name] += row[name]
        self.scores += np.asarray(row["score_counts"], np.int64)
        self.latencies += np.asarray(row["latency_counts"], np.int64)
        for name, count in zip(row["class_names"], row["class_counts"], strict=True):
            self.classes[name] += count

    def part(self, window_us: int, arm: str) -> Row:
        """This as a row of _PART_SCHEMA."""
        return {
            "window_us": window_us,
            "arm": arm,
            "nodes": sorted(self.nodes),
            **{name: self.numbers[name] for name in _COUNTS},
            **self.sums,
            "score_counts": self.scores.tolist(),
            "latency_counts": self.latencies.tolist(),
            "class_names": list(self.classes),
            "class_counts": list(self.classes.values()),
        }


_Totals = dict[tuple[int, str], _Total]
_ArmOf = Callable[[Mapping[str, Any]], str | None]


def arm_windows(spark: SparkSession, root: str, canary: Side, control: Side, span: Span) -> list[Row]:
    """Fields of two ArmWindows, canary and control, for each window of the span, in the order of time."""
    sides = {CANARY: canary, CONTROL: control}
    live = {
        (node, "live", side.version.model_name, side.version.model_version): arm
        for arm, side in sides.items()
        for node in side.nodes
    }
    told = _sum_reports(_figures(spark, root, span), span, lambda row: live.get(_key(row)))
    received = _received(spark, root, sides, span)
    tracks = _tracks(spark, root, received, span)
    rows = []
    for start_us in span.starts_us:
        for arm, side in sides.items():
            here = received.get((start_us, arm), _Received())
            rows.append(_arm_row(start_us, arm, told.get((start_us, arm), _Total()), span) | here.fields() | {"tracks": None})
            if tracks is not None and tracks.reaches(start_us, span):
                rows[-1]["tracks"] = tracks.of(start_us, here.cameras, side.version.model_version)
    return rows


def shadow_windows(spark: SparkSession, root: str, shadow: Side, span: Span) -> list[Row]:
    """Fields of one ShadowWindow for each window of the span: the version in the shadow of the side's nodes."""
    wanted = {(node, "shadow", shadow.version.model_name, shadow.version.model_version) for node in shadow.nodes}

    def arm_of(row: Mapping[str, Any]) -> str | None:
        if row["slot"] == "live":
            return "live" if row["node_id"] in shadow.nodes else None
        return "shadow" if _key(row) in wanted else None

    told = _sum_reports(_figures(spark, root, span), span, arm_of, paired=True)
    none = _Total()
    return [
        _shadow_row(start_us, told.get((start_us, "shadow"), none), told.get((start_us, "live"), none), span)
        for start_us in span.starts_us
    ]


def _key(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return row["node_id"], row["slot"], row["model_name"], row["model_version"]


def _arm_row(start_us: int, arm: str, total: _Total, span: Span) -> Row:
    return {
        "start_us": start_us,
        "window_s": span.window_s,
        "arm": arm,
        "nodes": len(total.nodes),
        "frames": total.numbers["frames"],
        "errors": total.numbers["errors"],
        "detections": total.numbers["detections"],
        "score_counts": tuple(total.scores.tolist()),
        "class_counts": dict(total.classes),
        "latency_counts": tuple(total.latencies.tolist()),
    }


def _shadow_row(start_us: int, shadow: _Total, live: _Total, span: Span) -> Row:
    row = _arm_row(start_us, "", shadow, span)
    del row["arm"]
    agreement = {name: shadow.numbers[name] for name in ("matched", "only_live", "only_shadow")}
    return row | {
        "live_detections": live.numbers["detections"],
        "live_score_counts": tuple(live.scores.tolist()),
        "live_class_counts": dict(live.classes),
        "live_latency_counts": tuple(live.latencies.tolist()),
        **agreement,
        **shadow.sums,
    }


def _read(spark: SparkSession, root: str, table: Table) -> DataFrame:
    return spark.table(path_identifier(table_location(root, table)))


def _in_span(time: str, span: Span, longest: timedelta = timedelta(0)) -> Column:
    """Whether a row's time lies in the span, told by its date, too, so that Delta opens no other files."""
    first, last = at(span.from_us), at(span.to_us)
    dates = F.col("event_date").between(first.date(), (last + longest).date())
    return dates & (F.col(time) >= F.lit(first)) & (F.col(time) < F.lit(last))


def _figures(spark: SparkSession, root: str, span: Span) -> DataFrame:
    times = (F.unix_micros("from_at").alias("from_us"), F.unix_micros("reported_at").alias("reported_us"))
    rows = _read(spark, root, MODEL_FIGURES).where(_in_span("from_at", span, _LONGEST_REPORT))
    return rows.select("*", *times).select(*_FIGURES)


def _sum_reports(rows: DataFrame, span: Span, arm_of: _ArmOf, paired: bool = False) -> _Totals:
    """Sums by window and arm; ``paired``: live figures count only where the same report has a counted shadow."""

    def fold(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        totals = _fold((row for batch in batches for row in _rows(batch)), span, arm_of, paired)
        parts = [total.part(window_us, arm) for (window_us, arm), total in totals.items()]
        yield from pa.Table.from_pylist(parts, _PART_SCHEMA).to_batches()

    totals: _Totals = {}
    for part in rows.repartition("node_id").mapInArrow(fold, _PART_DDL).toArrow().to_pylist():
        totals.setdefault((part["window_us"], part["arm"]), _Total()).add(part["nodes"], part)
    return totals


def _rows(batch: pa.RecordBatch) -> Iterator[Row]:
    """Reports, their long columns as numpy arrays."""
    long = {"score_counts": SCORE_BINS, "latency_counts": LATENCY_BINS}
    arrays = {name: batch[name].flatten().to_numpy().reshape(-1, bins) for name, bins in long.items()}
    for number, row in enumerate(batch.drop_columns(list(long)).to_pylist()):
        yield row | {name: array[number] for name, array in arrays.items()}


def _fold(rows: Iterable[Row], span: Span, arm_of: _ArmOf, paired: bool) -> _Totals:
    """Sums of whole nodes' reports, each report once."""
    counted: dict[tuple[str, str, str, str, int], tuple[str, Row]] = {}
    for row in rows:
        if (arm := arm_of(row)) is not None:
            counted.setdefault((*_key(row), row["reported_us"]), (arm, row))
    shadowed = {(row["node_id"], row["reported_us"]) for arm, row in counted.values() if arm == "shadow"}
    totals: _Totals = {}
    for arm, row in counted.values():
        if not paired or (row["node_id"], row["reported_us"]) in shadowed:
            totals.setdefault((span.start_of(row["from_us"]), arm), _Total()).add([row["node_id"]], row)
    return totals


@dataclass
class _Received:
    """What reached the centre of one arm in one window."""

    frames: int = 0
    detections: int = 0
    scores: Any = field(default_factory=lambda: np.zeros(SCORE_BINS, np.int64))
    classes: Counter[str] = field(default_factory=Counter)
    cameras: set[str] = field(default_factory=set)

    def fields(self) -> Row:
        """The ``received`` fields of an ArmWindow."""
        return {
            "received_frames": self.frames,
            "received_detections": self.detections,
            "received_score_counts": tuple(self.scores.tolist()) if self.frames else (),
            "received_class_counts": dict(self.classes),
        }


def _received(spark: SparkSession, root: str, sides: Mapping[str, Side], span: Span) -> dict[tuple[int, str], _Received]:
    """What of each side's detections reached the centre: a row per node and window of the table, added up here."""
    arms = {
        (node, side.version.model_name, side.version.model_version): arm for arm, side in sides.items() for node in side.nodes
    }
    names = sorted({side.version.model_version for side in sides.values()})
    rows = _read(spark, root, MODEL_DETECTIONS).where(_in_span("window_start", span) & F.col("model_version").isin(names))
    columns = ("node_id", "model_name", "model_version", "cameras", "frames", "detections", "score_counts")
    found: dict[tuple[int, str], _Received] = {}
    selected = rows.select(*columns, "class_names", "class_counts", F.unix_micros("window_start").alias("window_us"))
    for row in selected.toArrow().to_pylist():
        arm = arms.get((row["node_id"], row["model_name"], row["model_version"]))
        if arm is None:
            continue
        into = found.setdefault((span.start_of(row["window_us"]), arm), _Received())
        into.frames += row["frames"]
        into.detections += row["detections"]
        into.scores += np.asarray(row["score_counts"], np.int64)
        into.classes.update(dict(zip(row["class_names"], row["class_counts"], strict=True)))
        into.cameras.update(row["cameras"])
    return found


@dataclass(frozen=True)
class _Tracks:
    """Tracks that began, by window, camera and model version, and how far the tracker has come."""

    began: Mapping[tuple[int, str, str], int]
    newest_us: int

    def reaches(self, start_us: int, span: Span) -> bool:
        """Whether the tracker is past the window."""
        return self.newest_us >= start_us + span.window_us

    def of(self, start_us: int, cameras: Iterable[str], version: str) -> int:
        """Tracks that began on one side's cameras from its version's detections."""
        return sum(self.began.get((start_us, camera, version), 0) for camera in cameras)


def _tracks(spark: SparkSession, root: str, received: Mapping[tuple[int, str], _Received], span: Span) -> _Tracks | None:
    """None where no tracker writes below this root, or none of the cameras is known."""
    cameras = sorted({camera for each in received.values() for camera in each.cameras})
    if not cameras or not _tracker_runs(spark, root):
        return None
    window_us = F.floor((F.unix_micros("start_time") - span.from_us) / span.window_us) * span.window_us
    segments = _read(spark, root, TRACK_SEGMENTS).where(
        (F.col("event_date") >= at(span.from_us).date()) & (F.col("start_time") >= F.lit(at(span.from_us)))
    )
    grouped = segments.groupBy("camera_id", "model_version", (window_us + span.from_us).alias("window_us")).agg(
        F.count_if("first_segment").alias("began"), F.max(F.unix_micros("start_time")).alias("newest_us")
    )
    rows = grouped.toArrow().to_pylist()
    wanted = set(cameras)
    began = {
        (row["window_us"], row["camera_id"], row["model_version"]): row["began"] for row in rows if row["camera_id"] in wanted
    }
    return _Tracks(began, max((row["newest_us"] for row in rows), default=0))


def _tracker_runs(spark: SparkSession, root: str) -> bool:
    from pyspark.errors import PySparkException

    from sightline_contract.errors import StorageError

    try:
        return last_commit(spark, root, TRACK_SEGMENTS) > 0
    except (StorageError, PySparkException):  # no such table
        return False
