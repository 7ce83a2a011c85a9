"""The query ``archive-audit``: the audit topic into gold.audit_log, chained, each record once; and checkpoints of the chain.

The log itself says up to which offset of the topic it goes, so that a micro-batch that is run again, or a new checkpoint of the
query, adds nothing a second time; a new checkpoint always reads the topic from its beginning. Dead letters are written before
the log: a crash in between writes neither twice.

With a signer in the configuration, whatever a micro-batch added is signed at its end. Only what continues the newest signed
checkpoint is signed, which is looked up on the topic, too, where somebody who rewrote the tables cannot have changed it.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark's users know
from pyspark.sql.streaming.query import StreamingQuery

from sightline_contract.errors import TrustError
from sightline_contract.topics import AUDIT, AUDIT_CHECKPOINTS
from sightline_contract.topics import DEAD_LETTERS as DEAD_LETTERS_TOPIC
from sightline_lakehouse.arrow import arrow_schema
from sightline_lakehouse.audit.chain import GENESIS, Entry, Row, chained, continues, without_repetitions
from sightline_lakehouse.audit.checkpoint import Checkpoint, Signer, checkpoint_row, load_authorities, opened
from sightline_lakehouse.audit.log import AuditLog, Newest
from sightline_lakehouse.ddl import is_local
from sightline_lakehouse.tables import AUDIT_CHECKPOINTS as AUDIT_CHECKPOINTS_TABLE
from sightline_lakehouse.tables import AUDIT_LOG, DEAD_LETTERS
from sightline_streaming.archived import Received
from sightline_streaming.audit_spark import SparkAuditLog
from sightline_streaming.audited import entries_of
from sightline_streaming.config import AuditConfig, KafkaConfig
from sightline_streaming.delta_sink import BatchSink
from sightline_streaming.job import Job, JobContext
from sightline_streaming.kafka import micro_batch_options, newest_message, read_topics
from sightline_streaming.publisher import Outgoing, publish, publish_dead_letters

_log = logging.getLogger(__name__)

# All of a batch passes through the driver; a new checkpoint finds the records of years.
_MOST_AT_ONCE = 50_000


class Log(Protocol):
    """The audit log's tables, through either of Delta's writers."""

    def newest(self) -> Newest:
        """How far the log goes."""

    def entries(self, record_ids: Iterable[str]) -> list[Entry]:
        """What it holds under these ids."""

    def rows(self, first: int = 1) -> Iterator[Row]:
        """Its rows from ``first`` on, in their order."""

    def append(self, rows: list[Row]) -> None:
        """Add rows; raises StorageError, also where another writer was quicker."""

    def checkpoints(self) -> list[dict[str, Any]]:
        """Rows of gold.audit_checkpoints, oldest first."""

    def append_checkpoint(self, row: dict[str, object]) -> None:
        """Add a row there."""


class Notary:
    """Signs how far the log goes."""

    def __init__(self, config: AuditConfig, kafka: KafkaConfig) -> None:
        """Raises ConfigError for files that are no signer's."""
        self._signer = Signer(config.signer_certificate, config.signer_key)
        self._authorities = load_authorities(config.trust)
        self._kafka = kafka

    def sign(self, log: Log, newest: Newest, now_us: int) -> None:
        """Sign ``newest`` unless a checkpoint has it already or it does not continue the newest checkpoint."""
        kept = self._trusted(row["envelope"] for row in log.checkpoints()[-1:])
        told = self._trusted(filter(None, [newest_message(self._kafka, AUDIT_CHECKPOINTS)]))
        if kept and (told is None or told.stated.seq < kept.stated.seq):
            self._tell(kept)  # a crash came between the two
        last = max((one for one in (kept, told) if one), key=lambda one: one.stated.seq, default=None)
        seq, head = (last.stated.seq, last.stated.hash) if last else (0, GENESIS)
        if (seq, head) == (newest.seq, newest.hash):
            return
        if seq < newest.seq and _continues(log, seq, head):
            signed = self._signer.sign(newest.seq, newest.hash, now_us)
            log.append_checkpoint(checkpoint_row(signed))
            self._tell(signed)
        else:
            _log.warning("gold.audit_log does not continue what was signed up to row %d: see 'sightline audit verify'", seq)

    def _trusted(self, envelopes: Iterable[str | bytes]) -> Checkpoint | None:
        for envelope in envelopes:
            try:
                return opened(envelope, self._authorities)
            except TrustError as error:
                _log.warning("a checkpoint of the audit log %s: see 'sightline audit verify'", error)
        return None

    def _tell(self, checkpoint: Checkpoint) -> None:
        message: Outgoing = (str(checkpoint.stated.seq), checkpoint.envelope.encode(), [])
        publish([message], AUDIT_CHECKPOINTS, self._kafka)


