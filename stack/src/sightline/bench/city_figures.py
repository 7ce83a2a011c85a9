"""What a run of a city came to: throughput, freshness, the budget of a micro-batch, and whether every sum is exact.

Throughput is taken over all micro-batches after the first, from the end of the first to the end of the last. Freshness is that
of every frame: from its capture to the moment at which the commit that holds it can be read, which is when the commit's file in
the table's log was written.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from sightline.bench.city_run import Run, Sample
from sightline_contract.topics import DETECTIONS
from sightline_lakehouse.tables import CAMERA_HEALTH, TRACKER_FACTS, Table
from sightline_streaming.fact_frames import read_log

Floats = npt.NDArray[np.float64]

# A message's frames are taken at so many evenly spread places.
_PLACES = np.linspace(0.0, 1.0, 10)


@dataclass(frozen=True)
class Batch:
    """A micro-batch as Spark reports it."""

    number: int
    messages: int
    began_s: float
    took_s: float
    parts_ms: dict[str, int]
    commit_ms: int


@dataclass(frozen=True)
class Freshness:
    """Of frames captured at ``captured_s`` (UTC), when they could be read, each standing for ``frames`` frames."""

    captured_s: Floats
    waited_s: Floats
    frames: Floats

    def since(self, from_s: float) -> "Freshness":
        """Of frames captured from then on."""
        late = self.captured_s >= from_s
        return Freshness(self.captured_s[late], self.waited_s[late], self.frames[late])

    def quantile(self, share: float) -> float:
        """Weighted by frames; not a number where there are none."""
        if not len(self.waited_s):
            return float("nan")
        order = np.argsort(self.waited_s)
        weight = np.cumsum(self.frames[order])
        return float(self.waited_s[order][np.searchsorted(weight, share * weight[-1])])


def batches(run: Run, query: str = "tracking") -> list[Batch]:
    """The query's micro-batches, in order."""
    found = []
    for line in (run.home / "progress.jsonl").read_text(encoding="utf-8").splitlines():
        report: dict[str, Any] = json.loads(line)
        if report["name"] == query:
            began_s = datetime.fromisoformat(report["timestamp"]).timestamp()
            parts: dict[str, int] = report["durationMs"]
            commit = sum(operator.get("commitTimeMs", 0) for operator in report["stateOperators"])
            took_s = parts["triggerExecution"] / 1000
            found.append(Batch(report["batchId"], report["numInputRows"], began_s, took_s, parts, commit))
    return found


def frames_per_s(run: Run) -> float:
    """Frames tracked and committed in a second, over all micro-batches after the first; not a number if there is no other."""
    first, *others = batches(run)
    if not others:
        return float("nan")
    span_s = others[-1].began_s + others[-1].took_s - first.began_s - first.took_s
    return sum(batch.messages for batch in others) * run.plan.fps / span_s


def cpu_seconds(samples: list[Sample], from_s: float = 0.0, to_s: float = float("inf")) -> dict[str, float]:
    """Processor time that each kind of process took between two moments."""
    kinds: dict[str, list[float]] = {}
    for sample in samples:
        if from_s <= sample.at_s <= to_s:
            kinds.setdefault(sample.what, []).append(sample.cpu_s)
    return {what: max(times) - min(times) for what, times in kinds.items()}


def memory(samples: list[Sample], from_s: float) -> tuple[Floats, Floats]:
    """Moments (UTC, s) from ``from_s`` on, and the memory of all processes together, MB."""
    by_time: dict[float, float] = {}
    for sample in samples:
        if sample.at_s >= from_s:
            by_time[sample.at_s] = by_time.get(sample.at_s, 0.0) + sample.memory_mb
    return np.array(list(by_time)), np.array(list(by_time.values()))


def slope(at_s: Floats, values: Floats) -> float:
    """Least squares slope a minute."""
    return float(np.polyfit(at_s - at_s[0], values, 1)[0] * 60) if len(at_s) > 2 else float("nan")


