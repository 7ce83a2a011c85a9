"""Authorities and signers of checkpoints, made for a test."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Files:
    """PEM files of a signer, and of the authority that issued it."""

    certificate: Path
    key: Path
    ca: Path


def make_signer(
    folder: Path, name: str = "release", *, usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CODE_SIGNING, years: int = 100
) -> Files:
    """A signer of an authority of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority of {name}")])
    ca = (
        _builder(ca_name, ca_name, ca_key, years)
        .add_extension(x509.BasicConstraints(True, 0), True)
        .sign(ca_key, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, ca_name, key, years).add_extension(x509.ExtendedKeyUsage([usage]), False)
    files = Files(folder / "signer.pem", folder / "signer.key", folder / "ca.pem")
    files.certificate.write_bytes(builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    files.ca.write_bytes(ca.public_bytes(Encoding.PEM))
    return files


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, years: int) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(NOW - timedelta(days=1))
    return builder.not_valid_after(NOW + timedelta(days=365 * years))
