"""The tracking job: messages in Kafka become facts in Delta, once, whatever is sent twice, broken or cut short."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from deltalake import DeltaTable

from sightline_contract.errors import ConfigError, StorageError
from sightline_contract.topics import DETECTIONS
from sightline_lakehouse.tables import (
    CAMERA_HEALTH,
    LINE_CROSSINGS,
    OBJECT_COUNTS,
    SCENE_EVENTS,
    TRACK_SEGMENTS,
    TRACKER_FACTS,
    ZONE_VISITS,
)
from sightline_streaming.fact_frames import all_facts

if TYPE_CHECKING:
    from tests.streaming.conftest import Site

pytestmark = [pytest.mark.spark, pytest.mark.kafka]


def forget_last_commit(checkpoint: Path) -> None:
    """What a driver leaves that was killed after its sink's commit and before Spark's own."""
    commits = checkpoint / "commits"
    last = max(int(path.name) for path in commits.iterdir() if path.name.isdigit())
    (commits / str(last)).unlink()
    (commits / f".{last}.crc").unlink(missing_ok=True)


def test_a_walk_becomes_one_track_one_crossing_one_visit_and_counts(site: "Site") -> None:
    site.send_batches(0, 1, 2, 2, 3, 4, 5)
    site.run("tracking", "facts")

    segments = site.rows(TRACK_SEGMENTS)
    assert len({row["track_id"] for row in segments}) == 1
    assert sum(row["observations"] for row in segments) == 60
    (crossing,) = site.rows(LINE_CROSSINGS)
    assert (crossing["line"], crossing["class_name"]) == ("middle", "person")
    # 0.8 of 640 px in 6 s, 0.01 m each.
    assert crossing["speed_m_s"] == pytest.approx(0.853, rel=0.03)
    assert [row["speed_m_s"] for row in segments[2:]] == pytest.approx([0.853] * (len(segments) - 2), rel=0.03)
    (event,) = site.rows(SCENE_EVENTS)
    assert (event["kind"], event["zone"], event["track_ids"]) == ("restricted_zone", "door", [crossing["track_id"]])
    assert event["event_date"] == event["started_at"].date()
    (visit,) = site.rows(ZONE_VISITS)
    assert visit["zone"] == "door"
    health = site.rows(CAMERA_HEALTH)
    assert sum(row["batches_duplicate"] for row in health) == 1
    assert sum(row["frames_received"] for row in health) == 60
    counted = [row for row in site.rows(OBJECT_COUNTS) if row["class_name"] == "person"]
    assert [row["objects"] for row in sorted(counted, key=lambda row: row["window_start"])][:6] == [1] * 6
    assert sum(row["new_objects"] for row in counted) == 1


def test_a_broken_message_is_a_fact_with_its_coordinates_and_the_stream_lives_on(site: "Site") -> None:
    poison = b"\xff" + site.camera.encode()
    site.send(DETECTIONS, poison)
    site.send_batches(0, 1)
    site.run("tracking")
    facts = all_facts(DeltaTable(f"{site.config.table_root}/{TRACKER_FACTS.path}").to_pyarrow_table()).to_pylist()
    (dead,) = [row for row in facts if row["payload"] == poison]
    assert dead["kind"] == "dead_letter"
    assert "protobuf" in dead["reason"]
    assert (dead["source_partition"], dead["source_offset"]) >= (0, 0)
    assert [row["frames_received"] for row in site.rows(TRACKER_FACTS) if row["kind"] == "health"] == [20]


def test_a_batch_that_is_run_again_after_a_crash_adds_no_fact_and_loses_no_state(site: "Site") -> None:
    """Protection: the Delta sink's own mark of query and batch; without it the second run appends its facts again."""
    site.send_batches(0, 1, 2)
    site.run("tracking")
    forget_last_commit(site.folder / "checkpoints/tracking")
    before = Counter(row["kind"] for row in site.rows(TRACKER_FACTS))
    site.run("tracking")
    assert Counter(row["kind"] for row in site.rows(TRACKER_FACTS)) == before

    site.send_batches(2, 3, 4, 5)
    site.run("tracking")
    facts = site.rows(TRACKER_FACTS)
    segments = [row for row in facts if row["kind"] == "segment"]
    assert sum(row["observations"] for row in segments) == 60
    assert {row["track_no"] for row in segments} == {segments[0]["track_no"]}
    assert sum(row["batches_duplicate"] for row in facts if row["kind"] == "health") == 1


def test_a_new_checkpoint_over_facts_of_another_is_refused_and_the_old_one_goes_on(site: "Site") -> None:
    """Protection: JobContext.claim(); without it the topic is read again and each camera's frames are counted twice."""
    site.send_batches(0, 1)
    site.run("tracking")
    old, anew = site.config, site.config.model_copy(update={"checkpoint_root": str(site.folder / "anew")})
    refused = "bronze/tracker_facts: holds what another checkpoint of tracking wrote: bring that back, or give a new table_root"
    for _ in range(2):
        site.config = anew
        with pytest.raises(StorageError, match=refused):
            site.run("tracking")
    site.config = old
    site.send_batches(2)
    site.run("tracking")
    assert sum(row["frames_received"] for row in site.rows(TRACKER_FACTS) if row["kind"] == "health") == 30


def test_a_second_driver_on_a_checkpoint_and_other_shards_are_refused_in_one_line(site: "Site") -> None:
    with site.application("tracking") as first:
        first.start()
        with (
            pytest.raises(StorageError, match="another driver runs on this checkpoint"),
            site.application("tracking") as second,
        ):
            second.start()
        first.await_ready()
        first.check()
    site.config = site.config.model_copy(update={"shards": 8})
    other = site.application("tracking")
    with pytest.raises(ConfigError, match="was begun with shards 4, the configuration says 8"), other:
        other.start()
