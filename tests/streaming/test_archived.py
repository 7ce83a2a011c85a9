"""Messages to rows, without Spark."""

import json

from sightline_contract.events import NodeStatus
from sightline_lakehouse.tables import NODE_STATUS
from sightline_streaming.archived import Received, sort_messages

STATUS = NodeStatus(
    node_id="n", camera_id="c", session=1, reported_us=2_000_000, state="running", frames_read=9, frames_analysed=8,
    frames_skipped=1, batches_sent=3, batches_pending=0, events_sent=0, inference_ms_p50=1.0, inference_ms_p95=2.0,
    model_name="m", model_version="1", spool_messages=5, spool_bytes=500, spool_oldest_s=1.5, spool_dropped=0,
    detections_withheld=4, clock_offset_ms=-3.5,
)  # fmt: skip
SPOOL_COLUMNS = ("spool_messages", "spool_bytes", "spool_oldest_s", "spool_dropped", "detections_withheld", "clock_offset_ms")


def row_of(value: bytes) -> dict[str, object]:
    rows = sort_messages([Received("node_status", 0, 0, 2_000_000, value)])
    (row,) = rows[NODE_STATUS].to_pylist()
    return dict(row)


def test_a_heartbeat_tells_what_its_spool_holds() -> None:
    row = row_of(STATUS.model_dump_json().encode())
    assert [row[name] for name in SPOOL_COLUMNS] == [5, 500, 1.5, 0, 4, -3.5]


def test_what_a_node_of_an_earlier_release_does_not_say_is_unknown_and_not_0() -> None:
    old = {key: value for key, value in json.loads(STATUS.model_dump_json()).items() if key not in SPOOL_COLUMNS}
    row = row_of(json.dumps(old).encode())
    assert [row[name] for name in SPOOL_COLUMNS] == [None] * 6
    assert (row["frames_read"], row["model_version"]) == (9, "1")
