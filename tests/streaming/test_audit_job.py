"""The audit log as the archive job keeps it: a real broker, a real driver."""

import base64
import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from audit_signer import Files, make_signer
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from sightline.audit.verifying import Broker as Topics
from sightline.audit.verifying import verify_log
from sightline_contract.errors import StorageError
from sightline_contract.events import AuditKind, AuditRecord
from sightline_contract.topics import AUDIT, DEAD_LETTERS
from sightline_lakehouse.audit.chain import GENESIS, Entry, chained
from sightline_lakehouse.audit.checkpoint import load_authorities
from sightline_lakehouse.audit.log import AuditLog, Newest, rows_table
from sightline_lakehouse.audit.verify import Fault
from sightline_lakehouse.ddl import create_local_tables, table_location
from sightline_lakehouse.tables import AUDIT_CHECKPOINTS as AUDIT_CHECKPOINTS_TABLE
from sightline_lakehouse.tables import AUDIT_LOG, Table
from sightline_lakehouse.tables import DEAD_LETTERS as DEAD_LETTERS_TABLE
from sightline_streaming import audit
from sightline_streaming.audit import extend_log, start_audit
from sightline_streaming.audit_spark import SparkAuditLog
from sightline_streaming.checkpoints import Checkpoints
from sightline_streaming.config import AuditConfig
from sightline_streaming.job import JobContext

if TYPE_CHECKING:
    from tests.streaming.conftest import Site

pytestmark = [pytest.mark.spark, pytest.mark.kafka]


def record(site: "Site", name: str, **changed: object) -> bytes:
    made = AuditRecord(
        record_id=f"{site.camera}-{name}",
        kind=AuditKind.CLIP_EXPORTED,
        node_id=site.camera,
        actor="ann",
        reason="police request 17",
        at_us=time.time_ns() // 1000,
        camera_id="gate",
        details={"file": "a.mp4", "bytes": 17},
    )
    return json.dumps(json.loads(made.model_dump_json()) | changed).encode()


def names(site: "Site") -> list[str]:
    """Records of this test in the log's order; a shared broker has those of others, too."""
    rows = AuditLog(site.config.table_root).rows()
    return [row.entry.record_id.removeprefix(f"{site.camera}-") for row in rows if row.entry.node_id == site.camera]


def topics(site: "Site") -> Topics:
    return Topics(site.config.kafka.bootstrap_servers)


def test_records_are_chained_once_over_restarts_and_a_lost_checkpoint(site: "Site") -> None:
    site.send(AUDIT, record(site, "a"), record(site, "b"), record(site, "a"))
    site.run("archive")
    site.send(AUDIT, record(site, "b"), record(site, "c"))
    site.run("archive")
    assert names(site) == ["a", "b", "c"]
    first = list(AuditLog(site.config.table_root).rows())
    assert first[0].prev_hash == GENESIS

    site.send(AUDIT, record(site, "d"))
    site.config = site.config.model_copy(update={"checkpoint_root": str(site.folder / "anew")})
    drain_audit(site)
    rows = list(AuditLog(site.config.table_root).rows())
    assert rows[: len(first)] == first
    assert names(site) == ["a", "b", "c", "d"]
    verdict = verify_log(AuditLog(site.config.table_root), broker=topics(site))
    assert (verdict.findings, verdict.waiting, verdict.rows) == ((), 0, len(rows))


def drain_audit(site: "Site") -> None:
    """The query alone: others of the archive job refuse a new checkpoint."""
    create_local_tables(site.config.table_root, (AUDIT_LOG, AUDIT_CHECKPOINTS_TABLE, DEAD_LETTERS_TABLE))
    checkpoints = Checkpoints(site.spark, site.config.checkpoint_root)
    try:
        query = start_audit(JobContext(site.spark, site.config, (), checkpoints, available_now=True))
        assert query.awaitTermination(60)
    finally:
        checkpoints.release()


def test_a_driver_that_dies_behind_the_append_adds_nothing_twice(site: "Site", monkeypatch: pytest.MonkeyPatch) -> None:
    """Protection: extend_log() passes over what the log has, by offset and by what it says; without both it is there twice."""
    site.send(AUDIT, record(site, "a"), b"{" + site.camera.encode(), record(site, "b"))

    def extend_and_die(log: audit.Log, entries: list[Entry]) -> None:
        extend_log(log, entries)
        raise RuntimeError("the driver dies here")

    with monkeypatch.context() as dying:
        dying.setattr(audit, "extend_log", extend_and_die)
        with pytest.raises(Exception, match="the driver dies here"):
            drain_audit(site)
    before = list(AuditLog(site.config.table_root).rows())
    drain_audit(site)
    assert list(AuditLog(site.config.table_root).rows()) == before
    assert names(site) == ["a", "b"]
    dead_rows = DeltaTable(table_location(site.config.table_root, DEAD_LETTERS_TABLE)).to_pyarrow_table().to_pylist()
    (dead,) = [row for row in dead_rows if row["payload"] == b"{" + site.camera.encode()]
    assert dead["reason"].startswith("not AuditRecord: ")


