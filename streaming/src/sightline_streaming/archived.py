"""Alerts, heartbeats and events as their topics' contract has them: good ones as rows, malformed ones as dead letters.

Python values in, Arrow out, no Spark. The contract's own models judge a message, so that what the edge may write and what
the archive takes cannot differ.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import ValidationError

from sightline_contract.events import Alert, DetectionEvent, Message, NodeStatus
from sightline_contract.settings import explain
from sightline_contract.topics import ALERTS, EVENTS, NODE_STATUS, Topic
from sightline_lakehouse.arrow import arrow_schema
from sightline_lakehouse.tables import ALERTS as ALERTS_TABLE
from sightline_lakehouse.tables import DEAD_LETTERS, Table
from sightline_lakehouse.tables import NODE_STATUS as NODE_STATUS_TABLE

Row = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Received(NamedTuple):
    """A message as Kafka gave it."""

    topic: str
    partition: int
    offset: int
    timestamp_us: int
    value: bytes | None


@dataclass(frozen=True)
class Kind:
    """What a topic's messages are, and the table and row that they become; no table where only their form is checked."""

    topic: Topic
    message: type[Message]
    table: Table | None = None
    extra_columns: Callable[[Any, int], Row] = lambda _message, _arrived_us: {}


def at(microseconds: int) -> datetime:
    """A time; raises OverflowError outside the years 1 to 9999."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _alert_columns(alert: Alert, arrived_us: int) -> Row:
    return {
        "captured_at": at(alert.captured_us),
        "received_at": at(alert.received_us),
        "emitted_at": at(alert.emitted_us),
        "alerted_at": at(arrived_us),
        "alert_latency_ms": (arrived_us - alert.emitted_us) / 1000,
        "event_date": at(alert.captured_us).date(),
    }


def _status_columns(status: NodeStatus, _arrived_us: int) -> Row:
    # A node of an earlier release does not say what its spool holds: that is unknown and not 0.
    unsaid: Row = dict.fromkeys(NodeStatus.model_fields.keys() - status.model_fields_set)
    return unsaid | {"reported_at": at(status.reported_us), "event_date": at(status.reported_us).date()}


KINDS: tuple[Kind, ...] = (
    Kind(ALERTS, Alert, ALERTS_TABLE, _alert_columns),
    Kind(NODE_STATUS, NodeStatus, NODE_STATUS_TABLE, _status_columns),
    Kind(EVENTS, DetectionEvent),
)
_KIND_OF_TOPIC = {kind.topic.name: kind for kind in KINDS}


def sort_messages(messages: Iterable[Received]) -> dict[Table, pa.Table]:
    """Rows of every table that the messages speak of. An alert that Kafka gave twice is one row."""
    rows: dict[Table, dict[object, Row]] = {}
    for received in messages:
        table, row = _row_of(received)
        if table is not None:
            rows.setdefault(table, {}).setdefault(tuple(row[name] for name in table.key), row)
    return {table: pa.Table.from_pylist(list(found.values()), arrow_schema(table)) for table, found in rows.items()}


def _row_of(received: Received) -> tuple[Table | None, Row]:
    kind = _KIND_OF_TOPIC[received.topic]
    try:
        message = kind.message.model_validate_json(received.value or b"")
        columns = message.model_dump() | kind.extra_columns(message, received.timestamp_us)
    except ValidationError as error:
        return DEAD_LETTERS, dead_letter(received, f"not {kind.message.__name__}: {explain(error)}")
    except OverflowError:
        return DEAD_LETTERS, dead_letter(received, f"not {kind.message.__name__}: a time is out of range")
    if kind.table is None:
        return None, {}
    return kind.table, {column.name: columns[column.name] for column in kind.table.columns}


def dead_letter(received: Received, reason: str) -> Row:
    """A message's row in quarantine.dead_letters."""
    return {
        "source_topic": received.topic,
        "source_partition": received.partition,
        "source_offset": received.offset,
        "camera_id": None,
        "reason": reason,
        "payload": received.value,
        "arrived_at": at(received.timestamp_us),
        "event_date": at(received.timestamp_us).date(),
    }
