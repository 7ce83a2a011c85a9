"""Envelopes and certificates as somebody would make them who is not to be believed, and what is said of them."""

from datetime import timedelta
from pathlib import Path

import pytest
from bundles import NOW, NOW_US
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from sightline_contract.errors import TrustError
from sightline_contract.manifest import (
    PAYLOAD_TYPE,
    Envelope,
    Signature,
    encode_base64,
    pre_authentication_encoding,
    write_envelope,
)
from sightline_edge.rollout.trusted import Trusted


def refused(trusted: Trusted, text: str, reason: str, now_us: int = NOW_US, *, shadow: bool = False) -> None:
    """It is refused for this reason, in one line, and the node believes what it believed."""
    before = (trusted.served, trusted.served_digest, trusted.clock_floor_us)
    with pytest.raises(TrustError, match=reason) as error:
        trusted.accept(text, now_us, shadow=shadow)
    assert len(str(error.value).splitlines()) == 1
    assert (trusted.served, trusted.served_digest, trusted.clock_floor_us) == before


def with_key(folder: Path, stem: str, payload: bytes, payload_type: str = PAYLOAD_TYPE) -> str:
    """An envelope that any key and certificate of ``folder`` signed, whatever they are for."""
    key = load_pem_private_key((folder / f"{stem}.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    made = key.sign(pre_authentication_encoding(payload_type, payload), ec.ECDSA(hashes.SHA256()))
    signature = Signature(sig=encode_base64(made), certificate=(folder / f"{stem}.pem").read_text())
    return write_envelope(Envelope(payload=encode_base64(payload), payloadType=payload_type, signatures=(signature,)))


def certificate_by(issuer: Path, out: Path, purposes: list[x509.ObjectIdentifier], *, is_authority: bool = False) -> Path:
    """A folder with ``signer.pem`` and ``signer.key``, signed by the ``signer.key`` or ``ca.key`` in ``issuer``."""
    stem = "ca" if (issuer / "ca.key").exists() else "signer"
    parent = x509.load_pem_x509_certificate((issuer / f"{stem}.pem").read_bytes())
    parent_key = load_pem_private_key((issuer / f"{stem}.key").read_bytes(), None)
    assert isinstance(parent_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
    made = (
        x509.CertificateBuilder(parent.subject, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "made by hand")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(hours=1))
        .not_valid_after(NOW + timedelta(days=80))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=is_authority,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
                **usage,
            ),
            critical=True,
        )
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(parent_key.public_key()), critical=False)
        .sign(parent_key, hashes.SHA256())
    )
    out.mkdir()
    (out / "signer.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (out / "signer.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return out


def certificate_of(envelope: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Envelope.model_validate_json(envelope).signatures[0].certificate.encode())
