"""Signed checkpoints: who signs states how many rows the audit log has, and the hash of the newest.

A checkpoint is what Certificate Transparency calls a signed tree head (RFC 9162, 4.10), of a chain in place of a tree. Its form
is a DSSE envelope (1.0.2), signed with ECDSA P-256 and SHA-256; the certificate comes from the site's authority and is for
signing code (extended key usage, RFC 5280, 4.2.1.12). Signatures are judged at the time that the checkpoint itself states:
old ones stay good when their certificate ends.
"""

import base64
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import Field, ValidationError

from sightline_contract.errors import ConfigError, TrustError
from sightline_contract.manifest import Envelope, Signature, pre_authentication_encoding
from sightline_contract.settings import Settings, explain

PASSPHRASE_VARIABLE: Final = "SIGHTLINE_SIGNER_PASSPHRASE"  # noqa: S105 - its name, not its value
PAYLOAD_TYPE: Final = "application/vnd.sightline.audit-checkpoint+json"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ECDSA: Final = ec.ECDSA(hashes.SHA256())


class Statement(Settings):
    """What is signed."""

    format: Literal[1] = 1
    log: Literal["gold.audit_log"] = "gold.audit_log"
    seq: Annotated[int, Field(ge=1)]
    hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    signed_us: Annotated[int, Field(ge=0, lt=1 << 57)]


@dataclass(frozen=True)
class Checkpoint:
    """A statement, the common name of who signed it, and the envelope (JSON) that it came in."""

    stated: Statement
    signer: str
    envelope: str


class Signer:
    """A certificate and its key."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read the files; raises ConfigError."""
        try:
            self._certificate = x509.load_pem_x509_certificate(_read(certificate))
            content = _read(key)
            passphrase = os.environ.get(PASSPHRASE_VARIABLE, "").encode() if b"ENCRYPTED" in content else None
            private = load_pem_private_key(content, passphrase)
        except (ValueError, TypeError) as error:
            what = f"{certificate}, {key}: are no certificate and key that can be read (PEM)"
            raise ConfigError(f"{what}: give those of one signer; of a locked key set {PASSPHRASE_VARIABLE}") from error
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != self._certificate.public_key():
            raise ConfigError(f"{key}: is not the ECDSA key of {certificate}: give both files of 'sightline pki issue'")
        if not _may_sign(self._certificate):
            raise ConfigError(f"{certificate}: is not for signing: issue one with 'sightline pki issue NAME --signer'")
        self._key = private

    def sign(self, seq: int, head: str, now_us: int) -> Checkpoint:
        """The checkpoint of a log whose newest row is ``seq`` with the hash ``head``."""
        stated = Statement(seq=seq, hash=head, signed_us=now_us)
        payload = stated.model_dump_json().encode()
        signature = self._key.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload), _ECDSA)
        pem = self._certificate.public_bytes(Encoding.PEM).decode()
        envelope = Envelope(
            payload=base64.b64encode(payload).decode(),
            payloadType=PAYLOAD_TYPE,
            signatures=(Signature(sig=base64.b64encode(signature).decode(), certificate=pem),),
        )
        return Checkpoint(stated, _common_name(self._certificate), envelope.model_dump_json())


def load_authorities(path: Path) -> list[x509.Certificate]:
    """The certificates of the authorities whose signers are believed; raises ConfigError."""
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError as error:
        raise ConfigError(f"{path}: holds no certificate (PEM): give the authority's ca.pem") from error


def opened(envelope: str | bytes, authorities: list[x509.Certificate] | None) -> Checkpoint:
    """The checkpoint in an envelope; raises TrustError unless it was signed by a signer of one of ``authorities``.

    None: the signature is checked against the envelope's own certificate only, so anybody may have signed it.
    """
    try:
        parsed = Envelope.model_validate_json(envelope)
        payload = base64.b64decode(parsed.payload, validate=True)
        stated = Statement.model_validate_json(payload)
        signature = parsed.signatures[0]
        certificate = x509.load_pem_x509_certificate(signature.certificate.encode())
        public = certificate.public_key()
        sig = base64.b64decode(signature.sig, validate=True)
    except ValidationError as error:
        raise TrustError(f"is no checkpoint: {explain(error)}") from error
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise TrustError("is no checkpoint: its payload, signature or certificate cannot be read") from error
    try:
        if parsed.payloadType != PAYLOAD_TYPE or not isinstance(public, ec.EllipticCurvePublicKey):
            raise TrustError(f"is of type {parsed.payloadType!r}, or not signed with ECDSA")
        public.verify(sig, pre_authentication_encoding(PAYLOAD_TYPE, payload), _ECDSA)
    except InvalidSignature as error:
        raise TrustError("its signature is wrong") from error
    if authorities is not None:
        _require_trusted(certificate, authorities, stated.signed_us)
    return Checkpoint(stated, _common_name(certificate), parsed.model_dump_json())


def checkpoint_row(checkpoint: Checkpoint) -> dict[str, object]:
    """The row of gold.audit_checkpoints."""
    stated = checkpoint.stated
    signed_at = _EPOCH + timedelta(microseconds=stated.signed_us)
    row = {"seq": stated.seq, "hash": stated.hash, "signed_at": signed_at, "signer": checkpoint.signer}
    return row | {"envelope": checkpoint.envelope, "event_date": signed_at.date()}


def _require_trusted(certificate: x509.Certificate, authorities: list[x509.Certificate], signed_us: int) -> None:
    name = _common_name(certificate)
    if not any(_issued(certificate, authority) for authority in authorities):
        raise TrustError(f"its signer {name!r} has no certificate of a trusted authority")
    if not _may_sign(certificate):
        raise TrustError(f"its signer {name!r} has a certificate that is not for signing")
    signed_at = _EPOCH + timedelta(microseconds=signed_us)
    if not certificate.not_valid_before_utc <= signed_at <= certificate.not_valid_after_utc:
        raise TrustError(f"its signer {name!r} had no valid certificate at {signed_at:%Y-%m-%dT%H:%M:%SZ}")


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.CODE_SIGNING in usage


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else "?"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): check the path") from error
