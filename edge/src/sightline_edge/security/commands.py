"""``sightline pki``: the authority, its certificates, and the rules at the brokers."""

import os
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sightline_contract.errors import ConfigError
from sightline_edge.config import Tls
from sightline_edge.security import authority
from sightline_edge.security.acls import json_text, kafka_acls, kafka_commands, mosquitto_acls

pki_app = typer.Typer(no_args_is_help=True, help="Certificates of nodes and brokers, and what a node may do there.")

_Folder = Annotated[Path, typer.Option("--authority", help="The authority's folder.")]
_DEFAULT_FOLDER = Path("pki")


class Format(StrEnum):
    """How rules are printed."""

    KAFKA = "kafka"
    MOSQUITTO = "mosquitto"
    JSON = "json"


@pki_app.command("init")
def init_command(
    folder: _Folder = _DEFAULT_FOLDER,
    years: Annotated[float, typer.Option(help="How long the authority is valid.")] = authority.DEFAULT_CA_YEARS,
) -> None:
    """Make a certificate authority. With SIGHTLINE_CA_PASSPHRASE set, its key is locked with it."""
    secret = authority.passphrase_from_environment()
    made = authority.init(folder, secret, datetime.now(UTC), years)
    typer.echo(f"{made}: the authority's certificate; its key is {'locked' if secret else 'not locked'}")


@pki_app.command("issue")
def issue_command(
    name: Annotated[str, typer.Argument(help="The node's or broker's name, which becomes its user at the brokers.")],
    folder: _Folder = _DEFAULT_FOLDER,
    out: Annotated[Path, typer.Option(help="Where the folder NAME is made.")] = Path(),
    server: Annotated[
        list[str] | None, typer.Option(help="For a broker: a host name or address that clients dial. May be repeated.")
    ] = None,
    signer: Annotated[bool, typer.Option("--signer", help="For signing models, and for no connection.")] = False,
    days: Annotated[
        float | None,
        typer.Option(
            help=f"How long it is valid.  [default: {authority.DEFAULT_DAYS}, of a signer {authority.DEFAULT_SIGNER_DAYS}]"
        ),
    ] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Replace the one that was issued before.")] = False,
) -> None:
    """Make the certificate and key of a node, of a broker with --server, or of who signs models with --signer.

    A signer's key is locked with SIGHTLINE_SIGNER_PASSPHRASE where that is set.
    """
    opened = authority.Authority(folder, authority.passphrase_from_environment())
    secret = os.environ.get(authority.SIGNER_PASSPHRASE_VARIABLE) or None
    now = datetime.now(UTC)
    made = opened.issue(name, out, now, days=days, hosts=server or (), signer=signer, passphrase=secret, renew=renew)
    typer.echo(f"{made}: {', '.join(sorted(path.name for path in made.iterdir()))}")


@pki_app.command("show")
def show_command(folder: _Folder = _DEFAULT_FOLDER) -> None:
    """List what was issued, and how many days each has left."""
    now = datetime.now(UTC)
    for entry in authority.read_record(folder):
        left = entry.days_left(now)
        state = f"{left:.0f} days left" if left > 0 else "expired"
        kind = f"{entry.kind} ({', '.join(entry.hosts)})" if entry.hosts else entry.kind
        typer.echo(f"{entry.name}  {kind}  until {entry.not_after[:10]}  {state}  serial {entry.serial}")


@pki_app.command("acls")
def acls_command(
    nodes: Annotated[list[str], typer.Argument(help="Names of nodes, as in their certificates.")],
    form: Annotated[Format, typer.Option("--format", help="How the rules are printed.")] = Format.KAFKA,
    neighbour: Annotated[
        list[str] | None, typer.Option(help="NODE=OTHER: on MQTT, NODE reads OTHER's events. May be repeated.")
    ] = None,
    take: Annotated[
        list[str] | None,
        typer.Option(
            help="NODE=MACHINE on MQTT, NODE=TOPIC on Kafka: what NODE forwards from the local broker. May be repeated."
        ),
    ] = None,
    apply: Annotated[str | None, typer.Option(metavar="BOOTSTRAP", help="Create them at this Kafka.")] = None,
    remove: Annotated[
        str | None, typer.Option(metavar="BOOTSTRAP", help="Take all rights of these nodes away at this Kafka.")
    ] = None,
    tls: Annotated[Path, typer.Option(help="For --apply and --remove: the administrator's folder, made by 'issue'.")] = Path(
        "admin"
    ),
) -> None:
    """Print what nodes may do at the brokers, or put it there: each writes its own topics and reads its rollout topic."""
    for node in nodes:
        authority.check_name(node)
    neighbours, takes = _pairs(neighbour, nodes, "--neighbour"), _pairs(take, nodes, "--take")
    if apply and remove:
        raise ConfigError("--apply and --remove: give one of the two")
    if form is Format.MOSQUITTO and not (apply or remove):
        typer.echo(mosquitto_acls(neighbours, takes), nl=False)
        return
    rules = [acl for node in nodes for acl in kafka_acls([node], takes.get(node, ()))]
    if apply or remove:
        from sightline_edge.security.kafka_admin import KafkaAdmin

        admin = KafkaAdmin(apply or remove or "", files_in(tls))
        done = f"{admin.allow(rules)} rights given" if apply else f"{sum(map(admin.remove, nodes))} rights taken away"
        typer.echo(f"{', '.join(nodes)}: {done}")
        return
    typer.echo(json_text(rules) if form is Format.JSON else kafka_commands(rules), nl=False)


def files_in(folder: Path) -> Tls:
    """The files of a folder that ``issue`` made."""
    return Tls(ca=folder / "ca.pem", certificate=folder / "node.pem", key=folder / "node.key")


def _pairs(words: list[str] | None, nodes: list[str], option: str) -> dict[str, list[str]]:
    pairs: dict[str, list[str]] = {}
    for word in words or []:
        node, equals, other = word.partition("=")
        if not equals or node not in nodes:
            raise ConfigError(f"{option} {word}: write NODE=OTHER, with a NODE of this command")
        authority.check_name(other)
        pairs.setdefault(node, []).append(other)
    return pairs
