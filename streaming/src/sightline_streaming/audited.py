"""Messages of the audit topic as entries of the audit log. Python values in and out, no Spark.

Every message becomes an entry, also one that is no AuditRecord: nobody hides what was done by writing it badly. Such a one is
of kind ``unreadable`` with its bytes in ``details``, and goes to the dead letters as those of other topics do.
"""

import base64
import json
from collections.abc import Iterable

from pydantic import ValidationError

from sightline_contract.events import AuditKind, AuditRecord
from sightline_contract.settings import explain
from sightline_lakehouse.audit.chain import DAY_US, Entry
from sightline_streaming.archived import Received, Row, at, dead_letter


def entries_of(messages: Iterable[Received]) -> tuple[list[Entry], list[Row]]:
    """An entry for each message, in the order of partitions and offsets, and rows for quarantine.dead_letters."""
    entries: list[Entry] = []
    refused: list[Row] = []
    for received in sorted(messages, key=lambda message: (message.topic, message.partition, message.offset)):
        record = _read(received)
        if isinstance(record, str):
            refused.append(dead_letter(received, record))
            record = _unreadable(received, record)
        entries.append(_entry(record, received))
    return entries, refused


def _read(received: Received) -> AuditRecord | str:
    """The record, or why the message is none."""
    try:
        record = AuditRecord.model_validate_json(received.value or b"")
        at(record.at_us)
    except ValidationError as error:
        return f"not AuditRecord: {explain(error)}"
    except OverflowError:
        return "not AuditRecord: a time is out of range"
    return record


def _unreadable(received: Received, problem: str) -> AuditRecord:
    value: dict[str, str | int | float] = (
        {} if received.value is None else {"base64": base64.b64encode(received.value).decode()}
    )
    return AuditRecord(
        record_id=f"{received.topic}/{received.partition}/{received.offset}",
        kind=AuditKind.UNREADABLE,
        node_id="unknown",
        actor="unknown",
        reason=problem,
        at_us=received.timestamp_us,
        details=value,
    )


def _entry(record: AuditRecord, received: Received) -> Entry:
    return Entry(
        record_id=record.record_id,
        kind=record.kind,
        node_id=record.node_id,
        actor=record.actor,
        reason=record.reason,
        at_us=record.at_us,
        camera_id=record.camera_id,
        details=json.dumps(record.details, sort_keys=True, ensure_ascii=False, separators=(",", ":")),
        source_topic=received.topic,
        source_partition=received.partition,
        source_offset=received.offset,
        received_us=received.timestamp_us,
        event_day=received.timestamp_us // DAY_US,
    )
