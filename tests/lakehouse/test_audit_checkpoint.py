"""Checkpoints: who signed, and what makes a signature worthless."""

import base64
import json
from pathlib import Path

import pytest
from audit_signer import NOW, make_signer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from sightline_contract.errors import ConfigError, TrustError
from sightline_lakehouse.audit.checkpoint import Signer, load_authorities, opened

HASH = "ab" * 32
NOW_US = round(NOW.timestamp() * 1e6)


def test_a_checkpoint_says_what_was_signed_and_by_whom(tmp_path: Path) -> None:
    files = make_signer(tmp_path)
    signed = Signer(files.certificate, files.key).sign(7, HASH, NOW_US)
    checkpoint = opened(signed.envelope, load_authorities(files.ca))
    assert checkpoint == signed
    assert (checkpoint.stated.seq, checkpoint.stated.hash, checkpoint.stated.signed_us) == (7, HASH, NOW_US)
    assert checkpoint.signer == "release"


def test_a_changed_statement_has_no_signature(tmp_path: Path) -> None:
    files = make_signer(tmp_path)
    signer = Signer(files.certificate, files.key)
    envelope, other = (json.loads(signer.sign(seq, HASH, NOW_US).envelope) for seq in (7, 8))
    with pytest.raises(TrustError, match="its signature is wrong"):
        opened(json.dumps(envelope | {"payload": other["payload"]}), None)
    with pytest.raises(TrustError, match="is of type 'text/plain'"):
        opened(json.dumps(envelope | {"payloadType": "text/plain"}), None)


@pytest.mark.parametrize("envelope", ["", "{}", '{"payload": "!", "payloadType": "a", "signatures": []}'])
def test_what_is_no_envelope_is_told_in_one_line(envelope: str) -> None:
    with pytest.raises(TrustError, match="is no checkpoint"):
        opened(envelope, None)


def test_a_certificate_with_a_key_that_nobody_knows_is_told_in_one_line(tmp_path: Path) -> None:
    files = make_signer(tmp_path)
    envelope = json.loads(Signer(files.certificate, files.key).sign(7, HASH, NOW_US).envelope)
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    p256 = bytes.fromhex("06082a8648ce3d030107")
    content = certificate.public_bytes(Encoding.DER).replace(p256, p256[:-1] + b"\x7f")
    pem = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(content).decode()}\n-----END CERTIFICATE-----\n"
    envelope["signatures"][0]["certificate"] = pem
    with pytest.raises(TrustError, match="is no checkpoint: its payload, signature or certificate cannot be read"):
        opened(json.dumps(envelope), None)


def test_only_signers_of_a_trusted_authority_are_believed(tmp_path: Path) -> None:
    ours, others = make_signer(tmp_path / "ours"), make_signer(tmp_path / "others", "eve")
    forged = Signer(others.certificate, others.key).sign(7, HASH, NOW_US)
    assert opened(forged.envelope, None).signer == "eve"
    with pytest.raises(TrustError, match="its signer 'eve' has no certificate of a trusted authority"):
        opened(forged.envelope, load_authorities(ours.ca))


def test_a_certificate_counts_at_the_time_of_the_signature(tmp_path: Path) -> None:
    files = make_signer(tmp_path, years=1)
    signer, authorities = Signer(files.certificate, files.key), load_authorities(files.ca)
    opened(signer.sign(7, HASH, NOW_US).envelope, authorities)
    with pytest.raises(TrustError, match="had no valid certificate at 2028-"):
        opened(signer.sign(7, HASH, NOW_US + 2 * 365 * 86_400_000_000).envelope, authorities)


def test_a_node_s_certificate_signs_nothing(tmp_path: Path) -> None:
    files = make_signer(tmp_path, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    with pytest.raises(ConfigError, match="is not for signing"):
        Signer(files.certificate, files.key)


def test_the_key_must_be_the_certificate_s(tmp_path: Path) -> None:
    one, other = make_signer(tmp_path / "one"), make_signer(tmp_path / "other")
    with pytest.raises(ConfigError, match="is not the ECDSA key of"):
        Signer(one.certificate, other.key)
    with pytest.raises(ConfigError, match="cannot be read"):
        Signer(one.certificate, tmp_path / "none")
