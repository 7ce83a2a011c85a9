"""``sightline models bundle`` and ``inspect``: signing a bundle by hand, and reading what somebody signed."""

import time
from pathlib import Path
from typing import Annotated

import typer

from sightline_contract.errors import ConfigError
from sightline_contract.manifest import (
    Manifest,
    Thresholds,
    manifest_digest,
    payload_of,
    read_envelope,
    read_manifest,
    write_envelope,
)
from sightline_contract.settings import load_settings
from sightline_contract.targets import Target, parse_target
from sightline_models.bundle import build_bundle
from sightline_models.certificates import read_authorities, signer_name
from sightline_models.dates import as_date, seconds_of
from sightline_models.sealing import content_key_in
from sightline_models.signing import Signer, passphrase_from_environment


def add_bundle_commands(app: typer.Typer) -> None:
    """Add both commands to the group."""
    app.command("bundle")(bundle_command)
    app.command("inspect")(inspect_command)


def bundle_command(
    folder: Annotated[Path, typer.Argument(help="The model folder: model.onnx and card.yaml.")],
    target: Annotated[str, typer.Option(help="Where it runs, as in onnxruntime-any-x86_64-fp32.")],
    golden: Annotated[Path, typer.Option(help="The golden clip: frames, and what the model says to them.")],
    number: Annotated[int, typer.Option(help="Higher than that of every manifest before, for a rollback too.", min=1)],
    signer: Annotated[Path, typer.Option(metavar="CERT", help="Certificate of 'sightline pki issue NAME --signer'.")],
    key: Annotated[Path, typer.Option(help="Its private key; SIGHTLINE_SIGNER_PASSPHRASE opens a locked one.")],
    store: Annotated[Path, typer.Option(help="Folder where parts lie by digest.")],
    engine: Annotated[Path | None, typer.Option(help="The compiled engine, where the target's runtime needs one.")] = None,
    thresholds: Annotated[Path | None, typer.Option(help="YAML: min_score and by_class. Without it the defaults.")] = None,
    expires: Annotated[str, typer.Option(help="How long nodes may take it into service, as in 30d or 12h.")] = "30d",
    seal: Annotated[
        Path | None, typer.Option(metavar="KEYFILE", help="Store model, engine and clip encrypted; a missing key is made.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The envelope's file.  [default: STORE/NAME-VERSION-NUMBER.json]")] = None,
) -> None:
    """Put a model's parts into a store and sign the manifest; prints the envelope's path."""
    release = Signer(signer, key, passphrase_from_environment())  # first: a wrong passphrase costs no half-filled store
    now_us = time.time_ns() // 1000
    manifest = build_bundle(
        folder,
        target=_target(target),
        golden=golden,
        thresholds=load_settings(thresholds, Thresholds) if thresholds else Thresholds(),
        store=store,
        number=number,
        issued_us=now_us,
        expires_us=now_us + int(seconds_of(expires, "--expires") * 1e6),
        engine=engine,
        content_key=content_key_in(seal) if seal else None,
    )
    path = out or store / f"{manifest.model_name}-{manifest.model_version}-{manifest.number}.json"
    try:
        path.write_text(write_envelope(release.sign(manifest)))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}): choose another --out") from error
    typer.echo(path)


def inspect_command(
    envelope: Annotated[Path, typer.Argument(help="The envelope's file.")],
    trust: Annotated[Path, typer.Option(help="The authority's certificate, ca.pem.")],
) -> None:
    """Show what an envelope says, and who signed it; exits with 1 where its signature is not good today."""
    try:
        read = read_envelope(envelope.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{envelope}: cannot be read ({error}): give the file of 'sightline models bundle'") from error
    payload = payload_of(read)
    now_us = time.time_ns() // 1000
    manifest = read_manifest(payload)
    for line in _lines(manifest, now_us):
        typer.echo(line)
    typer.echo(f"signed     by {signer_name(read, payload, read_authorities(trust), now_us)}, good")


def _lines(manifest: Manifest, now_us: int) -> list[str]:
    ended = " (expired)" if manifest.expires_us <= now_us else ""
    parts = [
        f"part       {name:<16} {part.bytes:>12,} bytes  {part.digest}{'  sealed' if part.sealed else ''}"
        for name, part in sorted(manifest.parts.items())
    ]
    return [
        f"model      {manifest.model_name} {manifest.model_version}",
        f"number     {manifest.number}",
        f"target     {manifest.target}",
        f"issued     {as_date(manifest.issued_us)}",
        f"expires    {as_date(manifest.expires_us)}{ended}",
        f"digest     {manifest_digest(manifest)}",
        *parts,
    ]


def _target(text: str) -> Target:
    try:
        return parse_target(text)
    except ValueError as error:
        raise ConfigError(f"--target {text}: is none such as onnxruntime-any-x86_64-fp32") from error
