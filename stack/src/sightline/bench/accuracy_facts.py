"""What the product counted, and what really happened, as pandas frames of the same columns.

- crossings: camera_id, forward, t_us, and of truth number, role, class_name
- visits: camera_id, zone, start_us, end_us
- counts: camera_id, window_us, class_name, objects, and of the product new_objects, detections, frames
- health: camera_id, frames_received, frames_expected, detections, batches_duplicate
- dead: camera_id
- events: camera_id, zone, kind, start_us (when it could be told), in the truth sound (it must be told)
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sightline.results.reading import microseconds, read_table
from sightline.simulate.city import Truth
from sightline.simulate.objects import Role
from sightline.simulate.truth import CROSSING, EVENT, EVENT_NAMES, LEAST_FRAMES, OBJECT_ROW, SIGHTING, VISIT
from sightline_contract.labels import label_names
from sightline_lakehouse import tables

FORWARD = "forward"


@dataclass(frozen=True)
class Known:
    """Facts of one side."""

    crossings: pd.DataFrame
    visits: pd.DataFrame
    counts: pd.DataFrame
    health: pd.DataFrame
    dead: pd.DataFrame
    events: pd.DataFrame


def true_facts(truth: Truth) -> tuple[Known, int]:
    """The truth, and how many crossings are none because nobody could have seen them."""
    rows = pd.DataFrame({name: truth.rows[name] for name in truth.rows.dtype.names or () if name != "spare"})
    rows["camera_id"] = np.array([plan.camera_id for plan in truth.plans])[rows["camera"]]
    names = np.array(label_names())
    rows["class_name"] = names[rows["class_id"]]
    rows["role"] = np.array([role.name.lower() for role in Role])[rows["role"]]
    objects = rows[(rows["kind"] == OBJECT_ROW) & (rows["frames"] >= LEAST_FRAMES)]
    visible = rows.merge(objects[["camera", "number"]], on=["camera", "number"])
    cut = rows[rows["kind"] == CROSSING]
    crossings = visible[(visible["kind"] == CROSSING) & (visible["sound"] == 1)]
    crossings = crossings.rename(columns={"start_us": "t_us", "what": FORWARD})
    visits = visible[(visible["kind"] == VISIT) & (visible["frames"] >= LEAST_FRAMES)].copy()
    visits["zone"] = _zones(truth, visits)
    sightings = visible[visible["kind"] == SIGHTING].rename(columns={"start_us": "window_us"})
    counts = sightings.groupby(["camera_id", "window_us", "class_name"]).size().reset_index(name="objects")
    events = rows[rows["kind"] == EVENT].copy()
    unseen = ~events["number"].isin([0]) & ~events.set_index(["camera", "number"]).index.isin(
        objects.set_index(["camera", "number"]).index
    )
    events = events[~unseen]
    events["zone"], events["kind"] = _zones(truth, events), np.array(EVENT_NAMES)[events["what"]]
    known = Known(
        crossings[["camera_id", FORWARD, "t_us", "number", "role", "class_name"]], visits, counts, _true_health(truth),
        _true_dead(truth), events[["camera_id", "zone", "kind", "start_us", "number", "role", "sound"]],
    )  # fmt: skip
    return known, len(cut) - len(crossings)


def _zones(truth: Truth, rows: pd.DataFrame) -> list[str]:
    return [truth.configs[camera].zones[place].name for camera, place in zip(rows["camera"], rows["place"], strict=True)]


def _true_health(truth: Truth) -> pd.DataFrame:
    rows = [
        {
            "camera_id": plan.camera_id,
            "frames_received": sum(each.frames_sent for each in tallies),
            "frames_expected": sum(each.frames_given for each in tallies),
            "detections": sum(each.detections for each in tallies),
            "countable": sum(each.countable for each in tallies),
            "batches_duplicate": sum(each.duplicates for each in tallies),
        }
        for plan, tallies in zip(truth.plans, truth.tallies, strict=True)
    ]
    return pd.DataFrame(rows)


def _true_dead(truth: Truth) -> pd.DataFrame:
    names = [
        plan.camera_id
        for plan, tallies in zip(truth.plans, truth.tallies, strict=True)
        for _ in range(sum(each.refused for each in tallies))
    ]
    return pd.DataFrame({"camera_id": pd.Series(names, dtype=str)})


def logged_facts(log: pa.Table, forwards: dict[str, str]) -> Known:
    """What the tracker's facts say; ``forwards`` has each camera's name of forward."""
    kinds = {kind: log.filter(pc.equal(log["kind"], kind)) for kind in pc.unique(log["kind"]).to_pylist()}

    def of(kind: str, *columns: str) -> pd.DataFrame:
        rows = kinds.get(kind, log.slice(0, 0))
        frame: pd.DataFrame = rows.select(["camera_id", *columns]).to_pandas()
        return frame

    crossings = of("crossing", "direction", "start_us", "track_no", "class_id").rename(columns={"start_us": "t_us"})
    counts = of("count", "class_id", "window_start_us", *_COUNTED).rename(columns={"window_start_us": "window_us"})
    counts["class_name"] = np.array([*label_names(), "none"])[counts["class_id"].fillna(-1).astype(int)]
    visits = of("visit", "place", "start_us", "end_us").rename(columns={"place": "zone"})
    health, dead = of("health", *_HEALTH), of("dead_letter")
    return Known(_forward(crossings, forwards), visits, counts, health, dead, _logged_events(kinds))


_COUNTED = ("objects", "new_objects", "detections", "frames_received", "frames_expected", "late_rows")
_HEALTH = ("frames_received", "frames_expected", "detections", "batches_duplicate")
_NO_EVENTS = pd.DataFrame({"camera_id": [], "zone": [], "kind": [], "start_us": []})


def _logged_events(kinds: dict[str, pa.Table]) -> pd.DataFrame:
    rows = kinds.get("event")
    if rows is None:
        return _NO_EVENTS
    frame: pd.DataFrame = rows.select(["camera_id", "place", "event_kind", "end_us"]).to_pandas()
    return frame.rename(columns={"place": "zone", "event_kind": "kind", "end_us": "start_us"})


def table_facts(root: Path, forwards: dict[str, str]) -> Known:
    """What the Delta tables below ``root`` say."""
    crossings = _rows(root, tables.LINE_CROSSINGS, "direction", "track_id", "class_name")
    crossings["t_us"] = _us(root, tables.LINE_CROSSINGS, "crossed_at")
    visits = _rows(root, tables.ZONE_VISITS, "zone")
    visits["start_us"], visits["end_us"] = (_us(root, tables.ZONE_VISITS, name) for name in ("entered_at", "left_at"))
    counts = _rows(root, tables.OBJECT_COUNTS, "class_name", *_COUNTED)
    counts["window_us"] = _us(root, tables.OBJECT_COUNTS, "window_start")
    health = _rows(root, tables.CAMERA_HEALTH, *_HEALTH)
    return Known(_forward(crossings, forwards), visits, counts, health, _rows(root, tables.DEAD_LETTERS), _table_events(root))


def _table_events(root: Path) -> pd.DataFrame:
    events = _rows(root, tables.SCENE_EVENTS, "kind", "zone")
    events["start_us"] = _us(root, tables.SCENE_EVENTS, "detected_at")
    return events


def _rows(root: Path, table: tables.Table, *columns: str) -> pd.DataFrame:
    frame: pd.DataFrame = read_table(root, table, ("camera_id", *columns)).to_pandas()
    return frame


def _us(root: Path, table: tables.Table, column: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    return microseconds(read_table(root, table, (column,))[column])


def _forward(crossings: pd.DataFrame, forwards: dict[str, str]) -> pd.DataFrame:
    crossings[FORWARD] = (crossings["direction"] == crossings["camera_id"].map(forwards)).astype(int)
    return crossings