def log_freshness(run: Run) -> Freshness:
    """Of the tracker's log, the table that the tracking job commits to."""
    return _freshness(run, TRACKER_FACTS)


def silver_freshness(run: Run) -> Freshness:
    """Of silver.camera_health, which the facts job fills along with the other tables that people read."""
    return _freshness(run, CAMERA_HEALTH)


def _freshness(run: Run, table: Table) -> Freshness:
    root = run.home / "tables" / table.path
    parts = [
        (spans, commit.stat().st_mtime)
        for commit in sorted((root / "_delta_log").glob("*.json"))
        for file in _added(commit)
        if len(spans := _spans(root / file, table))
    ]
    if not parts:
        return Freshness(*(np.zeros(0) for _ in range(3)))
    captured, waited, frames = [], [], []
    for spans, committed_s in parts:
        at_s = spans[:, :1] + (spans[:, 1:2] - spans[:, :1]) * _PLACES
        captured.append(at_s.ravel())
        waited.append((committed_s - at_s).ravel())
        frames.append(np.repeat(spans[:, 2] / len(_PLACES), len(_PLACES)))
    return Freshness(np.concatenate(captured), np.concatenate(waited), np.concatenate(frames))


def _added(commit: Path) -> list[str]:
    actions = (json.loads(line) for line in commit.read_text(encoding="utf-8").splitlines())
    return [action["add"]["path"] for action in actions if "add" in action]


def _spans(file: Path, table: Table) -> Floats:
    """(n, 3) first frame and last frame, UTC s, and frames received, of the health rows in a file of a table."""
    if table is TRACKER_FACTS:
        log = pq.read_table(file, columns=["kind", "payload"], filters=[("kind", "=", "health")], partitioning=None)
        facts = read_log(log).get("health")
        if facts is None:
            return np.zeros((0, 3))
        columns = [facts[name].to_numpy() for name in ("start_us", "end_us", "frames_received")]
    else:
        rows = pq.read_table(file, columns=["start_time", "end_time", "frames_received"], partitioning=None)
        columns = [rows[name].cast("int64").to_numpy() for name in rows.column_names]
    start_us, end_us, frames = columns
    return np.stack((start_us / 1e6, end_us / 1e6, frames.astype(np.float64)), axis=1)


def bytes_per_detection(run: Run) -> dict[str, float]:
    """What a detection takes on disk: in Kafka's topic, in the tracker's log, and in the tables that the facts job fills."""
    tables, detections = run.home / "tables", run.city.sent(run.plan.seconds).detections
    places = {
        "Kafka": list((run.home / "broker/log").glob(f"{DETECTIONS.name}-*/*.log")),
        "log": list((tables / TRACKER_FACTS.path).rglob("*.parquet")),
        "silver and gold": [file for layer in ("silver", "gold") for file in (tables / layer).rglob("*.parquet")],
    }
    return {name: sum(file.stat().st_size for file in files) / detections for name, files in places.items()}


def sums(run: Run) -> dict[str, tuple[int, int]]:
    """What was sent and what the log has of it: messages, frames, detections, line crossings (about, for these)."""
    from deltalake import DeltaTable

    log = DeltaTable(str(run.home / "tables" / TRACKER_FACTS.path)).to_pyarrow_table(
        columns=["kind", "payload"], filters=[("kind", "in", ["health", "crossing", "dead_letter"])]
    )
    facts = read_log(log)
    health, sent = facts["health"], run.city.sent(run.plan.seconds)
    crossings = facts["crossing"].num_rows if "crossing" in facts else 0
    told = {name: sum(health[name].to_pylist()) for name in ("batches_received", "frames_received", "detections")}
    refused = facts["dead_letter"].num_rows if "dead_letter" in facts else 0
    return {
        "messages": (sent.messages, told["batches_received"]),
        "frames": (sent.frames, told["frames_received"]),
        "detections": (sent.detections, told["detections"]),
        "messages refused": (0, refused),
        "crossings, about": (run.city.crossings(run.plan.seconds), crossings),
    }
