"""What a node believes: signatures and the form of what is signed, each rule by a bundle that breaks it and nothing else."""

import json
import ssl
from pathlib import Path

import pytest
from bundles import NOW_US, SiteOfModels, changed, make_site
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from forged import certificate_by, certificate_of, refused, with_key
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sightline_contract.errors import TrustError
from sightline_contract.manifest import (
    MAX_ENVELOPE_BYTES,
    PAYLOAD_TYPE,
    Envelope,
    encode_base64,
    write_manifest,
)
from sightline_models.certificates import read_authorities, signer_name


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SiteOfModels:
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def envelope(site: SiteOfModels) -> str:
    return site.signed(site.bundle(5))


# Tampered


def test_a_changed_payload_is_refused(site: SiteOfModels, envelope: str) -> None:
    other = encode_base64(write_manifest(site.bundle(5).model_copy(update={"number": 6})))
    refused(site.trusted(), changed(envelope, payload=other), "signature: that of 'release' is not over this content")


def test_the_signature_of_another_bundle_is_refused(site: SiteOfModels, envelope: str) -> None:
    other = Envelope.model_validate_json(site.signed(site.bundle(6)))
    refused(site.trusted(), changed(envelope, signatures=other.signatures), "not over this content")


@given(data=st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_other_character_anywhere_in_an_envelope_is_let_through(
    site: SiteOfModels, envelope: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(envelope) - 1))
    other = data.draw(st.characters().filter(lambda character: character != envelope[at]))
    with pytest.raises(TrustError):
        site.trusted().accept(envelope[:at] + other + envelope[at + 1 :], NOW_US)


def test_every_byte_of_an_envelope_counts(site: SiteOfModels, envelope: str) -> None:
    trusted, let_through = site.trusted(), []
    for at, character in enumerate(envelope):
        try:
            trusted.accept(envelope[:at] + chr(ord(character) ^ 1) + envelope[at + 1 :], NOW_US)
        except TrustError:
            continue
        let_through.append(at)
    assert let_through == []


def test_a_certificate_of_a_version_that_does_not_exist_is_refused(site: SiteOfModels, envelope: str) -> None:
    """The library's error for it is no ValueError."""
    signature = Envelope.model_validate_json(envelope).signatures[0]
    third, nineteenth = bytes.fromhex("a003020102"), bytes.fromhex("a003020112")
    content = certificate_of(envelope).public_bytes(Encoding.DER)
    assert content.count(third) == 1
    pem = ssl.DER_cert_to_PEM_cert(content.replace(third, nineteenth))
    text = changed(envelope, signatures=(signature.model_copy(update={"certificate": pem}),))
    refused(site.trusted(), text, "signature: the signature's certificate is none in PEM")
    assert not centre_believes(text, write_manifest(site.bundle(5)), read_authorities(site.folder / "pki" / "ca.pem"))


def test_a_payload_that_two_readers_could_read_differently_is_refused_although_signed(site: SiteOfModels) -> None:
    payload = write_manifest(site.bundle(5))
    twice = payload.replace(b'"number":5', b'"number":9,"number":5')
    text = with_key(site.folder / "release", "signer", twice)
    refused(site.trusted(), text, "form: the manifest is not in the one form")


@pytest.mark.parametrize("name", ["../../etc", "a/b", ".hidden", "line\nbreak", "", "x" * 101])
def test_a_name_that_could_leave_its_folder_is_no_name(site: SiteOfModels, name: str) -> None:
    values = json.loads(write_manifest(site.bundle(5))) | {"model_version": name}
    payload = json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
    refused(site.trusted(), with_key(site.folder / "release", "signer", payload), "form: is no manifest: model_version")


def test_a_part_of_a_name_that_no_bundle_has_is_refused(site: SiteOfModels) -> None:
    values = json.loads(write_manifest(site.bundle(5)))
    values["parts"]["../autorun"] = values["parts"]["card.yaml"]
    payload = json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
    refused(site.trusted(), with_key(site.folder / "release", "signer", payload), "that no bundle has")


