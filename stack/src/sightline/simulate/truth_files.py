"""The truth as files: one Parquet file for each kind of fact, and the rules by which it was made in a JSON file."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sightline.simulate.camera import MARGIN, WINDOW_US
from sightline.simulate.city import Truth
from sightline.simulate.kernel import Records
from sightline.simulate.objects import Role
from sightline.simulate.truth import CROSSING, EVENT, EVENT_NAMES, LEAST_FRAMES, OBJECT_ROW, SIGHTING, VISIT
from sightline_contract.labels import label_names

_KINDS = {"objects": OBJECT_ROW, "crossings": CROSSING, "visits": VISIT, "sightings": SIGHTING, "events": EVENT}


def write_truth(truth: Truth, folder: Path) -> None:
    """Write objects, crossings, visits, sightings and events, each row with whether it ``counts``, and each camera's sums."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = counting_objects(truth.rows)
    for name, kind in _KINDS.items():
        rows = truth.rows[truth.rows["kind"] == kind]
        pq.write_table(_table(truth, rows, kind, counts), folder / f"{name}.parquet")
    document: dict[str, Any] = {
        "start_us": truth.start_us,
        "seconds": truth.seconds,
        "crossing_margin": MARGIN,
        "least_frames": LEAST_FRAMES,
        "window_us": WINDOW_US,
        "cameras": [
            {
                "camera_id": plan.camera_id, "layout": plan.layout.name, "scene": plan.layout.kind, "traffic": plan.traffic,
                "frame_rate": plan.frame_rate, "fault": plan.fault, "sessions": [asdict(tally) for tally in tallies],
            }
            for plan, tallies in zip(truth.plans, truth.tallies, strict=True)
        ],
    }  # fmt: skip
    (folder / "truth.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def counting_objects(rows: Records) -> set[tuple[int, int]]:
    """(camera, number) of the objects that were visible for long enough to count."""
    objects = rows[(rows["kind"] == OBJECT_ROW) & (rows["frames"] >= LEAST_FRAMES)]
    return {(int(row["camera"]), int(row["number"])) for row in objects}


def _table(truth: Truth, rows: Records, kind: int, counting: set[tuple[int, int]]) -> pa.Table:
    roles, names = [role.name.lower() for role in Role], label_names()
    counts = np.array([row["number"] == 0 or (int(row["camera"]), int(row["number"])) in counting for row in rows], bool)
    columns: dict[str, Any] = {
        "camera_id": [truth.plans[camera].camera_id for camera in rows["camera"]],
        "object": rows["number"],
        "class_name": [names[k] for k in rows["class_id"]],
        "role": [roles[k] for k in rows["role"]],
        "start_us": rows["start_us"],
    }
    if kind in (OBJECT_ROW, VISIT):
        columns |= {"end_us": rows["end_us"], "visible_frames": rows["frames"]}
    if kind == CROSSING:
        columns["line"] = [truth.configs[row["camera"]].lines[row["place"]].name for row in rows]
        columns["direction"] = [_direction(truth, row) for row in rows]
        counts &= rows["sound"] == 1
    if kind in (VISIT, EVENT):
        columns["zone"] = [truth.configs[row["camera"]].zones[row["place"]].name for row in rows]
    if kind == VISIT:
        counts &= rows["frames"] >= LEAST_FRAMES
    if kind == EVENT:
        columns["kind"] = [EVENT_NAMES[k] for k in rows["what"]]
        counts &= rows["sound"] == 1
    return pa.table(columns | {"counts": counts})


def _direction(truth: Truth, row: Any) -> str:
    line = truth.configs[row["camera"]].lines[row["place"]]
    return str(line.forward if row["what"] else line.backward)