def test_what_is_no_record_is_chained_with_its_bytes(site: "Site") -> None:
    nonsense = [b"{" + site.camera.encode(), record(site, "far", at_us=10**30)]
    site.send(AUDIT, *nonsense)
    drain_audit(site)
    rows = list(AuditLog(site.config.table_root).rows())
    found = [row for row in rows if row.entry.kind == AuditKind.UNREADABLE]
    kept = [json.loads(row.entry.details)["base64"] for row in found]
    assert [value for value in map(base64.b64decode, kept) if site.camera.encode() in value] == nonsense
    assert verify_log(AuditLog(site.config.table_root), broker=topics(site)).findings == ()
    site.messages(DEAD_LETTERS, lambda message: message.value() == nonsense[0])


def sign_with(site: "Site", signer: Files) -> None:
    settings = AuditConfig(signer_certificate=signer.certificate, signer_key=signer.key, trust=signer.ca)
    site.config = site.config.model_copy(update={"audit": settings})


def replaceable(site: "Site", table: Table) -> str:
    """Location of a table that from now on may be changed, as somebody makes it who may write there."""
    location = table_location(site.config.table_root, table)
    DeltaTable(location).alter.set_table_properties({"delta.appendOnly": "false"})
    return location


def test_every_micro_batch_is_signed_and_the_topic_has_a_copy(
    site: "Site", tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signer = make_signer(tmp_path / "signer")
    sign_with(site, signer)
    for name in ("a", "b"):
        site.send(AUDIT, record(site, name))
        drain_audit(site)
    log, authorities = AuditLog(site.config.table_root), load_authorities(signer.ca)
    newest = log.newest()
    verdict = verify_log(log, authorities, topics(site))
    assert verdict.findings == ()
    assert verdict.last is not None
    assert (verdict.last.stated.seq, verdict.last.stated.hash) == (newest.seq, newest.hash)
    assert len(log.checkpoints()) == 2

    with caplog.at_level(logging.WARNING):
        notary = audit.Notary(site.config.audit, site.config.kafka)
        notary.sign(log, Newest(newest.seq - 1, "00" * 32), time.time_ns() // 1000)
        notary.sign(log, Newest(newest.seq, "00" * 32), time.time_ns() // 1000)
    assert caplog.text.count(f"does not continue what was signed up to row {newest.seq}") == 2, "cut, and written anew"
    assert len(log.checkpoints()) == 2

    DeltaTable(replaceable(site, AUDIT_CHECKPOINTS_TABLE)).delete()
    assert verify_log(AuditLog(site.config.table_root), authorities).last is None
    found = verify_log(AuditLog(site.config.table_root), authorities, topics(site)).findings
    assert [finding.what for finding in found] == [
        "its signed checkpoint is on the topic and was removed from gold.audit_checkpoints"
    ] * 2


def test_a_log_that_was_written_anew_is_not_signed_and_the_topic_tells_the_row(
    site: "Site", tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Protection: Notary.sign() looks at what was signed before, on the topic, too; else it signs the forged rows."""
    signer = make_signer(tmp_path / "signer")
    sign_with(site, signer)
    site.send(AUDIT, record(site, "a"))
    drain_audit(site)
    rows = list(AuditLog(site.config.table_root).rows())
    forged = [row.entry for row in rows]
    forged[-1] = forged[-1]._replace(actor="eve")
    anew = rows_table(chained(forged, 0, GENESIS))
    write_deltalake(replaceable(site, AUDIT_LOG), anew, mode="overwrite")
    DeltaTable(replaceable(site, AUDIT_CHECKPOINTS_TABLE)).delete()

    site.send(AUDIT, record(site, "b"))
    with caplog.at_level(logging.WARNING):
        drain_audit(site)
    log = AuditLog(site.config.table_root)
    assert f"does not continue what was signed up to row {len(rows)}" in caplog.text
    assert [row["seq"] for row in log.checkpoints()] == []
    found = verify_log(log, load_authorities(signer.ca), topics(site)).findings
    told = [(finding.fault, finding.last) for finding in found]
    assert (Fault.REWRITTEN, len(rows)) in told
    assert (Fault.CHANGED, len(rows)) in told


def test_spark_keeps_the_same_log_as_delta_rs(site: "Site", spark: SparkSession) -> None:
    """An object store's tables are written by Spark alone."""
    create_local_tables(site.config.table_root, (AUDIT_LOG, AUDIT_CHECKPOINTS_TABLE))
    entries = [Entry(f"r{n}", "clip_exported", "node", "ann", "w", n, None, "{}", "audit", 0, n, n, 0) for n in (1, 2, 3, 4, 2)]
    ours = SparkAuditLog(spark, site.config.table_root)
    assert ours.newest() == AuditLog(site.config.table_root).newest()
    extend_log(ours, entries[:2])
    extend_log(ours, entries)
    log = AuditLog(site.config.table_root)
    assert list(ours.rows(2)) == list(log.rows(2))
    assert [row.entry for row in log.rows()] == entries[:4]
    assert (ours.newest(), ours.entries(["r3"])) == (log.newest(), log.entries(["r3"]))
    assert verify_log(log).findings == ()
    stale = list(chained([entries[0]._replace(record_id="x")], 0, GENESIS))
    with pytest.raises(StorageError, match="another job writes to it"):
        ours.append(stale)
