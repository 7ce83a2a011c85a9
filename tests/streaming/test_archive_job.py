"""The archive job on a real broker."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from deltalake import DeltaTable

from sightline_contract.errors import StorageError
from sightline_contract.events import Alert, NodeStatus
from sightline_contract.topics import ALERTS, DEAD_LETTERS, EVENTS, NODE_STATUS
from sightline_lakehouse.tables import ALERTS as ALERTS_TABLE
from sightline_lakehouse.tables import DEAD_LETTERS as DEAD_LETTERS_TABLE
from sightline_lakehouse.tables import DETECTIONS_RAW
from sightline_lakehouse.tables import NODE_STATUS as NODE_STATUS_TABLE

if TYPE_CHECKING:
    from tests.streaming.conftest import Site

pytestmark = [pytest.mark.spark, pytest.mark.kafka]


def alert_json(event: bytes) -> bytes:
    fields = json.loads(event)
    known = {name: fields[name] for name in Alert.model_fields if name in fields}
    alert = Alert(alert_id=f"door/{fields['event_id']}", rule_id="door", severity="warning", **known)
    return alert.model_dump_json().encode()


def status_json(camera: str) -> bytes:
    numbers = ("session", "frames_read", "frames_analysed", "frames_skipped", "batches_sent", "batches_pending", "events_sent")
    status = NodeStatus(
        node_id="node",
        camera_id=camera,
        reported_us=1_760_000_000_000_000,
        state="running",
        inference_ms_p50=12.5,
        inference_ms_p95=20.0,
        model_name="m",
        model_version="1",
        **dict.fromkeys(numbers, 3),
    )
    return status.model_dump_json().encode()


def test_topics_are_kept_as_rows_and_malformed_messages_apart(site: "Site", make_event: Callable[..., bytes]) -> None:
    camera = site.camera
    site.send_batches(0, 1)
    site.send(ALERTS, alert_json(make_event(camera, "a")), alert_json(make_event(camera, "a")))
    site.send(NODE_STATUS, status_json(camera))
    wrong_type = make_event(camera, "c", score="high")
    site.send(EVENTS, make_event(camera, "b"), wrong_type)
    nonsense = b"{" + camera.encode()
    site.send(ALERTS, nonsense)
    site.run("archive")

    raw = DeltaTable(f"{site.config.table_root}/{DETECTIONS_RAW.path}").to_pyarrow_table().to_pylist()
    assert sum(row["key"] == camera for row in raw) == 2
    (alert,) = site.rows(ALERTS_TABLE)
    assert alert["alert_id"] == f"door/{camera}-a"
    assert alert["alerted_at"] >= alert["emitted_at"]
    assert alert["alert_latency_ms"] == pytest.approx((alert["alerted_at"] - alert["emitted_at"]).total_seconds() * 1000)
    (status,) = site.rows(NODE_STATUS_TABLE)
    assert (status["frames_read"], status["inference_ms_p50"], status["state"]) == (3, 12.5, "running")

    dead_rows = DeltaTable(f"{site.config.table_root}/{DEAD_LETTERS_TABLE.path}").to_pyarrow_table().to_pylist()
    reasons = {(row["source_topic"], row["payload"]): row["reason"] for row in dead_rows}
    assert reasons["alerts", nonsense].startswith("not Alert: ")
    assert reasons["events", wrong_type].startswith("not DetectionEvent: score: Input should be a valid number")
    (dead,) = site.messages(DEAD_LETTERS, lambda message: message.value() == nonsense)
    assert dict(dead.headers() or ())["source_topic"] == b"alerts"


def test_a_new_checkpoint_over_messages_that_another_archived_is_refused(site: "Site") -> None:
    """Protection: JobContext.claim(); without it the second start archives every message again."""
    site.send_batches(0)
    site.run("archive")
    site.config = site.config.model_copy(update={"checkpoint_root": str(site.folder / "anew")})
    with pytest.raises(StorageError, match=r"bronze/detections_raw: holds what another checkpoint of archive-detections wrote"):
        site.run("archive")
