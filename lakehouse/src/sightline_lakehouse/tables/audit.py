"""The audit log, and the signed statements about it."""

from sightline_lakehouse.tables.definition import Column, Layer, Table

_HASH = "SHA-256 in 64 hex digits"

AUDIT_LOG = Table(
    Layer.GOLD,
    "audit_log",
    "One row per audit record, chained by hashes in the order of seq; docs/audit.md says how.",
    (
        Column("seq", "bigint", "Number of the row, from 1 without gaps.", minimum=1),
        Column("record_id", "string", "The record: the same if it is sent again."),
        Column("kind", "string", "What was done; unreadable: a message that is no audit record."),
        Column("node_id", "string", "Node that did it, or centre."),
        Column("actor", "string", "User who did it, or in whose name."),
        Column("reason", "string", "Why, as they say."),
        Column("at", "timestamp", "When, by the clock of who did it."),
        Column("camera_id", "string", "Camera that it is about.", nullable=True),
        Column("details", "string", "JSON: further details by name; of an unreadable message its bytes, too."),
        Column("source_topic", "string", "Kafka topic that it came by."),
        Column("source_partition", "int", "Kafka partition.", minimum=0),
        Column("source_offset", "bigint", "Kafka offset.", minimum=0),
        Column("received_at", "timestamp", "Kafka's timestamp of the message."),
        Column("prev_hash", "string", f"Hash of the row before; of the first: zeros. {_HASH}."),
        Column("hash", "string", f"Hash of prev_hash and of all other columns. {_HASH}."),
        Column("event_date", "date", "UTC date of received_at."),
    ),
    key=("seq",),
    append_only=True,
)

AUDIT_CHECKPOINTS = Table(
    Layer.GOLD,
    "audit_checkpoints",
    "One row per signed statement of how far gold.audit_log went and with which hash; also on the topic audit_checkpoints.",
    (
        Column("seq", "bigint", "Newest row of the log, and so how many rows it had.", minimum=1),
        Column("hash", "string", f"Hash of that row. {_HASH}."),
        Column("signed_at", "timestamp", "When, by the signer's clock."),
        Column("signer", "string", "Common name of the signer's certificate."),
        Column("envelope", "string", "JSON: the DSSE envelope with the signed statement and the certificate."),
        Column("event_date", "date", "UTC date of signed_at."),
    ),
    key=("seq", "signed_at"),
    append_only=True,
)
