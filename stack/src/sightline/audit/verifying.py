"""The audit log of a table root against its signed checkpoints and, where a broker is given, against the topics.

The topics lie outside of the lakehouse and keep everything: the one of checkpoints tells of those that were removed from the
table, the one of records tells what each row must say, and so which rows of a chain were written anew.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sightline.topic_content import read_topic
from sightline_contract.errors import TrustError
from sightline_contract.topics import AUDIT, AUDIT_CHECKPOINTS, Topic
from sightline_lakehouse.audit.chain import Entry, Row
from sightline_lakehouse.audit.checkpoint import Checkpoint, checkpoint_row, opened
from sightline_lakehouse.audit.log import AuditLog
from sightline_lakehouse.audit.verify import Fault, Finding, Verifier
from sightline_streaming.archived import Received
from sightline_streaming.audited import entries_of

if TYPE_CHECKING:
    from confluent_kafka import Message
    from cryptography.x509 import Certificate


@dataclass(frozen=True)
class Verdict:
    """What was found, and how far the log goes. ``last`` is the newest checkpoint; ``waiting`` messages are not in it yet."""

    rows: int
    findings: tuple[Finding, ...]
    last: Checkpoint | None
    waiting: int = 0


@dataclass(frozen=True)
class Broker:
    """Where the topics are; ``options`` are librdkafka's."""

    bootstrap: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def messages(self, topic: Topic) -> "Iterator[Message]":
        """All of a topic's; raises BrokerError."""
        return read_topic(self.bootstrap, topic.name, self.options)


Checkpoints = dict[tuple[int, str], Checkpoint]
"""By the number and hash that they state."""


def verify_log(log: AuditLog, authorities: "list[Certificate] | None" = None, broker: Broker | None = None) -> Verdict:
    """Judge the log, which is read again; without ``authorities`` anybody may have signed the checkpoints.

    Raises StorageError, BrokerError.
    """
    # The topic first: a checkpoint is in the table before it is told, and one that is signed meanwhile was not removed.
    told = _of_topic(broker, authorities) if broker else {}
    log.reread()
    checkpoints, findings = _of_table(log, authorities)
    if told:
        for seq, _ in told.keys() - checkpoints.keys():
            what = "its signed checkpoint is on the topic and was removed from gold.audit_checkpoints"
            findings.append(Finding(Fault.CHECKPOINT, seq, seq, what))
        checkpoints |= told
    numbers = [seq for seq, _ in checkpoints]
    for seq in {seq for seq in numbers if numbers.count(seq) > 1} if len(set(numbers)) < len(numbers) else ():
        findings.append(Finding(Fault.CHECKPOINT, seq, seq, "two signed checkpoints state different hashes of it"))
    verifier = Verifier(dict(checkpoints.keys()))
    for row in log.rows():
        verifier.add(row)
    findings += verifier.findings()
    if unnumbered := log.unnumbered():
        findings.append(Finding(Fault.INSERTED, 0, 0, f"{unnumbered} rows have no number"))
    waiting = 0
    if broker:
        differing, waiting = _compare(log, broker)
        findings += differing
    last = checkpoints[max(checkpoints)] if checkpoints else None
    return Verdict(verifier.rows, tuple(sorted(findings, key=lambda finding: finding.first)), last, waiting)


def whole_line(verdict: Verdict, *, trusted: bool) -> str:
    """What is said of a log without findings."""
    line = f"{verdict.rows} records, chain whole"
    if verdict.last is None:
        line += ", never signed: rows missing at the end, or a chain written anew, would not show"
    else:
        line += f", last checkpoint at seq {verdict.last.stated.seq} signed by {verdict.last.signer}"
        line += "" if trusted else " (give --trust CA.pem to check who that is)"
    return line + (f"; {verdict.waiting} messages of the topic are not in the log yet" if verdict.waiting else "")


def _of_table(log: AuditLog, authorities: "list[Certificate] | None") -> tuple[Checkpoints, list[Finding]]:
    found: Checkpoints = {}
    wrong = []
    for row in log.checkpoints():
        try:
            checkpoint = opened(row["envelope"] or "", authorities)
        except TrustError as error:
            wrong.append(Finding(Fault.CHECKPOINT, row["seq"], row["seq"], f"the checkpoint of it {error}"))
            continue
        if checkpoint_row(checkpoint) != row:
            what = "the checkpoint of it was changed: its row is not what was signed"
            wrong.append(Finding(Fault.CHECKPOINT, row["seq"], row["seq"], what))
        found[checkpoint.stated.seq, checkpoint.stated.hash] = checkpoint
    return found, wrong


def _of_topic(broker: Broker, authorities: "list[Certificate] | None") -> Checkpoints:
    """What others wrote there is passed over: it can neither add a checkpoint nor hide one."""
    found: Checkpoints = {}
    for message in broker.messages(AUDIT_CHECKPOINTS):
        with suppress(TrustError):
            checkpoint = opened(message.value() or b"", authorities)
            found[checkpoint.stated.seq, checkpoint.stated.hash] = checkpoint
    return found


def _compare(log: AuditLog, broker: Broker) -> tuple[list[Finding], int]:
    """Rows that do not say what their message says, messages that no row has, and how many wait behind the newest row."""
    findings: list[Finding] = []
    missing: list[tuple[int, Entry]] = []  # and the row behind
    walked: set[int] = set()
    for partition, entries in groupby(_entries(broker), key=lambda entry: entry.source_partition):
        walked.add(partition)
        rows = (row for row in log.rows() if row.entry.source_partition == partition)
        row = next(rows, None)
        for entry in entries:
            while row and row.entry.source_offset < entry.source_offset:
                findings.append(_unknown(row))
                row = next(rows, None)
            if row is None or row.entry.source_offset > entry.source_offset:
                missing.append((row.seq if row else 0, entry))
                continue
            if row.entry != entry:
                told = f"the topic has kind {entry.kind!r}, record {entry.record_id!r} at offset {entry.source_offset}"
                findings.append(Finding(Fault.CHANGED, row.seq, row.seq, f"is not what the topic has: {told}"))
            row = next(rows, None)
        findings += [_unknown(left) for left in (row, *rows) if left]
    findings += [_unknown(row) for row in log.rows() if row.entry.source_partition not in walked]
    unsaid = _unsaid(log, missing)
    findings += [
        Finding(
            Fault.REMOVED, behind, behind, f"a record before it is not in the log: offset {entry.source_offset} of the topic"
        )
        for behind, entry in unsaid
        if behind
    ]
    return findings, sum(not behind for behind, _ in unsaid)


def _unsaid(log: AuditLog, missing: list[tuple[int, Entry]]) -> list[tuple[int, Entry]]:
    """Of messages without a row, those that are no repetition of a record that has one."""
    said = {entry.says for entry in log.entries({entry.record_id for _, entry in missing})} if missing else set()
    return [(behind, entry) for behind, entry in missing if entry.says not in said]


def _unknown(row: Row) -> Finding:
    what = f"says that it came by offset {row.entry.source_offset}, of which the topic knows nothing"
    return Finding(Fault.INSERTED, row.seq, row.seq, what)


def _entries(broker: Broker) -> Iterator[Entry]:
    for message in broker.messages(AUDIT):
        received_us = message.timestamp()[1] * 1000
        place = message.topic() or "", message.partition() or 0, message.offset() or 0
        (entry,), _ = entries_of([Received(*place, received_us, message.value())])
        yield entry
