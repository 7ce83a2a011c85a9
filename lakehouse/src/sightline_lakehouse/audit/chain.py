"""The chain of the audit log: the bytes of a row, its hash, and how records that arrive become rows. Pure: no table, no clock.

- Rows are numbered from 1 without gaps; so a row's number is how many rows there are up to it.
- hash = SHA-256(previous row's hash || bytes of the row); GENESIS stands before the first. A row keeps both hashes.
- The bytes of a row hold every other column, in the order of ROW_FIELDS: first the whole numbers, each as 8 bytes, signed,
  big-endian; then the texts, each as its length in bytes (8 bytes, signed, big-endian; -1 for NULL) and its UTF-8. No two
  different rows have the same bytes, and no canonical form of JSON is needed: ``details`` is hashed as the text that it is.
- The same records give the same rows, whenever and however often they are chained.

Sources: B. Schneier and J. Kelsey, "Secure Audit Logs to Support Computer Forensics", 1999 (a hash chain over a log's
entries); RFC 9162, Certificate Transparency 2.0 (signed tree heads: checkpoint.py). A tree would prove one row to somebody who
has not the others; here whoever verifies has them all.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

GENESIS: Final = "0" * 64
DAY_US: Final = 24 * 3600 * 1_000_000

_NUMBERS: Final = struct.Struct(">6q")
_LENGTH: Final = struct.Struct(">q")


class Entry(NamedTuple):
    """What is kept of a record, without its place in the chain. Times: UTC us."""

    record_id: str
    kind: str
    node_id: str
    actor: str
    reason: str
    at_us: int
    camera_id: str | None
    details: str
    source_topic: str
    source_partition: int
    source_offset: int
    received_us: int
    event_day: int  # days since 1970-01-01 of received_us

    @property
    def says(self) -> tuple[str | None, ...]:
        """All that the record states but for its time: a repetition states the same."""
        return (*self[:5], self.camera_id, self.details)


class Row(NamedTuple):
    """A row of gold.audit_log; the hashes are 64 hex digits."""

    seq: int
    entry: Entry
    prev_hash: str
    hash: str


ROW_FIELDS: Final = (
    "seq", "at", "source_partition", "source_offset", "received_at", "event_date",
    "record_id", "kind", "node_id", "actor", "reason", "camera_id", "details", "source_topic",
)  # fmt: skip


def row_hash(prev_hash: str, seq: int, entry: Entry) -> str:
    """The hash of the row that holds ``entry`` at ``seq``; of no row where a damaged value has no such form: ''."""
    try:
        numbers = _NUMBERS.pack(
            seq, entry.at_us, entry.source_partition, entry.source_offset, entry.received_us, entry.event_day
        )
        digest = hashlib.sha256(bytes.fromhex(prev_hash) + numbers)
        texts = (*entry[:5], entry.camera_id, entry.details, entry.source_topic)
        digest.update(b"".join(map(_text_bytes, texts)))
    except (ValueError, TypeError, struct.error):
        return ""  # a NULL, or no hash: nothing that was ever chained
    return digest.hexdigest()


def _text_bytes(text: str | None) -> bytes:
    if text is None:
        return _LENGTH.pack(-1)
    encoded = text.encode()
    return _LENGTH.pack(len(encoded)) + encoded


def chained(entries: Iterable[Entry], seq: int, head: str) -> Iterator[Row]:
    """``entries`` as rows behind the row ``seq`` whose hash is ``head``; 0 and GENESIS where there is none."""
    for entry in entries:
        seq += 1
        row = Row(seq, entry, head, row_hash(head, seq, entry))
        yield row
        head = row.hash


def without_repetitions(entries: Iterable[Entry], known: Iterable[Entry]) -> Iterator[Entry]:
    """``entries`` without those that say what another one, or one of ``known``, said under the same record_id.

    A record that says something else under a known id is kept: else whoever can guess an id could keep a record out.
    """
    said = {entry.says for entry in known}
    for entry in entries:
        if entry.says not in said:
            said.add(entry.says)
            yield entry


def continues(rows: Iterable[Row], seq: int, head: str) -> bool:
    """Whether ``rows``, in their order, are the rows behind ``seq`` whose hash is ``head``."""
    for row in rows:
        if (row.seq, row.prev_hash, row.hash) != (seq + 1, head, row_hash(head, seq + 1, row.entry)):
            return False
        seq, head = row.seq, row.hash
    return True
