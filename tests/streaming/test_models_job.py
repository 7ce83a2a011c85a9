"""The models job on a real broker, and the windows that are read from its tables."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from deltalake import DeltaTable, write_deltalake
from model_messages import START_US, figures, report
from sample_tables import as_arrow, sample_rows

from sightline_contract.batch import Frames, set_frames
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.rollout import ModelStatus, Slot
from sightline_contract.topics import DEAD_LETTERS, DETECTIONS, MODEL_STATUS
from sightline_lakehouse.ddl import create_local_tables
from sightline_lakehouse.tables import MODEL_DETECTIONS, MODEL_FIGURES, TRACK_SEGMENTS
from sightline_lakehouse.tables import MODEL_STATUS as MODEL_STATUS_TABLE
from sightline_streaming.archived import at
from sightline_streaming.model_reports import sort_reports
from sightline_streaming.model_windows import Side, Span, Version, arm_windows, shadow_windows

if TYPE_CHECKING:
    from tests.streaming.conftest import Site

pytestmark = [pytest.mark.spark, pytest.mark.kafka]

US = 1_000_000
OLD, NEW = Version("street", "1"), Version("street", "2")
SPAN = Span(START_US, START_US + 20 * US, 10)


def reports(canaries: list[str], controls: list[str]) -> Iterator[ModelStatus]:
    """Twenty seconds: canaries serve 2 with fewer detections, control nodes 1; the last canary runs 2 in the shadow of 1."""
    for second in (5, 10, 15, 20):
        for node in canaries[:-1]:
            yield report(node, second, figures("2", detections=60, latency_ms=30))
        shadow = figures("2", Slot.SHADOW, detections=90, matched=80, only=(20, 10))
        yield report(canaries[-1], second, figures("1"), shadow)
        for node in controls:
            yield report(node, second, figures("1"))


def batch(camera: str, node: str, second: int, version: str) -> bytes:
    message = DetectionBatch(
        schema_version=2, node_id=node, camera_id=camera, model_name="street", model_version=version, session=START_US,
        seq=second, captured_us=START_US + second * US, frame_width=640, frame_height=480, frame_rate_mhz=1000,
    )  # fmt: skip
    box = np.array([[0.5, 0.5, 0.1, 0.1]], np.float32)
    one = np.ones(1, np.uint16)
    set_frames(message, Frames(one * 0, one, box, np.array([0.9], np.float32), np.zeros(1, np.uint8)))
    return message.SerializeToString()


def send_reports(site: "Site", told: list[ModelStatus]) -> None:
    for status in told:
        site.send(MODEL_STATUS, status.model_dump_json().encode(), key=status.node_id)


def table(site: "Site", which: Any, node: str) -> list[dict[str, Any]]:
    found = DeltaTable(f"{site.config.table_root}/{which.path}").to_pyarrow_table().to_pylist()
    return [row for row in found if row["node_id"].startswith(node)]


def test_reports_and_batches_become_windows_of_two_versions(site: "Site") -> None:
    a, b, c, d = (f"{site.camera}-{letter}" for letter in "abcd")
    told = list(reports([a, b], [c, d]))
    send_reports(site, [*told, told[0]])  # a repetition
    nonsense = b"{" + site.camera.encode()
    site.send(MODEL_STATUS, nonsense, key=a)
    for second in range(20):
        site.send(DETECTIONS, batch(f"{site.camera}-1", a, second, "2"), batch(f"{site.camera}-2", c, second, "1"), key=a)
    site.run("models")
    assert len(table(site, MODEL_STATUS_TABLE, site.camera)) == 16
    assert len(table(site, MODEL_FIGURES, site.camera)) == 20
    assert sum(row["detections"] for row in table(site, MODEL_DETECTIONS, site.camera)) == 40
    (dead,) = site.messages(DEAD_LETTERS, lambda message: message.value() == nonsense)
    assert b"not ModelStatus" in dict(dead.headers() or ())["reason"]

    spark, root = site.spark, site.config.table_root
    rows = arm_windows(spark, root, Side(NEW, frozenset([a])), Side(OLD, frozenset([c, d])), SPAN)
    assert [(row["start_us"], row["arm"]) for row in rows] == [
        (START_US, "canary"), (START_US, "control"), (START_US + 10 * US, "canary"), (START_US + 10 * US, "control"),
    ]  # fmt: skip
    canary, control = rows[:2]
    assert (canary["nodes"], canary["frames"], canary["detections"], canary["class_counts"]) == (1, 100, 120, {"person": 120})
    assert (control["nodes"], control["frames"], control["detections"]) == (2, 200, 400)
    assert (sum(canary["latency_counts"]), sum(control["score_counts"])) == (100, 400)
    assert (canary["received_frames"], canary["received_detections"], canary["tracks"]) == (10, 10, None)
    assert (canary["received_class_counts"], sum(canary["received_score_counts"])) == ({"person": 10}, 10)

    shadows = shadow_windows(spark, root, Side(NEW, frozenset([a, b])), SPAN)
    assert [row["nodes"] for row in shadows] == [1, 1]
    assert (shadows[0]["detections"], shadows[0]["live_detections"]) == (180, 200)
    assert (shadows[0]["matched"], shadows[0]["only_live"], shadows[0]["only_shadow"]) == (160, 40, 20)
    assert shadows[0]["iou_sum"] == pytest.approx(0.9 * 160)


@pytest.fixture
def root(tmp_path):
    """Tables with forty seconds of two nodes, one a side, without Kafka."""
    create_local_tables(str(tmp_path))
    told = [report(node, second, figures(v)) for node, v in (("a", "2"), ("c", "1")) for second in range(5, 45, 5)]
    for reports in (told, told[:3]):  # Kafka gave the first three again, in a later micro-batch
        values = [status.model_dump_json().encode() for status in reports]
        rows = sort_reports([_received(number, value) for number, value in enumerate(values)]).rows[MODEL_FIGURES]
        write_deltalake(str(tmp_path / MODEL_FIGURES.path), rows, mode="append")
    return tmp_path


def _received(offset: int, value: bytes) -> Any:
    from sightline_streaming.archived import Received

    return Received("model_status", 0, offset, START_US, value)


def test_a_report_that_came_again_in_a_later_micro_batch_counts_once(spark, root) -> None:
    """Protection: _fold() keeps a report's first row; without it the first window has 50 % more frames."""
    rows = arm_windows(spark, str(root), Side(NEW, frozenset("a")), Side(OLD, frozenset("c")), SPAN)
    assert [row["frames"] for row in rows] == [100, 100, 100, 100]


