"""The node's way out as a whole, where no broker is needed."""

import threading
from pathlib import Path

import pytest
from edge_messages import batch, event

from sightline_contract.errors import ConfigError
from sightline_edge.config import NodeConfig
from sightline_edge.delivery.delivery import Delivery
from sightline_edge.delivery.records import Lane, of_event

AWAY = {"bootstrap_servers": "127.0.0.1:1"}


def delivery_of(folder: Path, **changes: object) -> Delivery:
    entries = {"node_id": "n", "kafka": AWAY, "model": "m", "cameras": [{"source": "s", "camera": "c"}], "state": folder}
    return Delivery(NodeConfig.model_validate(entries | changes), [], wait=False)


def test_what_is_sent_before_a_stop_is_kept_for_the_next_run(tmp_path: Path) -> None:
    first = delivery_of(tmp_path)
    first.start()
    first.send_batch(batch("cam", 0))
    first.send_event(event("n"))
    assert first.close(drain_s=0.2) == 2
    second = delivery_of(tmp_path)
    second.start()
    second.send_batch(batch("cam", 1))
    assert second.close(drain_s=0) == 3


def test_two_nodes_do_not_share_a_folder(tmp_path: Path) -> None:
    first = delivery_of(tmp_path)
    first.start()
    with pytest.raises(ConfigError, match="another node uses this folder"):
        delivery_of(tmp_path)
    first.close(0)
    again = delivery_of(tmp_path)
    again.start()
    again.close(0)


def test_health_tells_what_waits(tmp_path: Path) -> None:
    delivery = delivery_of(tmp_path)
    delivery.start()
    for seq in range(3):
        delivery.send_batch(batch("cam", seq))
    delivery.send_event(event("n"))
    kept = threading.Event()
    delivery.outbox.put(of_event(event("n")), stored=kept.set)
    assert kept.wait(10)
    health = delivery.health()
    assert health.depth.messages == {Lane.AUDIT: 0, Lane.EVENTS: 2, Lane.STATUS: 0, Lane.DETECTIONS: 3}
    content = sum(len(batch("cam", seq).SerializeToString()) for seq in range(3))
    assert health.depth.content_bytes == content + 2 * len(event("n").model_dump_json())
    assert (health.dropped, health.refused, health.clock) == (0, 0, None)
    delivery.close(0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"no.such.option": 1}, r"kafka\.options: .*no\.such\.option.*: correct them"),
        ({"acks": "0"}, r"kafka\.options: .*acks.*: correct them"),
    ],
)
def test_options_that_the_library_refuses_are_told_at_once(tmp_path: Path, options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        delivery_of(tmp_path, kafka=AWAY | {"options": options})
