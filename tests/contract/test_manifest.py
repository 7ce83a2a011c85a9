"""Envelope and manifest as text and bytes: one form, and one line for whatever is wrong."""

import pytest
from bundles import CPU, NOW_US
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sightline_contract.errors import TrustError
from sightline_contract.manifest import (
    CARD_PART,
    GOLDEN_PART,
    MAX_SIGNATURES,
    MODEL_PART,
    PAYLOAD_TYPE,
    THRESHOLDS_PART,
    Envelope,
    Manifest,
    Part,
    Signature,
    decode_base64,
    encode_base64,
    manifest_digest,
    payload_of,
    pre_authentication_encoding,
    read_envelope,
    read_manifest,
    write_envelope,
    write_manifest,
)

PARTS = {name: Part(digest=f"sha256:{'0' * 64}", bytes=1) for name in (MODEL_PART, CARD_PART, THRESHOLDS_PART, GOLDEN_PART)}
MANIFEST = Manifest(
    model_name="tiny", model_version="1", number=1, issued_us=NOW_US, expires_us=NOW_US + 1, target=CPU, parts=PARTS
)
SIGNATURE = Signature(sig="AAAA", certificate="none")


def test_the_pre_authentication_encoding_is_the_standards_own_example() -> None:
    # DSSE 1.0.2, protocol.md, "Test Vectors".
    assert (
        pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(st.text(max_size=20), st.binary(max_size=20), st.text(max_size=20), st.binary(max_size=20))
def test_two_contents_never_have_one_encoding(kind: str, payload: bytes, other_kind: str, other: bytes) -> None:
    same = pre_authentication_encoding(kind, payload) == pre_authentication_encoding(other_kind, other)
    assert same == ((kind, payload) == (other_kind, other))


def test_a_manifest_and_an_envelope_are_read_as_they_were_written() -> None:
    envelope = Envelope(payload=encode_base64(write_manifest(MANIFEST)), payloadType=PAYLOAD_TYPE, signatures=(SIGNATURE,))
    assert read_envelope(write_envelope(envelope)) == envelope
    assert read_manifest(payload_of(envelope)) == MANIFEST
    assert manifest_digest(MANIFEST) != manifest_digest(MANIFEST.model_copy(update={"number": 2}))


@given(st.binary(max_size=300))
def test_whatever_comes_in_a_payload_is_told_in_one_line(payload: bytes) -> None:
    with pytest.raises(TrustError) as refused:
        read_manifest(payload)
    assert len(str(refused.value).splitlines()) == 1


@given(st.text(max_size=300))
def test_whatever_comes_as_an_envelope_is_told_in_one_line(text: str) -> None:
    with pytest.raises(TrustError) as refused:
        read_envelope(text)
    assert len(str(refused.value).splitlines()) == 1


@given(st.text(max_size=300) | st.text("\ud800\udfff", min_size=1, max_size=3))
def test_text_that_is_no_unicode_is_told_too(text: str) -> None:
    with pytest.raises(TrustError):
        read_envelope('{"payload": "' + text + '"}')


def test_only_so_many_signatures_are_checked() -> None:
    with pytest.raises(ValidationError):
        Envelope(payload="", payloadType=PAYLOAD_TYPE, signatures=(SIGNATURE,) * (MAX_SIGNATURES + 1))
    with pytest.raises(ValidationError):
        Envelope(payload="", payloadType=PAYLOAD_TYPE, signatures=())


@pytest.mark.parametrize("text", ["AB==", "QQ=", "QQ==\n", " QQ==", "QQ", "Q-==", "é"])
def test_base64_has_one_form(text: str) -> None:
    with pytest.raises(TrustError, match="the thing is not base64"):
        decode_base64(text, "thing")


def test_a_manifest_that_ends_before_it_begins_is_none() -> None:
    with pytest.raises(ValidationError, match="expires before it is issued"):
        Manifest(**MANIFEST.model_dump() | {"expires_us": NOW_US})
