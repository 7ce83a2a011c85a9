"""The facts job on facts written by hand: every kind reaches its table, once, and its topic."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from sightline_contract.errors import ConfigError, StorageError
from sightline_contract.ids import track_id
from sightline_contract.topics import DEAD_LETTERS as DEAD_LETTERS_TOPIC
from sightline_contract.topics import OBJECT_COUNTS as OBJECT_COUNTS_TOPIC
from sightline_contract.topics import SCENE_EVENTS as SCENE_EVENTS_TOPIC
from sightline_lakehouse.arrow import arrow_schema
from sightline_lakehouse.ddl import create_local_tables
from sightline_lakehouse.tables import (
    CAMERA_HEALTH,
    COUNT_ANOMALIES,
    DEAD_LETTERS,
    FACT_KINDS,
    LINE_CROSSINGS,
    OBJECT_COUNTS,
    SCENE_EVENTS,
    TRACK_SEGMENTS,
    TRACKER_FACTS,
    ZONE_VISITS,
)
from sightline_streaming.delta_sink import append_to_folder
from sightline_streaming.fact_columns import FACT_COLUMNS, SCHEMA
from sightline_streaming.fact_frames import pack_log

if TYPE_CHECKING:
    from tests.streaming.conftest import Site

pytestmark = [pytest.mark.spark, pytest.mark.kafka]

T0 = datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC)
T0_US = int(T0.timestamp()) * 1_000_000


def fact(kind: str, camera: str, **values: object) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    row |= {
        "kind": kind,
        "camera_id": camera,
        "session": T0_US,
        "start_us": T0_US + 250_000,
        "end_us": T0_US + 1_750_000,
        "window_start_us": T0_US,
        "arrived_us": T0_US + 2_000_000,
        "model_version": "1",
    }
    return row | values


def facts_of_every_kind(camera: str) -> list[dict[str, Any]]:
    track = {"track_no": 7, "class_id": 0}
    boxes = {
        "times_ms": np.array([0, 1500], "<i4").tobytes(),
        "boxes": np.array([1, 2, 3, 4, 1, 2, 3, 4], "<f4").tobytes(),
        "sources": bytes([0, 2]),
    }
    frames = {"frames_received": 9, "frames_expected": 10, "late_rows": 0, "detections": 9}
    batches = {"batches_received": 1, "batches_duplicate": 0, "batches_missing": 0, "batches_late": 0}
    counted = frames | {"objects": 1, "new_objects": 1}
    evidence = json.dumps({"rule": {"kind": "stopped"}, "tracks": [{"track_id": track_id(camera, T0_US, n)} for n in (7, 9)]})
    broken = {
        "rule": "stopped",
        "event_kind": "stopped_vehicle",
        "value": 10.5,
        "rule_limit": 10.0,
        "unit": "s",
        "evidence": evidence,
    }
    return [
        fact(
            "segment",
            camera,
            **track,
            **boxes,
            observations=1,
            score=0.9,
            distance_px=5.0,
            first_segment=True,
            speed_px_s=2.5,
            speed_m_s=0.25,
            max_speed_m_s=0.5,
            distance_m=0.4,
        ),
        fact("event", camera, **track, **broken, place="door"),
        fact("crossing", camera, **track, place="middle", direction="west", x=320.0, y=200.0),
        fact("visit", camera, **track, place="door"),
        fact("health", camera, **frames, **batches, lag_us=-1_500_000),
        fact("anomaly", camera, class_id=0, objects=5, expected=41.0, deviation=6.0, days=9),
        fact("count", camera, **counted, class_id=-1),
        fact("count", camera, **counted, class_id=80),
        fact("count", camera, **counted | {"frames_expected": 0, "frames_received": 0}, class_id=200),
        fact("dead_letter", "", reason="nonsense", source_partition=1, source_offset=42, payload=camera.encode(), session=0),
    ]


def write_facts(site: "Site", rows: list[dict[str, Any]]) -> None:
    by_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in FACT_KINDS}
    tables = {kind: pa.Table.from_pylist(found, SCHEMA) for kind, found in by_kind.items()}
    log = pack_log(tables, shard=0, partition=0, offset=0, arrived_us=T0_US)
    log["event_date"] = T0.date()
    table = pa.Table.from_pandas(log, arrow_schema(TRACKER_FACTS), preserve_index=False)
    write_deltalake(f"{site.config.table_root}/{TRACKER_FACTS.path}", table, mode="append")


def test_facts_become_rows_of_their_tables_and_messages(site: "Site") -> None:
    create_local_tables(site.config.table_root)
    write_facts(site, facts_of_every_kind(site.camera))
    site.run("facts")

    name = track_id(site.camera, T0_US, 7)
    (segment,) = site.rows(TRACK_SEGMENTS)
    assert (segment["track_id"], segment["class_name"], segment["boxes"]) == (name, "person", [1.0, 2.0, 3.0, 4.0] * 2)
    assert (segment["times_ms"], segment["sources"]) == ([0, 1500], [0, 2])
    assert segment["score"] == pytest.approx(0.9)
    assert segment["start_time"] == T0.replace(microsecond=250_000)
    assert segment["window_start"] == T0
    (crossing,) = site.rows(LINE_CROSSINGS)
    assert crossing["crossing_id"] == f"{name}/middle/west"
    (visit,) = site.rows(ZONE_VISITS)
    assert (visit["zone"], visit["dwell_s"]) == ("door", 1.5)
    (event,) = site.rows(SCENE_EVENTS)
    assert event["event_id"] == f"{site.camera}/{T0_US}/door/stopped/7/{T0_US + 250_000}"
    assert (event["kind"], event["zone"], event["rule"]) == ("stopped_vehicle", "door", "stopped")
    assert (event["value"], event["rule_limit"], event["unit"]) == (10.5, 10.0, "s")
    assert event["track_ids"] == [name, track_id(site.camera, T0_US, 9)]
    assert event["detected_at"] > event["started_at"] == segment["start_time"]
    (health,) = site.rows(CAMERA_HEALTH)
    assert (health["frames_received"], health["frames_expected"]) == (9, 10)
    assert health["lag_ms"] == -1500
    (unusual,) = site.rows(COUNT_ANOMALIES)
    assert (unusual["class_name"], unusual["seen"], unusual["expected"], unusual["score"]) == ("person", 5, 41.0, -6.0)
    assert unusual["hour_start"] == segment["start_time"]
    counts = {row["class_name"]: row for row in site.rows(OBJECT_COUNTS)}
    assert set(counts) == {"all", "trolley", "class-200"}
    assert counts["all"]["window_s"] == 1
    assert {name: row["completeness"] for name, row in counts.items()} == {"all": 0.9, "trolley": 0.9, "class-200": 1.0}

    messages = site.messages(OBJECT_COUNTS_TOPIC, lambda message: message.key() == site.camera.encode(), count=3)
    assert {json.loads(message.value() or b"")["class_name"] for message in messages} == set(counts)
    (sent,) = site.messages(SCENE_EVENTS_TOPIC, lambda message: message.key() == site.camera.encode())
    assert json.loads(sent.value() or b"")["event_id"] == event["event_id"]
    (dead,) = site.messages(DEAD_LETTERS_TOPIC, lambda message: message.value() == site.camera.encode())
    assert dead.key() is None
    assert dict(dead.headers() or ()) == {
        "reason": b"nonsense",
        "source_topic": b"detections",
        "source_partition": b"1",
        "source_offset": b"42",
    }


def forget_last_commit(checkpoint: Path) -> None:
    """What a driver leaves that was killed after its sink's commit and before Spark's own."""
    commits = sorted(
        (path for path in (checkpoint / "commits").iterdir() if path.name.isdigit()), key=lambda path: int(path.name)
    )
    commits[-1].unlink()
    (checkpoint / "commits" / f".{commits[-1].name}.crc").unlink(missing_ok=True)


def test_a_batch_that_is_split_again_after_a_crash_adds_no_row(site: "Site") -> None:
    """Protection: txnAppId and txnVersion; without them every table has its row twice."""
    create_local_tables(site.config.table_root)
    write_facts(site, facts_of_every_kind(site.camera))
    site.run("facts")
    forget_last_commit(site.folder / "checkpoints/facts")
    write_facts(site, [fact("visit", site.camera, track_no=8, class_id=0, place="door")])
    site.run("facts")
    assert len(site.rows(ZONE_VISITS)) == 2
    assert [len(site.rows(table)) for table in (TRACK_SEGMENTS, LINE_CROSSINGS, SCENE_EVENTS, CAMERA_HEALTH)] == [1, 1, 1, 1]
    assert len(site.rows(OBJECT_COUNTS)) == 3


def test_a_new_checkpoint_makes_the_tables_again_once_the_old_ones_are_deleted(site: "Site") -> None:
    """Protection: JobContext.claim(); without it the second start writes every row a second time."""
    create_local_tables(site.config.table_root)
    write_facts(site, [fact("visit", site.camera, track_no=8, class_id=0, place="door")])
    site.run("facts")
    site.config = site.config.model_copy(update={"checkpoint_root": str(site.folder / "anew")})
    with pytest.raises(
        StorageError, match=r"silver/zone_visits: holds what another checkpoint of facts wrote.*delete the tables"
    ):
        site.run("facts")
    assert len(site.rows(ZONE_VISITS)) == 1
    shutil.rmtree(f"{site.config.table_root}/{ZONE_VISITS.path}")
    site.run("facts")
    assert len(site.rows(ZONE_VISITS)) == 1
    assert len(site.rows(DEAD_LETTERS)) == 0


def test_after_a_pause_the_log_is_taken_in_bounded_micro_batches(site: "Site") -> None:
    """Protection: source_limits; without it one micro-batch takes the whole log through the driver."""
    usual = site.config.max_fact_bytes_per_trigger
    for bound, expected in ((1, 3), (usual, 1)):
        roots = {name: str(site.folder / f"{bound}" / name) for name in ("table_root", "checkpoint_root")}
        site.config = site.config.model_copy(update={"max_fact_bytes_per_trigger": bound} | roots)
        create_local_tables(site.config.table_root)
        for number in range(3):
            write_facts(site, [fact("visit", site.camera, track_no=number, class_id=0, place="door")])
        site.run("facts")
        assert micro_batches(site) == expected
        assert sorted(row["track_id"] for row in site.rows(ZONE_VISITS)) == [track_id(site.camera, T0_US, n) for n in range(3)]


def test_a_log_that_another_release_laid_out_is_refused_before_a_query_starts(site: "Site") -> None:
    """Protection: ddl's look at the columns; without it the query fails inside Spark, in a page of its words."""
    create_local_tables(site.config.table_root, (replace(TRACKER_FACTS, columns=(*FACT_COLUMNS, TRACKER_FACTS.columns[-1])),))
    with pytest.raises(
        ConfigError, match=r"^/\S+/bronze/tracker_facts: another release made this table, [^\n]* new table_root"
    ):
        site.run("facts")
    assert not (site.folder / "checkpoints/facts").exists()


def micro_batches(site: "Site") -> int:
    commits = Path(site.config.checkpoint_root) / "facts/commits"
    return sum(path.name.isdigit() for path in commits.iterdir())


def test_dead_letters_of_the_archive_do_not_keep_facts_from_beginning(site: "Site") -> None:
    create_local_tables(site.config.table_root)
    values = {"source_topic": "alerts", "source_partition": 0, "source_offset": 1, "reason": "by hand", "arrived_at": T0}
    rows = pa.Table.from_pylist([values | {"event_date": T0.date()}], arrow_schema(DEAD_LETTERS))
    append_to_folder(rows, f"{site.config.table_root}/{DEAD_LETTERS.path}", "archive", 0)
    write_facts(site, [fact("visit", site.camera, track_no=8, class_id=0, place="door")])
    site.run("facts")
    assert len(site.rows(ZONE_VISITS)) == 1
