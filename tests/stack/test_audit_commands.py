"""``sightline audit`` on real Delta tables that somebody tampered with, and records while the broker is away."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from audit_signer import Files, make_signer
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError
from typer.testing import CliRunner, Result

from sightline.audit.announce import PENDING, announcer, send_pending
from sightline.audit.commands import audit_app
from sightline.audit.verifying import Broker as Topics
from sightline.audit.verifying import verify_log
from sightline.broker import Broker, BrokerConfig
from sightline.ports import free_port
from sightline.topic_content import read_topic
from sightline_contract.errors import StorageError, TrustError
from sightline_contract.events import AuditRecord
from sightline_contract.topics import AUDIT
from sightline_lakehouse.audit.chain import DAY_US, GENESIS, Entry, chained
from sightline_lakehouse.audit.log import AuditLog, rows_table
from sightline_lakehouse.audit.verify import Fault
from sightline_lakehouse.ddl import create_local_tables, table_location
from sightline_lakehouse.tables import AUDIT_CHECKPOINTS, AUDIT_LOG
from sightline_streaming.archived import Received
from sightline_streaming.audit import extend_log
from sightline_streaming.audited import entries_of

AT_US = 1_780_000_000_000_000


def entries(first: int, last: int, reason: str = "asked to") -> list[Entry]:
    return [
        Entry(
            f"r{n}", "rollout_step", "centre", "ann", reason, AT_US + n, None, "{}", "audit", 0, n, AT_US + n, AT_US // DAY_US
        )
        for n in range(first, last + 1)
    ]


@pytest.fixture
def signer(tmp_path: Path) -> Files:
    return make_signer(tmp_path / "signer")


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Tables with 30 records in three commits."""
    root = str(tmp_path / "tables")
    create_local_tables(root, (AUDIT_LOG, AUDIT_CHECKPOINTS))
    for first in (1, 11, 21):
        extend_log(AuditLog(root), entries(first, first + 9))
    return root


def audit(*words: object) -> Result:
    return CliRunner().invoke(audit_app, [str(word) for word in words])


def sign(root: str, signer: Files) -> None:
    result = audit("checkpoint", "--tables", root, "--signer", signer.certificate, "--key", signer.key, "--trust", signer.ca)
    assert result.exit_code == 0, result.output


def rows_in(root: str) -> pa.Table:
    return DeltaTable(table_location(root, AUDIT_LOG)).to_pyarrow_table().sort_by("seq")


def overwrite(root: str, rows: pa.Table) -> None:
    """As somebody does who has the right to write into the folder; appendOnly is a line in the log, which they change."""
    location = table_location(root, AUDIT_LOG)
    DeltaTable(location).alter.set_table_properties({"delta.appendOnly": "false"})
    write_deltalake(location, rows, mode="overwrite")


def test_a_whole_log_is_one_line_and_exit_code_0(root: str, signer: Files) -> None:
    assert audit("verify", "--tables", root).output == (
        "30 records, chain whole, never signed: rows missing at the end, or a chain written anew, would not show\n"
    )
    sign(root, signer)
    extend_log(AuditLog(root), entries(31, 33))
    result = audit("verify", "--tables", root, "--trust", signer.ca)
    assert (result.exit_code, result.output) == (0, "33 records, chain whole, last checkpoint at seq 30 signed by release\n")


def test_what_is_written_and_signed_after_the_log_was_opened_is_not_missing(root: str, signer: Files) -> None:
    opened_before = AuditLog(root)
    extend_log(AuditLog(root), entries(31, 33))
    sign(root, signer)
    verdict = verify_log(opened_before)
    assert verdict.last is not None
    assert (verdict.rows, verdict.last.stated.seq, verdict.findings) == (33, 33, ())


def changed(rows: pa.Table) -> pa.Table:
    actor = pc.if_else(pc.equal(rows["seq"], 12), "eve", rows["actor"])
    return rows.set_column(rows.schema.get_field_index("actor"), rows.schema.field("actor"), actor)


def removed(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.invert(pc.is_in(rows["seq"], pa.array([12, 13]))))


def cut(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.less_equal(rows["seq"], 25))


def reordered(rows: pa.Table) -> pa.Table:
    seq = pa.array([{12: 20, 20: 12}.get(n, n) for n in rows["seq"].to_pylist()], pa.int64())
    return rows.set_column(0, rows.schema.field("seq"), seq)


