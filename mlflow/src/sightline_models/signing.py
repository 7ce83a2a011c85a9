"""Signing manifests: the release's key and certificate make a DSSE envelope that carries both.

The key lies outside of any repository, with a passphrase (``SIGHTLINE_SIGNER_PASSPHRASE``, never an option, which ``ps`` would
show). What is signed is checked as far as the signer can: the certificate is for signing code, and outlives the manifest,
since a node takes no bundle from a certificate that has ended.
"""

import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from sightline_contract.errors import ConfigError, TrustError
from sightline_contract.manifest import (
    PAYLOAD_TYPE,
    Envelope,
    Manifest,
    Signature,
    encode_base64,
    pre_authentication_encoding,
    write_manifest,
)
from sightline_models.dates import as_time
from sightline_models.private_file import read_private

PASSPHRASE_VARIABLE = "SIGHTLINE_SIGNER_PASSPHRASE"  # noqa: S105 - the variable's name, not its value
_ISSUE = "make one with 'sightline pki issue NAME --signer'"


class Signer:
    """A certificate for signing models, and its key."""

    def __init__(self, certificate: Path, key: Path, passphrase: str | None) -> None:
        """Read both; raises ConfigError where they cannot be used together."""
        self._certificate = _read_certificate(certificate)
        self._key = _read_key(key, passphrase)
        if self._key.public_key() != self._certificate.public_key():
            raise ConfigError(f"{key}: does not belong to {certificate}: take both from one folder of 'sightline pki issue'")

    def sign(self, manifest: Manifest) -> Envelope:
        """The envelope; raises TrustError where no node would take it, because the certificate is not valid for so long."""
        begin, end = self._certificate.not_valid_before_utc, self._certificate.not_valid_after_utc
        issued, expires = (as_time(at_us) for at_us in (manifest.issued_us, manifest.expires_us))
        if not begin <= issued <= expires <= end:
            raise TrustError(
                f"{manifest.model_name} {manifest.model_version}: stands from {issued:%Y-%m-%d} to {expires:%Y-%m-%d}, its "
                f"signer's certificate from {begin:%Y-%m-%d} to {end:%Y-%m-%d}: give an earlier end, or renew the certificate"
            )
        return self.sign_payload(PAYLOAD_TYPE, write_manifest(manifest))

    def sign_payload(self, payload_type: str, payload: bytes) -> Envelope:
        """An envelope around any bytes of a stated type."""
        made = self._key.sign(pre_authentication_encoding(payload_type, payload), ec.ECDSA(hashes.SHA256()))
        signature = Signature(
            keyid=self._certificate.fingerprint(hashes.SHA256()).hex(),
            sig=encode_base64(made),
            certificate=self._certificate.public_bytes(Encoding.PEM).decode(),
        )
        return Envelope(payload=encode_base64(payload), payloadType=payload_type, signatures=(signature,))


def passphrase_from_environment() -> str | None:
    """The passphrase of the signer's key; None where there is none."""
    return os.environ.get(PASSPHRASE_VARIABLE) or None


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        usages = list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): {_ISSUE}") from error
    except (ValueError, x509.ExtensionNotFound) as error:
        raise ConfigError(f"{path}: holds no certificate for signing models: {_ISSUE}") from error
    if usages != [ExtendedKeyUsageOID.CODE_SIGNING]:
        raise ConfigError(f"{path}: is not a certificate for signing models alone: {_ISSUE}")
    return certificate


def _read_key(path: Path, passphrase: str | None) -> ec.EllipticCurvePrivateKey:
    content = read_private(path)
    locked = b"ENCRYPTED" in content
    if locked and passphrase is None:
        raise ConfigError(f"{path}: is locked: set {PASSPHRASE_VARIABLE}")
    try:
        key = load_pem_private_key(content, passphrase.encode() if passphrase and locked else None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: cannot be opened: check {PASSPHRASE_VARIABLE}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"{path}: is no key of the curve P-256: {_ISSUE}")
    return key