def test_tracks_count_for_the_version_behind_them_once_the_tracker_is_past_the_window(spark, root) -> None:
    counted = [
        {
            "node_id": node, "model_name": "street", "model_version": version, "window_start": at(START_US + 10 * US * n),
            "window_s": 10, "cameras": [camera], "frames": 10, "detections": 0, "score_counts": [0] * 32, "class_names": [],
            "class_counts": [], "source_partition": 0, "source_offset": n, "event_date": at(START_US).date(),
        }
        for node, version, camera in (("a", "2", "front"), ("c", "1", "gate"))
        for n in range(2)
    ]  # fmt: skip
    write_deltalake(str(root / MODEL_DETECTIONS.path), as_arrow(MODEL_DETECTIONS, counted), mode="append")
    segment = sample_rows()["silver.track_segments"][0]
    began = [("front", 1, "2"), ("front", 2, "2"), ("gate", 3, "1"), ("gate", 4, "other"), ("gate", 12, "1")]
    segments = [
        segment | {"camera_id": camera, "model_version": version, "first_segment": True, "start_time": at(START_US + s * US)}
        | {"track_id": f"{camera}/{s}", "event_date": at(START_US).date()}
        for camera, s, version in began
    ]  # fmt: skip
    write_deltalake(str(root / TRACK_SEGMENTS.path), as_arrow(TRACK_SEGMENTS, segments), mode="append")
    rows = arm_windows(spark, str(root), Side(NEW, frozenset("a")), Side(OLD, frozenset("c")), SPAN)
    assert [row["tracks"] for row in rows] == [2, 1, None, None]


def test_windows_in_which_a_side_said_nothing_are_there_and_empty(spark, root) -> None:
    far = Span(START_US + 100 * US, START_US + 110 * US, 10)
    canary, control = arm_windows(spark, str(root), Side(NEW, frozenset("a")), Side(OLD, frozenset("c")), far)
    assert (canary["nodes"], canary["frames"], sum(control["latency_counts"]), control["tracks"]) == (0, 0, 0, None)