# Truncated, and too large


@given(share=st.floats(0, 1, exclude_max=True))
@example(share=0.0)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_envelope_is_refused(site: SiteOfModels, envelope: str, share: float) -> None:
    with pytest.raises(TrustError, match="form: is no envelope"):
        site.trusted().accept(envelope[: int(len(envelope) * share)], NOW_US)


def test_nothing_larger_than_an_envelope_may_be_is_read(site: SiteOfModels, envelope: str) -> None:
    refused(site.trusted(), envelope + " " * MAX_ENVELOPE_BYTES, "more than 65536")


# Foreign


def test_another_authoritys_bundle_is_refused(site: SiteOfModels, tmp_path: Path) -> None:
    foreign = make_site(tmp_path)
    refused(site.trusted(), foreign.signed(foreign.bundle(5)), "'release' is not by the trusted authority")


def test_a_nodes_certificate_signs_no_model(site: SiteOfModels) -> None:
    text = with_key(site.folder / "gate", "node", write_manifest(site.bundle(5)))
    refused(site.trusted(), text, "the certificate of 'gate' is for clientAuth and not for codeSigning alone")


def test_a_certificate_for_two_ends_signs_no_model(site: SiteOfModels, tmp_path: Path) -> None:
    both = [ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.CLIENT_AUTH]
    folder = certificate_by(site.folder / "pki", tmp_path / "both", both)
    refused(site.trusted(), with_key(folder, "signer", write_manifest(site.bundle(5))), "not for codeSigning alone")


def test_a_signer_makes_no_further_signers(site: SiteOfModels, tmp_path: Path) -> None:
    code = [ExtendedKeyUsageOID.CODE_SIGNING]
    authority = certificate_by(site.folder / "pki", tmp_path / "authority", code, is_authority=True)
    payload = write_manifest(site.bundle(5))
    refused(site.trusted(), with_key(authority, "signer", payload), "not for codeSigning alone")
    below = certificate_by(authority, tmp_path / "below", code)
    refused(site.trusted(), with_key(below, "signer", payload), "'made by hand' is not by the trusted authority")


def test_a_refused_signer_signs_nothing_new(site: SiteOfModels, envelope: str) -> None:
    serial = f"{certificate_of(envelope).serial_number:x}"
    refused(site.trusted(refused_signers=[serial]), envelope, "is refused by this node's settings")


def test_a_statement_of_another_type_is_no_manifest(site: SiteOfModels) -> None:
    payload = write_manifest(site.bundle(5))
    text = with_key(site.folder / "release", "signer", payload, "application/json")
    refused(site.trusted(), text, "form: the envelope holds 'application/json'")
    refused(site.trusted(), changed(text, payloadType=PAYLOAD_TYPE), "or signed as something else")


# The centre reads the same


def test_the_centre_and_the_node_judge_signatures_alike(site: SiteOfModels, envelope: str, tmp_path: Path) -> None:
    foreign, manifest = make_site(tmp_path / "foreign"), site.bundle(5)
    payload, authorities = write_manifest(manifest), read_authorities(site.folder / "pki" / "ca.pem")
    both = certificate_by(
        site.folder / "pki", tmp_path / "both", [ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.CLIENT_AUTH]
    )
    cases = {
        envelope: True,
        foreign.signed(manifest): False,
        with_key(site.folder / "gate", "node", payload): False,
        with_key(both, "signer", payload): False,
        changed(envelope, signatures=Envelope.model_validate_json(site.signed(site.bundle(6))).signatures): False,
    }
    for text, good in cases.items():
        assert node_believes(site, text) is good
        assert centre_believes(text, payload, authorities) is good


def node_believes(site: SiteOfModels, text: str) -> bool:
    try:
        site.trusted().accept(text, NOW_US)
    except TrustError:
        return False
    return True


def centre_believes(text: str, payload: bytes, authorities: list[x509.Certificate]) -> bool:
    try:
        return bool(signer_name(Envelope.model_validate_json(text), payload, authorities, NOW_US))
    except TrustError:
        return False
