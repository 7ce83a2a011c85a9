"""What a node believes: every rule by a bundle that breaks it and nothing else, and what it goes on with."""

import hashlib
import json
from datetime import timedelta
from pathlib import Path

import pytest
from bundles import CPU, DAY_US, GPU, NOW, NOW_US, SiteOfModels, changed, make_site
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sightline_contract.errors import TrustError
from sightline_contract.manifest import (
    MAX_ENVELOPE_BYTES,
    PAYLOAD_TYPE,
    Envelope,
    Part,
    Signature,
    encode_base64,
    manifest_digest,
    pre_authentication_encoding,
    write_envelope,
    write_manifest,
)
from sightline_edge.rollout.trusted import Trusted, check_part
from sightline_models.bundle import part_path
from sightline_models.certificates import read_authorities, signer_name


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SiteOfModels:
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def envelope(site: SiteOfModels) -> str:
    return site.signed(site.bundle(5))


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


# Good ones


def test_a_good_bundle_is_accepted_and_is_what_was_signed(site: SiteOfModels, envelope: str) -> None:
    assert site.trusted().accept(envelope, NOW_US) == site.bundle(5)


def test_accepting_is_not_serving(site: SiteOfModels, envelope: str) -> None:
    trusted = site.trusted()
    manifest = trusted.accept(envelope, NOW_US)
    assert trusted.served == 0
    trusted.serve(manifest)
    assert (trusted.served, trusted.served_digest) == (5, manifest_digest(manifest))


def test_two_signers_are_good_at_once_while_one_follows_the_other(site: SiteOfModels, envelope: str) -> None:
    site.issue("release-2", signer=True)
    by_both = changed(
        envelope,
        signatures=(
            *Envelope.model_validate_json(envelope).signatures,
            *site.signer("release-2").sign(site.bundle(5)).signatures,
        ),
    )
    for text in (envelope, write_envelope(site.signer("release-2").sign(site.bundle(5))), by_both):
        assert site.trusted().accept(text, NOW_US).number == 5
    first = certificate_of(envelope)
    assert site.trusted(refused_signers=[f"{first.serial_number:X}"]).accept(by_both, NOW_US).number == 5


def test_two_authorities_are_good_at_once_while_one_follows_the_other(
    site: SiteOfModels, envelope: str, tmp_path: Path
) -> None:
    other = make_site(tmp_path)
    trusted = Trusted(other.trust_pem + site.trust_pem, (CPU,))
    assert trusted.accept(envelope, NOW_US).number == 5
    assert trusted.accept(other.signed(other.bundle(6)), NOW_US).number == 6


def certificate_of(envelope: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Envelope.model_validate_json(envelope).signatures[0].certificate.encode())


# Tampered


def test_a_changed_payload_is_refused(site: SiteOfModels, envelope: str) -> None:
    other = encode_base64(write_manifest(site.bundle(5).model_copy(update={"number": 6})))
    refused(site.trusted(), changed(envelope, payload=other), "signature: that of 'release' is not over this content")


def test_the_signature_of_another_bundle_is_refused(site: SiteOfModels, envelope: str) -> None:
    other = Envelope.model_validate_json(site.signed(site.bundle(6)))
    refused(site.trusted(), changed(envelope, signatures=other.signatures), "not over this content")