def repeated(rows: pa.Table) -> pa.Table:
    return pa.concat_tables([rows, rows.slice(11, 1)])


def rewritten(rows: pa.Table) -> pa.Table:
    forged = entries(1, 30)
    forged[11] = forged[11]._replace(reason="never happened")
    return rows_table(chained(forged, 0, GENESIS))


@pytest.mark.parametrize(
    ("tamper", "lines"),
    [
        (changed, ["row 12: was changed (kind 'rollout_step', record 'r12', offset 12)"]),
        (removed, ["rows 12 to 13: were removed"]),
        (cut, ["rows 26 to 30: were removed at the end, as a signed checkpoint tells"]),
        (
            reordered,
            [f"row {a}: was row {b}: rows were reordered or renumbered" for a, b in ((12, 20), (20, 12))],
        ),
        (repeated, ["row 12: stands twice (kind 'rollout_step', record 'r12', offset 12)"]),
        (
            rewritten,
            ["rows 1 to 30: the chain was written anew: the signed checkpoint of the last of them states another hash"],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_verify_says_which_row(tamper: Callable[[pa.Table], pa.Table], lines: list[str], root: str, signer: Files) -> None:
    sign(root, signer)
    overwrite(root, tamper(rows_in(root)))
    result = audit("verify", "--tables", root, "--trust", signer.ca)
    assert result.exit_code == 1
    assert result.output.splitlines() == lines
    assert "chain NOT whole" in str(result.exception)


def test_a_row_changed_inside_of_a_file_is_named(root: str) -> None:
    """No commit of Delta's tells of it."""
    table = DeltaTable(table_location(root, AUDIT_LOG))
    (file,) = [path for path in map(Path, table.file_uris()) if 12 in pq.read_table(path, columns=["seq"])["seq"].to_pylist()]
    old = f'"size":{file.stat().st_size},'
    pq.write_table(changed(pq.ParquetFile(file).read()), file)
    for commit in Path(table_location(root, AUDIT_LOG), "_delta_log").glob("*.json"):
        commit.write_text(commit.read_text().replace(old, f'"size":{file.stat().st_size},'))
    result = audit("verify", "--tables", root)
    assert (result.exit_code, result.output.splitlines()[0].split(":")[0]) == (1, "row 12")


def test_a_damaged_file_is_one_line(root: str) -> None:
    file = Path(DeltaTable(table_location(root, AUDIT_LOG)).file_uris()[0])
    file.write_bytes(b"PAR1" + b"\0" * (file.stat().st_size - 4))
    result = audit("verify", "--tables", root)
    assert isinstance(result.exception, StorageError)
    assert "restore it from a copy" in str(result.exception)


def test_rows_hidden_by_false_statistics_are_noticed(root: str) -> None:
    location = Path(table_location(root, AUDIT_LOG))
    commit = sorted((location / "_delta_log").glob("*.json"))[-1]
    lines = [json.loads(line) for line in commit.read_text().splitlines()]
    for line in lines:
        if "add" in line:
            stats = json.loads(line["add"]["stats"])
            stats["minValues"]["seq"] = stats["maxValues"]["seq"] = 500
            line["add"]["stats"] = json.dumps(stats)
    commit.write_text("\n".join(map(json.dumps, lines)))
    result = audit("verify", "--tables", root)
    assert result.exit_code == 1
    assert isinstance(result.exception, StorageError | TrustError)


def test_a_checkpoint_that_somebody_else_signed_or_changed_is_told(root: str, signer: Files, tmp_path: Path) -> None:
    sign(root, make_signer(tmp_path / "others", "eve"))
    result = audit("verify", "--tables", root, "--trust", signer.ca)
    assert (result.exit_code, result.output) == (
        1,
        "row 30: the checkpoint of it its signer 'eve' has no certificate of a trusted authority\n",
    )


def test_a_log_that_is_not_whole_is_not_signed(root: str, signer: Files) -> None:
    overwrite(root, changed(rows_in(root)))
    words = ["--signer", signer.certificate, "--key", signer.key, "--trust", signer.ca]
    result = audit("checkpoint", "--tables", root, *words)
    assert isinstance(result.exception, TrustError)
    assert AuditLog(root).checkpoints() == []


def test_delta_itself_refuses_to_delete_from_the_log(root: str) -> None:
    with pytest.raises(DeltaError, match=r"(?i)append.?only"):
        DeltaTable(table_location(root, AUDIT_LOG)).delete("seq = 3")


def test_of_two_writers_at_once_the_second_is_refused(root: str) -> None:
    one, other = AuditLog(root), AuditLog(root)
    extend_log(one, entries(31, 31))
    with pytest.raises(StorageError, match="stop the other job that writes to it"):
        extend_log(other, entries(32, 32))
    assert verify_log(AuditLog(root)).findings == ()
    assert AuditLog(root).newest().seq == 31


def test_show_takes_the_newest_of_a_kind_and_steers_no_terminal(root: str) -> None:
    log = AuditLog(root)
    extend_log(log, [entries(31, 31, reason="\x1b[2Jgone\n")[0]._replace(kind="clip_exported", camera_id="gate")])
    assert audit("show", "--tables", root, "--limit", 2).output.count("rollout_step") == 1
    (line,) = audit("show", "--tables", root, "--kind", "clip_exported").output.splitlines()
    assert line == "31 2026-05-28T20:26:40Z clip_exported centre camera gate by ann:  [2Jgone  {}"
    assert audit("show", "--tables", root, "--since", "2027-01-01").output == ""


# Records of commands, with a real broker.


def record(name: str, reason: str = "first canary") -> AuditRecord:
    return AuditRecord(
        record_id=f"r-{name}",
        kind="rollout_started",
        node_id="centre",
        actor="ann",
        reason=reason,
        at_us=AT_US + ord(name),
        details={"rollout": name},
    )


def told(bootstrap: str, *records: AuditRecord) -> list[AuditRecord]:
    """Those of ``records`` that are on the topic, in its order."""
    values = [AuditRecord.model_validate_json(message.value() or b"") for message in read_topic(bootstrap, AUDIT.name)]
    return [value for value in values if value in records]


def on_topic(bootstrap: str) -> list[Entry]:
    """What the topic holds, as the archive job would chain it."""
    return entries_of(
        Received(m.topic() or "", m.partition() or 0, m.offset() or 0, m.timestamp()[1] * 1000, m.value())
        for m in read_topic(bootstrap, AUDIT.name)
    )[0]


@pytest.mark.kafka
def test_the_topic_tells_forged_rows_of_any_partition_and_a_repetition_does_not_wait(tmp_path: Path) -> None:
    root = str(tmp_path / "tables")
    create_local_tables(root, (AUDIT_LOG, AUDIT_CHECKPOINTS))
    with Broker(BrokerConfig(tmp_path / "broker", free_port())) as broker:
        announce = announcer(broker.bootstrap, home=tmp_path)
        for name in "aba":
            announce(record(name))
        log, topics = AuditLog(root), Topics(broker.bootstrap)
        extend_log(log, on_topic(broker.bootstrap)[:2])
        verdict = verify_log(log, broker=topics)
        assert (verdict.findings, verdict.waiting) == ((), 0), "the last message says what a row says already"
        announce(record("c"))
        assert verify_log(log, broker=topics).waiting == 1

        newest, (forged,) = log.newest(), on_topic(broker.bootstrap)[1:2]
        elsewhere = forged._replace(record_id="forged", source_partition=7)
        log.append(list(chained([elsewhere], newest.seq, newest.hash)))
        (found,) = verify_log(AuditLog(root), broker=topics).findings
        assert (found.fault, found.first) == (Fault.INSERTED, 3)


@pytest.mark.kafka
def test_a_record_waits_while_the_broker_is_away_and_is_sent_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    config = BrokerConfig(tmp_path / "broker", free_port())
    announce = announcer(config.bootstrap, home=tmp_path, tell=lines.append)
    with monkeypatch.context() as patience:
        patience.setattr("sightline.audit.announce._TIMEOUT_S", 0.5)
        announce(record("a"))
        announce(record("b"))
    assert len(lines) == 2
    assert all(line.startswith(f"audit: rollout_started is kept in {tmp_path / PENDING}") for line in lines)
    assert len(list((tmp_path / PENDING).iterdir())) == 2
    with Broker(config):
        announce(record("c"))
        assert len(lines) == 2
        every = [record(name) for name in "abc"]
        assert told(config.bootstrap, *every) == every
        assert list((tmp_path / PENDING).iterdir()) == []
        assert send_pending(tmp_path / PENDING, config.bootstrap) == 0
