"""Whether the tables hold what was sent, once: sums by camera, facts, and no row twice."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from faulty_city import SmallCity, Sums, sums_of

from sightline.results.reading import read_table
from sightline.simulate.encoding import Message
from sightline_lakehouse.tables import CAMERA_HEALTH, TRACKER_FACTS, Table
from sightline_streaming.fact_frames import all_facts
from sightline_streaming.fact_tables import TABLE_OF_KIND

_SUMMED = ("frames_received", "detections", "batches_received", "batches_duplicate")
# What a fact says, whatever the micro-batches were.
_SAID = ("kind", "camera_id", "track_no", "class_id", "place", "direction", "rule", "start_us", "end_us", "window_start_us")
_COUNTED = ("objects", "new_objects", "detections", "frames_received", "frames_expected")
_WHOLE_KINDS = ("crossing", "visit", "event", "count")


def assert_exactly_once(tables: Path, acknowledged: Sequence[Message]) -> None:
    """Sums by camera are those of the acknowledged messages, in the log and behind it, and no row is there twice."""
    expected = sums_of(acknowledged)
    rows_of_log = read_table(tables, TRACKER_FACTS)
    _require_no_row_twice(TRACKER_FACTS, _tuples(rows_of_log, TRACKER_FACTS.key))
    log = all_facts(rows_of_log)
    assert log.num_rows == sum(rows_of_log["facts"].to_pylist())
    assert _sums(log.filter(pc.equal(log["kind"], "health"))) == expected
    assert _sums(read_table(tables, CAMERA_HEALTH)) == expected
    stated = Counter(log["kind"].to_pylist())
    for kind, table in TABLE_OF_KIND.items():
        rows = _tuples(read_table(tables, table, table.key), table.key)
        # Two micro-batches may hold messages of one frame and one millisecond, the second a repetition: sums tell of health.
        if table is not CAMERA_HEALTH:
            _require_no_row_twice(table, rows)
        assert len(rows) == stated[kind], f"{table.full_name}: {len(rows)} rows of {stated[kind]} facts"


def assert_facts_of(tables: Path, city: SmallCity) -> None:
    """Crossings, visits, events and windows are those of the city, and every track has its observations."""
    log, wanted = all_facts(read_table(tables, TRACKER_FACTS)), city.facts()
    assert Counter(wanted["kind"].to_pylist())["crossing"] > 0
    for kind in _WHOLE_KINDS:
        assert _facts(log, kind) == _facts(wanted, kind), kind
    assert _observations(log) == _observations(wanted)


def _require_no_row_twice(table: Table, rows: Iterable[tuple[Any, ...]]) -> None:
    repeated = [row for row, count in Counter(rows).items() if count > 1]
    assert not repeated, f"{table.full_name}: {len(repeated)} rows twice, such as {repeated[0]}"


def _facts(log: pa.Table, kind: str) -> Counter[tuple[Any, ...]]:
    return Counter(_tuples(log.filter(pc.equal(log["kind"], kind)), _SAID + (_COUNTED if kind == "count" else ())))


def _observations(log: pa.Table) -> dict[tuple[str, int], int]:
    found: Counter[tuple[str, int]] = Counter()
    for camera, track, seen in _tuples(log.filter(pc.equal(log["kind"], "segment")), ("camera_id", "track_no", "observations")):
        found[camera, track] += seen
    return dict(found)


def _sums(health: pa.Table) -> dict[str, Sums]:
    summed = health.group_by("camera_id").aggregate([(name, "sum") for name in _SUMMED])
    columns = (summed[f"{name}_sum"].to_pylist() for name in _SUMMED)
    return {camera: Sums(*sums) for camera, *sums in zip(summed["camera_id"].to_pylist(), *columns, strict=True)}


def _tuples(rows: pa.Table, names: Iterable[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(rows[name].to_pylist() for name in names), strict=True))
