"""The figures of a node that are read when somebody asks: its queues, its way to the centre, its clips, its certificates."""

from collections.abc import Mapping
from datetime import UTC, datetime

from sightline_edge.clips.ring import ClipRing
from sightline_edge.config import NodeConfig, Tls
from sightline_edge.delivery.delivery import Delivery, Health
from sightline_edge.health.metrics import Metrics, Value
from sightline_edge.inbox import Inbox
from sightline_edge.security.tls import days_left


def watch_all(metrics: Metrics, config: NodeConfig, delivery: Delivery, inbox: Inbox, clips: ClipRing | None) -> None:
    """Register them; what the node does not have is told as absent."""
    forwarder, selection = delivery.forwarder, delivery.selection
    metrics.watch("inbox_frames", lambda: inbox.frames)
    metrics.watch("spool_messages", lambda: {lane.name.lower(): n for lane, n in delivery.spool.depth().messages.items()})
    metrics.watch("spool_bytes", lambda: delivery.spool.depth().content_bytes)
    metrics.watch("spool_oldest_seconds", lambda: delivery.spool.depth().oldest_s)
    metrics.watch("spool_dropped", lambda: _dropped(delivery.health()))
    metrics.watch("forwarded", lambda: dict(forwarder.traffic.messages))
    metrics.watch("withheld", lambda: dict(selection.withheld))
    metrics.watch("centre_up", lambda: float(forwarder.up))
    metrics.watch("broker_reconnects", lambda: _reconnects(delivery))
    metrics.watch("local_undelivered", lambda: delivery.local.undelivered if delivery.local else None)
    metrics.watch("clock_offset_seconds", lambda: clock.offset_s if (clock := forwarder.offset.estimate()) else None)
    metrics.watch("clock_offset_error_seconds", lambda: clock.error_s if (clock := forwarder.offset.estimate()) else None)
    if clips is not None:
        metrics.watch("oldest_frame_age_seconds", clips.oldest_frame_age_s)
        metrics.watch("clips_bytes", lambda: clips.bytes)
        metrics.watch("clips_frames_dropped", lambda: clips.frames_dropped)
    certificates = {"centre": config.kafka.tls, "local": config.local_broker.tls if config.local_broker else None}
    if any(certificates.values()):
        metrics.watch("certificate_days_left", lambda: _days_left(certificates))


def _days_left(certificates: Mapping[str, Tls | None]) -> Value:
    now = datetime.now(UTC)
    return {broker: days_left(tls, now) for broker, tls in certificates.items() if tls is not None}


def _dropped(health: Health) -> Value:
    return {**dict.fromkeys(("age", "size", "refused", "damaged"), 0), **health.losses, "disk": health.refused}


def _reconnects(delivery: Delivery) -> Value:
    found: dict[str, float] = {"centre": delivery.forwarder.traffic.reconnects}
    if delivery.local is not None and delivery.local.reconnects is not None:
        found["local"] = delivery.local.reconnects
    return found