def _continues(log: Log, seq: int, head: str) -> bool:
    """Whether the log goes on from the row ``seq`` with this hash; 0 is before the first one."""
    rows = log.rows(max(seq, 1))
    signed_before = next(rows, None) if seq else None
    return (signed_before is None or (signed_before.seq, signed_before.hash) == (seq, head)) and continues(rows, seq, head)


def extend_log(log: Log, entries: list[Entry]) -> Newest:
    """Chain those of ``entries`` that the log has not; returns how far it goes then."""
    newest = log.newest()
    fresh = [entry for entry in entries if entry.source_offset > newest.offsets.get(_place(entry), -1)]
    fresh = list(without_repetitions(fresh, log.entries({entry.record_id for entry in fresh}) if fresh else ()))
    rows = list(chained(fresh, newest.seq, newest.hash))
    if not rows:
        return newest
    log.append(rows)
    return Newest(rows[-1].seq, rows[-1].hash)


def write_audit(context: JobContext, notary: Notary | None, messages: DataFrame, batch_id: int) -> None:
    """Write one micro-batch of the audit topic."""
    columns = messages.select("topic", "partition", "offset", F.unix_micros("timestamp").alias("timestamp_us"), "value")
    entries, refused = entries_of(Received(**row) for row in columns.toArrow().to_pylist())
    log = open_log(context)
    if refused:
        rows = pa.Table.from_pylist(refused, arrow_schema(DEAD_LETTERS))
        BatchSink(messages, batch_id, context.config.table_root).append(rows, DEAD_LETTERS)
        publish_dead_letters(rows, context.config.kafka)
    newest = extend_log(log, entries)
    if notary and newest.seq:
        notary.sign(open_log(context), newest, time.time_ns() // 1000)


def open_log(context: JobContext) -> Log:
    """The log as it is now. An object store's tables have Spark as their one writer."""
    root = context.config.table_root
    return AuditLog(root) if is_local(root) else SparkAuditLog(context.spark, root)


def start_audit(context: JobContext) -> StreamingQuery:
    """Start the query ``archive-audit``; raises ConfigError for files that are no signer's."""
    config = context.config
    notary = Notary(config.audit, config.kafka) if config.audit else None
    options = micro_batch_options(config) | {"startingOffsets": "earliest"}
    options.setdefault("maxOffsetsPerTrigger", str(_MOST_AT_ONCE))
    messages = read_topics(context.spark, config, [AUDIT], **options)
    writer = messages.writeStream.foreachBatch(lambda batch, batch_id: write_audit(context, notary, batch, batch_id))
    # The log may be there already: whoever lost a checkpoint goes on with the chain, and does not begin another one.
    writer = writer.option("checkpointLocation", context.claim("archive-audit", [])).queryName("archive-audit")
    return writer.trigger(**context.trigger(config.trigger_s.archive)).start()


# What the job archive does besides; alone where nothing else is archived. A log has one writer.
JOB = Job(
    "audit",
    topics=(AUDIT, AUDIT_CHECKPOINTS, DEAD_LETTERS_TOPIC),
    tables=(AUDIT_LOG, AUDIT_CHECKPOINTS_TABLE, DEAD_LETTERS),
    start=lambda context: (start_audit(context),),
    reads_cameras=False,
)


def _place(entry: Entry) -> tuple[str, int]:
    return entry.source_topic, entry.source_partition
