"""The command line of the audit log. It needs no Spark: the tables are read through delta-rs."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sightline.audit.announce import PENDING, send_pending
from sightline.audit.verifying import Broker, verify_log, whole_line
from sightline.broker import DEFAULT_PORT
from sightline.ports import LOOPBACK
from sightline.services import default_home
from sightline_contract.errors import ConfigError, TrustError
from sightline_contract.topics import AUDIT_CHECKPOINTS
from sightline_lakehouse.audit.chain import Row
from sightline_lakehouse.audit.checkpoint import Signer, checkpoint_row, load_authorities
from sightline_lakehouse.audit.log import AuditLog
from sightline_lakehouse.ddl import is_local
from sightline_streaming.config import KafkaConfig, TlsConfig
from sightline_streaming.publisher import publish

_MOST_SHOWN = 100
_CONTROL = dict.fromkeys((*range(32), *range(127, 160)), " ")

audit_app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Verify, show and sign the audit log."
)

TablesOption = Annotated[
    str | None,
    typer.Option(help="Table root: a folder or an object store's address; else the local stack's.", show_default=False),
]
TrustOption = Annotated[
    Path | None, typer.Option(help="The authority's ca.pem: only its signers are believed.", show_default=False)
]
BrokerOption = Annotated[str | None, typer.Option("--bootstrap", help="HOST:PORT of the central broker.", show_default=False)]
CaOption = Annotated[Path | None, typer.Option(help="With TLS: the broker's authority (PEM).", show_default=False)]
IdentityOption = Annotated[
    Path | None, typer.Option(help="With TLS: own key and certificate in one file (PEM).", show_default=False)
]


@audit_app.command()
def verify(
    tables: TablesOption = None,
    trust: TrustOption = None,
    bootstrap: BrokerOption = None,
    ca_file: CaOption = None,
    identity_file: IdentityOption = None,
) -> None:
    """Find every row that was changed, removed, moved, put in or repeated; with a broker compare with the topics, too.

    Ends with 0 where the log is whole, else with 1 and a line for each finding.
    """
    authorities = load_authorities(trust) if trust else None
    broker = Broker(bootstrap, _options(bootstrap, ca_file, identity_file)) if bootstrap else None
    verdict = verify_log(_log(tables), authorities, broker)
    for finding in verdict.findings[:_MOST_SHOWN]:
        typer.echo(str(finding))
    if len(verdict.findings) > _MOST_SHOWN:
        typer.echo(f"and {len(verdict.findings) - _MOST_SHOWN} more")
    if verdict.findings:
        raise TrustError(
            f"{verdict.rows} records, chain NOT whole: {len(verdict.findings)} findings; keep a copy of the tables"
        )
    typer.echo(whole_line(verdict, trusted=trust is not None))


@audit_app.command()
def show(
    tables: TablesOption = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind, such as rollout_started.", show_default=False)] = None,
    since: Annotated[str | None, typer.Option(help="Received from this time on, ISO 8601.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 20,
) -> None:
    """Show the newest records: number, time received, kind, node, who, why, details."""
    since_us = _time_us(since) if since else None
    for row in _log(tables).newest_rows(limit, kind, since_us):
        typer.echo(_line(row))


def _line(row: Row) -> str:
    entry = row.entry
    camera = f" camera {entry.camera_id}" if entry.camera_id else ""
    received = datetime.fromtimestamp(entry.received_us / 1e6, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    line = f"{row.seq} {received} {entry.kind} {entry.node_id}{camera} by {entry.actor}: {entry.reason} {entry.details}"
    # What somebody wrote into a record must not steer the terminal.
    return line.translate(_CONTROL)


@audit_app.command()
def checkpoint(
    signer: Annotated[Path, typer.Option(help="The signer's certificate (PEM).", show_default=False)],
    key: Annotated[Path, typer.Option(help="And its key (PEM).", show_default=False)],
    trust: Annotated[Path, typer.Option(help="The authority's ca.pem.", show_default=False)],
    tables: TablesOption = None,
    bootstrap: BrokerOption = None,
    ca_file: CaOption = None,
    identity_file: IdentityOption = None,
) -> None:
    """Verify the log and sign how far it goes; with a broker also tell the topic, where the copy lies out of the lakehouse."""
    root = tables or _default_tables()
    if not is_local(root):
        raise ConfigError(f"{root}: has the archive job as its one writer: name the signer in its settings under 'audit'")
    notary, log = Signer(signer, key), AuditLog(root)
    broker = Broker(bootstrap, _options(bootstrap, ca_file, identity_file)) if bootstrap else None
    verdict = verify_log(log, load_authorities(trust), broker)
    if verdict.findings:
        raise TrustError(
            f"{verdict.findings[0]} ({len(verdict.findings)} findings): nothing is signed, see 'sightline audit verify'"
        )
    if not verdict.rows:
        typer.echo("the log is empty: nothing to sign")
        return
    newest = log.newest()
    signed = notary.sign(newest.seq, newest.hash, time.time_ns() // 1000)
    log.append_checkpoint(checkpoint_row(signed))
    if bootstrap:
        publish([(str(newest.seq), signed.envelope.encode(), [])], AUDIT_CHECKPOINTS, _kafka(bootstrap, ca_file, identity_file))
    typer.echo(
        f"seq {newest.seq} signed by {signed.signer}" + ("" if bootstrap else "; give --bootstrap to tell the topic, too")
    )


@audit_app.command()
def send(
    bootstrap: Annotated[str, typer.Option(help="HOST:PORT of the central broker.")] = f"{LOOPBACK}:{DEFAULT_PORT}",
    home: Annotated[Path | None, typer.Option(help="Home of the stack.", envvar="SIGHTLINE_HOME", show_default=False)] = None,
    ca_file: CaOption = None,
    identity_file: IdentityOption = None,
) -> None:
    """Send records that a command could not send because the broker was away."""
    folder = (home or default_home()) / PENDING
    typer.echo(f"{send_pending(folder, bootstrap, _options(bootstrap, ca_file, identity_file))} records sent")


def _kafka(bootstrap: str, ca_file: Path | None, identity_file: Path | None) -> KafkaConfig:
    if (ca_file is None) != (identity_file is None):
        raise ConfigError("--ca-file and --identity-file belong together: give both, or none")
    tls = TlsConfig(ca_file=ca_file, identity_file=identity_file) if ca_file and identity_file else None
    return KafkaConfig(bootstrap_servers=bootstrap, tls=tls)


def _options(bootstrap: str, ca_file: Path | None, identity_file: Path | None) -> dict[str, Any]:
    return dict(_kafka(bootstrap, ca_file, identity_file).librdkafka_options())


def _log(tables: str | None) -> AuditLog:
    return AuditLog(tables or _default_tables())


def _default_tables() -> str:
    return str(default_home() / "tables")


def _time_us(text: str) -> int:
    try:
        time_ = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--since {text}: is no time: write for instance 2026-01-31T08:00:00Z") from error
    return round((time_ if time_.tzinfo else time_.replace(tzinfo=UTC)).timestamp() * 1e6)
