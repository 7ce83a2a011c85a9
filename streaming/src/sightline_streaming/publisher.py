"""Sending rows that are in the driver to Kafka, at least once: a batch that is run again is sent again."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from sightline_contract.errors import BrokerError
from sightline_contract.topics import DEAD_LETTERS, OBJECT_COUNTS, SCENE_EVENTS, Topic
from sightline_streaming.config import KafkaConfig

DEAD_LETTER_HEADERS = ("reason", "source_topic", "source_partition", "source_offset")

_FLUSH_TIMEOUT_S = 60.0
_POLL_EVERY = 1000

Outgoing = tuple[str | None, bytes | None, list[tuple[str, bytes]]]
"""Key, value and headers of a message."""


def publish_counts(rows: pa.Table, kafka: KafkaConfig) -> None:
    """Send rows of gold.object_counts; a reader drops repeats by (camera_id, session, window_start, class_name)."""
    publish(((row["camera_id"], _json(row), []) for row in rows.to_pylist()), OBJECT_COUNTS, kafka)


def publish_events(rows: pa.Table, kafka: KafkaConfig) -> None:
    """Send rows of silver.scene_events; a reader drops repeats by event_id."""
    publish(((row["camera_id"], _json(row), []) for row in rows.to_pylist()), SCENE_EVENTS, kafka)


def publish_dead_letters(rows: pa.Table, kafka: KafkaConfig) -> None:
    """Send rows of quarantine.dead_letters: the message as it came; a reader drops repeats by the coordinates' headers."""
    publish(_dead_letters(rows), DEAD_LETTERS, kafka)


def _dead_letters(rows: pa.Table) -> Iterator[Outgoing]:
    for row in rows.to_pylist():
        yield row["camera_id"], row["payload"], [(name, str(row[name]).encode()) for name in DEAD_LETTER_HEADERS]


def publish(messages: Iterable[Outgoing], topic: Topic, kafka: KafkaConfig) -> None:
    """Send messages and wait until the broker has them; raises BrokerError."""
    from confluent_kafka import KafkaException, Producer

    failures: list[str] = []

    def report(error: Any, _message: Any) -> None:
        if error is not None:
            failures.append(error.str())

    producer = Producer({**kafka.librdkafka_options(), "acks": "all", "linger.ms": 5, "log_level": 0})
    try:
        for number, (key, value, headers) in enumerate(messages):
            _produce(producer, topic.name, key, value, headers, report)
            if number % _POLL_EVERY == 0:
                producer.poll(0)
        undelivered = producer.flush(_FLUSH_TIMEOUT_S)
    except KafkaException as error:
        raise BrokerError(f"topic {topic.name} at {kafka.bootstrap_servers}: refused a message ({error})") from error
    if undelivered or failures:
        reason = failures[0] if failures else f"{undelivered} messages not taken within {_FLUSH_TIMEOUT_S:.0f} s"
        raise BrokerError(f"topic {topic.name} at {kafka.bootstrap_servers}: {reason}: see whether Kafka runs")


def _produce(producer: Any, topic: str, key: str | None, value: bytes | None, headers: Any, report: Any) -> None:
    try:
        producer.produce(topic, key=key, value=value, headers=headers, on_delivery=report)
    except BufferError:  # the local queue is full: let it empty, once
        producer.flush(_FLUSH_TIMEOUT_S)
        producer.produce(topic, key=key, value=value, headers=headers, on_delivery=report)


def _json(row: dict[str, Any]) -> bytes:
    return json.dumps(row, default=_text, ensure_ascii=False).encode()


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