@given(data=st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
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
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_truncated_envelope_is_refused(site: SiteOfModels, envelope: str, share: float) -> None:
    with pytest.raises(TrustError, match="form: is no envelope"):
        site.trusted().accept(envelope[: int(len(envelope) * share)], NOW_US)


def test_nothing_larger_than_an_envelope_may_be_is_read(site: SiteOfModels, envelope: str) -> None:
    refused(site.trusted(), envelope + " " * MAX_ENVELOPE_BYTES, "more than 65536")


def test_a_truncated_or_damaged_part_is_refused(site: SiteOfModels) -> None:
    part = site.bundle(5).parts["model.onnx"]
    content = part_path(site.store, part.digest).read_bytes()
    check_part("model.onnx", part, len(content), digest_of(content))
    with pytest.raises(TrustError, match="has 6999 bytes and not 7000"):
        check_part("model.onnx", part, len(content) - 1, digest_of(content[:-1]))
    with pytest.raises(TrustError, match="it is of another bundle or damaged"):
        check_part("model.onnx", part, len(content), digest_of(content[:-1] + b"x"))


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


# Expired


def test_an_expired_bundle_is_refused_from_that_microsecond_on(site: SiteOfModels, envelope: str) -> None:
    end_us = NOW_US + 30 * DAY_US
    assert site.trusted().accept(envelope, end_us - 1).number == 5
    refused(site.trusted(), envelope, "expiry: tiny 1, number 5, expired on 2026-03-31 12:00 UTC", end_us)


def test_a_clock_that_was_set_back_does_not_bring_an_expired_bundle_back(site: SiteOfModels, envelope: str) -> None:
    newer = site.signed(site.bundle(6, issued_us=NOW_US + 31 * DAY_US, expires_us=NOW_US + 40 * DAY_US))
    trusted = site.trusted()
    trusted.accept(newer, NOW_US + 31 * DAY_US)
    refused(trusted, envelope, "expiry: tiny 1, number 5", NOW_US)
    refused(site.trusted(clock_floor_us=trusted.clock_floor_us), envelope, "expiry", NOW_US)


def test_a_clock_that_once_ran_ahead_does_not_expire_every_bundle_for_good(site: SiteOfModels, envelope: str) -> None:
    trusted = site.trusted()
    assert trusted.accept(envelope, NOW_US + 29 * DAY_US).number == 5
    refused(trusted, envelope, "signature: the certificate of 'release' is valid from", NOW_US + 4000 * DAY_US)
    assert trusted.accept(site.signed(site.bundle(6, expires_us=NOW_US + DAY_US)), NOW_US).number == 6


def test_an_expired_signer_signs_nothing_new(site: SiteOfModels, envelope: str) -> None:
    site.issue("short", signer=True, days=1)
    manifest = site.bundle(5)
    text = with_key(site.folder / "short", "signer", write_manifest(manifest))
    assert site.trusted().accept(text, NOW_US) == manifest
    refused(site.trusted(), text, "signature: the certificate of 'short' is valid from", NOW_US + 2 * DAY_US)


def test_a_manifest_that_is_dated_outside_its_signers_time_is_refused(site: SiteOfModels) -> None:
    later = site.bundle(5, issued_us=NOW_US + 3000 * DAY_US, expires_us=NOW_US + 3001 * DAY_US)
    text = with_key(site.folder / "release", "signer", write_manifest(later))
    refused(site.trusted(), text, "and not at 2034-05-18")


# Replayed


def test_an_older_bundle_is_refused_and_a_signed_rollback_is_not(site: SiteOfModels, envelope: str) -> None:
    trusted = site.trusted()
    trusted.serve(trusted.accept(site.signed(site.bundle(7, b"newer", version=2)), NOW_US))
    refused(trusted, envelope, "number: tiny 1, number 5, is not above number 7, which this node served")
    back = trusted.accept(site.signed(site.bundle(8)), NOW_US)
    trusted.serve(back)
    assert (back.model_version, trusted.served) == ("1", 8)
    with pytest.raises(TrustError, match="not above number 8"):
        trusted.serve(site.bundle(7, b"newer", version=2))


def test_the_bundle_in_service_is_accepted_again_and_another_of_its_number_is_not(site: SiteOfModels, envelope: str) -> None:
    trusted = site.trusted()
    trusted.serve(trusted.accept(envelope, NOW_US))
    assert trusted.accept(envelope, NOW_US).number == 5
    refused(trusted, site.signed(site.bundle(5, b"other weights")), "two were signed with one number")


def test_a_shadow_shuts_out_neither_the_bundle_in_service_nor_the_return(site: SiteOfModels) -> None:
    trusted = site.trusted()
    live, candidate = site.signed(site.bundle(5)), site.signed(site.bundle(6, b"candidate", version=2))
    trusted.serve(trusted.accept(live, NOW_US))
    assert trusted.accept(candidate, NOW_US, shadow=True).number == 6
    assert trusted.accept(live, NOW_US).number == 5
    refused(trusted, live, "is not run in the shadow", shadow=True)
    trusted.serve(trusted.accept(site.signed(site.bundle(7)), NOW_US))
    refused(trusted, candidate, "is not above number 7", shadow=True)


@given(numbers=st.lists(st.integers(1, 6), max_size=12))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_comes_in_whatever_order_the_number_never_falls(
    site: SiteOfModels, numbers: list[int], signed_by_number: dict[int, str]
) -> None:
    trusted, highest = site.trusted(), 0
    for number in numbers:
        try:
            trusted.serve(trusted.accept(signed_by_number[number], NOW_US))
            assert number >= highest
            highest = number
        except TrustError:
            assert number < highest
        assert trusted.served == highest


@pytest.fixture(scope="module")
def signed_by_number(site: SiteOfModels) -> dict[int, str]:
    return {number: site.signed(site.bundle(number)) for number in range(1, 7)}


# Mixed


def test_a_part_of_another_bundle_is_refused(site: SiteOfModels) -> None:
    ours, theirs = site.bundle(5).parts["model.onnx"], site.bundle(6, b"Weights" * 1000).parts["model.onnx"]
    assert ours.bytes == theirs.bytes
    with pytest.raises(TrustError, match=r"digest: part 'model\.onnx' has sha256:"):
        check_part("model.onnx", ours, theirs.bytes, theirs.digest)


def test_what_is_fetched_of_a_sealed_part_is_its_sealed_form(site: SiteOfModels) -> None:
    part = site.bundle(5, content_key=bytes(32)).parts["model.onnx"]
    sealed = part_path(site.store, part.fetched.digest).read_bytes()
    check_part("model.onnx", part.fetched, len(sealed), digest_of(sealed))
    with pytest.raises(TrustError, match="digest"):
        check_part("model.onnx", Part(digest=part.digest, bytes=part.bytes), len(sealed), digest_of(sealed))


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


def test_a_bundle_for_another_target_is_refused(site: SiteOfModels) -> None:
    text = site.signed(site.bundle(5, target=GPU))
    refused(site.trusted(), text, "is for tensorrt-10.6.0-sm_90-fp16, this node runs onnxruntime-any-x86_64-fp32")


def test_the_first_rule_that_is_broken_is_the_one_that_is_named(site: SiteOfModels, tmp_path: Path) -> None:
    """Each of these bundles breaks all later rules, too."""
    foreign = make_site(tmp_path)
    ended = {"issued_us": NOW_US - 900_000_000, "expires_us": NOW_US - 1}
    trusted = site.trusted(served=9, served_digest="sha256:other")
    refused(trusted, foreign.signed(foreign.bundle(5, target=GPU, **ended)), "^signature: ")
    refused(trusted, site.signed(site.bundle(5, target=GPU, **ended)), "^expiry: ")
    refused(trusted, site.signed(site.bundle(5, target=GPU)), "^number: ")
    refused(trusted, site.signed(site.bundle(10, target=GPU)), "^target: ")


# What serves goes on


def test_what_serves_is_resumed_after_it_and_its_signer_expired_or_were_refused(site: SiteOfModels, envelope: str) -> None:
    manifest = site.trusted().accept(envelope, NOW_US)
    kept = {"served": 5, "served_digest": manifest_digest(manifest), "clock_floor_us": NOW_US + 4000 * DAY_US}
    trusted = site.trusted(**kept, refused_signers=[f"{certificate_of(envelope).serial_number:x}"])
    assert trusted.resume(envelope) == manifest


def test_nothing_but_what_served_is_resumed(site: SiteOfModels, envelope: str, tmp_path: Path) -> None:
    trusted = site.trusted()
    trusted.serve(trusted.accept(envelope, NOW_US))
    for other in (site.signed(site.bundle(5, b"other weights")), site.signed(site.bundle(6))):
        with pytest.raises(TrustError, match="is not what this node served last, number 5"):
            trusted.resume(other)
    foreign = make_site(tmp_path)
    with pytest.raises(TrustError, match="is not by the trusted authority"):
        trusted.resume(foreign.signed(site.bundle(5)))


def test_a_trust_file_without_a_certificate_is_told() -> None:
    with pytest.raises(TrustError, match=r"give its ca\.pem"):
        Trusted(b"nothing", (CPU,))


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
