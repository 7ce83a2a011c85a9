"""How fast the node's way out is, and how long an event takes on it: from ``put`` to the broker's answer."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from sightline.bench.edge_node import Feed
from sightline_contract.events import DetectionEvent, EventKind
from sightline_contract.topics import DETECTIONS, EVENTS
from sightline_edge.delivery import records
from sightline_edge.delivery.delivery import Delivery

# Whether the answer has come is looked at so often.
_LOOK_S = 0.0005
_GAP_S = 0.02
_EVENT_TIMEOUT_S = 30.0


def measure_path(home: Path, bootstrap: str, backlog: int, events: int) -> dict[str, Any]:
    """A backlog into the spool, then out of it, with events in between."""
    feed = Feed(
        state=home / "state", told=home / "told", bootstrap=bootstrap, cameras=100, start_us=int(time.time()) * 1_000_000,
        last=backlog,
    )  # fmt: skip
    city = feed.city
    messages = [message for second in range(backlog // feed.cameras) for message in city.second(second)]
    size = sum(len(message.payload) for message in messages)
    delivery = Delivery(feed.node, [], wait=True)
    delivery.outbox.start()
    began_s, cpu_s = time.monotonic(), time.process_time()
    for message in messages:
        delivery.outbox.put(records.of_batch(message.key, message.payload))
    while delivery.spool.depth().total < len(messages):
        time.sleep(0.01)
    kept = _rate(len(messages), size, began_s, cpu_s)
    began_s, cpu_s = time.monotonic(), time.process_time()
    delivery.forwarder.start()
    while not delivery.forwarder.traffic.messages[DETECTIONS.name]:
        time.sleep(_LOOK_S)
    behind: list[float] = []
    while delivery.spool.depth().messages[records.Lane.DETECTIONS] > 2000:
        behind.append(_event_ms(delivery, len(behind)))
        time.sleep(_GAP_S)
    while delivery.spool.depth().total:
        time.sleep(0.01)
    sent = _rate(len(messages), size, began_s, cpu_s)
    idle: list[float] = []
    for number in range(events):
        idle.append(_event_ms(delivery, len(behind) + number))
        time.sleep(_GAP_S)
    delivery.close(10)
    return {
        "message_bytes": size / len(messages),
        "into_the_spool": kept,
        "out_of_the_spool": sent,
        "event_ms": {"idle": _quantiles(idle), "behind a backlog": _quantiles(behind)},
    }


def _event_ms(delivery: Delivery, number: int) -> float:
    now_us = time.time_ns() // 1000
    event = DetectionEvent(
        event_id=f"bench-{number}", kind=EventKind.WATCH_LIST, node_id="edge-bench", camera_id="load-000000", session=1,
        frame=number, captured_us=now_us, received_us=now_us, emitted_us=now_us, class_name="person", score=0.9,
        cx=0.5, cy=0.5, w=0.1, h=0.2, cell=1,
    )  # fmt: skip
    record = records.of_event(event)
    answered = delivery.forwarder.traffic.messages[EVENTS.name]
    began_s = time.perf_counter()
    delivery.outbox.put(record)
    while delivery.forwarder.traffic.messages[EVENTS.name] == answered:
        delivery.check()
        if time.perf_counter() - began_s > _EVENT_TIMEOUT_S:
            break
        time.sleep(_LOOK_S)
    return (time.perf_counter() - began_s) * 1000


def _rate(messages: int, size: int, began_s: float, cpu_s: float) -> dict[str, float]:
    took_s, spent_s = time.monotonic() - began_s, time.process_time() - cpu_s
    return {
        "messages_per_s": messages / took_s,
        "mb_per_s": size / took_s / 1e6,
        "messages_per_cpu_s": messages / spent_s,
        "cores": spent_s / took_s,
    }


def _quantiles(values_ms: list[float]) -> dict[str, float]:
    if not values_ms:
        return {"events": 0.0}
    return {f"p{share}": float(np.percentile(values_ms, share)) for share in (50, 95, 99)} | {"events": float(len(values_ms))}
