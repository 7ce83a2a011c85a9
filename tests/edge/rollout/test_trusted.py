"""What a node believes: numbers, dates, targets and parts, each rule by a bundle that breaks it and nothing else."""

import hashlib
from pathlib import Path

import pytest
from bundles import CPU, DAY_US, GPU, NOW_US, SiteOfModels, changed, make_site
from forged import certificate_of, refused, with_key
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline_contract.errors import TrustError
from sightline_contract.manifest import (
    Envelope,
    Part,
    manifest_digest,
    write_envelope,
    write_manifest,
)
from sightline_edge.rollout.trusted import Trusted, check_part
from sightline_models.bundle import part_path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SiteOfModels:
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def envelope(site: SiteOfModels) -> str:
    return site.signed(site.bundle(5))


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
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


# Mixed, damaged, and for others


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
    kept = {"served": 9, "served_digest": "sha256:newer", "clock_floor_us": NOW_US + 4000 * DAY_US}
    trusted = site.trusted(**kept, refused_signers=[f"{certificate_of(envelope).serial_number:x}"])
    assert trusted.resume(envelope, manifest_digest(manifest)) == manifest
    assert trusted.served == 9


def test_nothing_but_what_served_is_resumed(site: SiteOfModels, envelope: str, tmp_path: Path) -> None:
    trusted = site.trusted()
    served = manifest_digest(trusted.accept(envelope, NOW_US))
    for other in (site.signed(site.bundle(5, b"other weights")), site.signed(site.bundle(6))):
        with pytest.raises(TrustError, match=r"^digest: .* which this node served"):
            trusted.resume(other, served)
    foreign = make_site(tmp_path)
    with pytest.raises(TrustError, match="is not by the trusted authority"):
        trusted.resume(foreign.signed(site.bundle(5)), served)


def test_a_trust_file_without_a_certificate_is_told() -> None:
    with pytest.raises(TrustError, match=r"give its ca\.pem"):
        Trusted(b"nothing", (CPU,))
