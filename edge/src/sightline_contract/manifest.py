"""What a bundle is: a manifest that names every part by its digest, in an envelope that somebody signed.

A bundle's parts lie by digest (``SOURCE/sha256/<64 hex digits>``), so that two bundles share what they have in common and a
part can be fetched from anywhere. The manifest is all that is signed: it says which parts belong together, for which target,
with which number, until when.

The envelope is DSSE's (secure-systems-lab, "Dead Simple Signing Envelope" 1.0.2): what is signed is exactly the bytes that
are read. A manifest is written in one form only (keys sorted, no spaces, ASCII), so that it has one digest, and two readers
of one signed payload cannot see two manifests in it.

Reading here proves nothing: who signed, and whether it may run, is for the node (``rollout/trusted.py``).
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field, StringConstraints, ValidationError, model_validator

from sightline_contract.errors import TrustError
from sightline_contract.model_card import CARD_FILE, MODEL_FILE, Digest
from sightline_contract.settings import Settings, explain
from sightline_contract.targets import Runtime, Target

PAYLOAD_TYPE: Final = "application/vnd.sightline.manifest+json"
# Nothing larger is read, so that what is not trusted yet costs a node no memory. A manifest of five parts in its envelope, with
# one certificate, has some 3 KB.
MAX_ENVELOPE_BYTES: Final = 64 * 1024
MAX_SIGNATURES: Final = 4

_Read = TypeVar("_Read", bound=Settings)

# A model's name and version become names of folders and stand in log lines.
_Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$")]

# Names of parts; each is a file of this name in a node's model folder.
MODEL_PART: Final = MODEL_FILE
CARD_PART: Final = CARD_FILE  # labels, input and output layout
THRESHOLDS_PART: Final = "thresholds.yaml"
ENGINE_PART: Final = "engine"  # of runtimes that do not read the ONNX file itself
GOLDEN_PART: Final = "golden.npz"  # frames, and what the model says to them on ONNX Runtime


class Sealed(Settings):
    """The encrypted form in which a part lies at its source: the digest of the ciphertext, and its size in bytes."""

    digest: Digest
    bytes: Annotated[int, Field(ge=0)]


class Part(Settings):
    """A file of the bundle: the digest of its content, and its size in bytes."""

    digest: Digest
    bytes: Annotated[int, Field(ge=0)]
    sealed: Sealed | None = None

    @property
    def fetched(self) -> "Part | Sealed":
        """What is fetched: the sealed form where there is one."""
        return self.sealed or self


class Manifest(Settings):
    """What is signed. ``number`` grows with every manifest that is signed for a fleet, for a rollback, too. Times: UTC us."""

    format: Literal[1] = 1
    model_name: _Label
    model_version: _Label
    number: Annotated[int, Field(ge=1)]
    issued_us: int
    expires_us: int  # it is not taken into service after this; a model that serves goes on
    target: Target
    parts: dict[str, Part]

    @model_validator(mode="after")
    def _is_whole(self) -> "Manifest":
        needed = {MODEL_PART, CARD_PART, THRESHOLDS_PART, GOLDEN_PART}
        if self.target.runtime is Runtime.TENSORRT:
            needed.add(ENGINE_PART)
        if missing := sorted(needed - self.parts.keys()):
            raise ValueError(f"the manifest has no part {missing[0]}")
        if unknown := sorted(self.parts.keys() - needed - {ENGINE_PART}):
            raise ValueError(f"the manifest has a part {unknown[0]!r} that no bundle has")
        if self.expires_us <= self.issued_us:
            raise ValueError("the manifest expires before it is issued")
        return self


class Signature(Settings):
    """One signature of an envelope: base64 of the DER-encoded ECDSA signature, and the signer's certificate (PEM).

    ``keyid`` is empty, or the SHA-256 of the certificate in hexadecimal.
    """

    keyid: str = ""
    sig: str
    certificate: str


class Envelope(Settings):
    """A DSSE envelope. ``payload`` is base64; what is signed is DSSE's pre-authentication encoding of type and payload."""

    payload: str
    payloadType: str  # noqa: N815 - DSSE's name
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1, max_length=MAX_SIGNATURES)]


class Thresholds(Settings):
    """Least scores of the model's detections: what is below is not a detection of this model."""

    min_score: Annotated[float, Field(ge=0, le=1)] = 0.1
    by_class: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """What a DSSE signature is over (PAE, DSSE 1.0.2, protocol.md): type and payload, each after its length."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def read_envelope(text: str) -> Envelope:
    """The envelope in ``text``; raises TrustError, in one line, for anything that is not a whole one."""
    size = len(text.encode(errors="surrogatepass"))
    if size > MAX_ENVELOPE_BYTES:
        raise TrustError(f"form: the envelope has {size} bytes, more than {MAX_ENVELOPE_BYTES}: nothing larger is read")
    return _validated(text, Envelope, "envelope")


def write_envelope(envelope: Envelope) -> str:
    """The text of an envelope, one line."""
    return _one_form(envelope.model_dump(mode="json"))


def payload_of(envelope: Envelope, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """The bytes that were signed; raises TrustError for content of another type, or what is not base64 in its one form."""
    if envelope.payloadType != payload_type:
        raise TrustError(f"form: the envelope holds {envelope.payloadType[:80]!r} and not {payload_type!r}")
    return decode_base64(envelope.payload, "payload")


def read_manifest(payload: bytes) -> Manifest:
    """The manifest in an envelope's payload; raises TrustError where it is none, or not in the one form that is written."""
    try:
        text = payload.decode("ascii")
    except UnicodeDecodeError as error:
        raise TrustError("form: the manifest is not ASCII text: build the bundle again") from error
    manifest = _validated(text, Manifest, "manifest")
    if write_manifest(manifest) != payload:
        raise TrustError("form: the manifest is not in the one form that is written: build the bundle again")
    return manifest


def write_manifest(manifest: Manifest) -> bytes:
    """The bytes of ``manifest`` that are signed."""
    return _one_form(manifest.model_dump(mode="json")).encode()


def manifest_digest(manifest: Manifest) -> str:
    """The digest by which nodes and centre name a manifest."""
    return f"sha256:{hashlib.sha256(write_manifest(manifest)).hexdigest()}"


def encode_base64(content: bytes) -> str:
    """Standard base64 (RFC 4648, section 4)."""
    return base64.b64encode(content).decode()


def decode_base64(text: str, what: str) -> bytes:
    """The bytes that ``encode_base64`` wrote as ``text``; raises TrustError for any other text that a lenient reader takes."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TrustError(f"form: the {what} is not base64") from error
    if encode_base64(content) != text:
        raise TrustError(f"form: the {what} is not base64 in its one form")
    return content


def _one_form(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _validated(text: str, model: type[_Read], what: str) -> _Read:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise TrustError(f"form: is no {what}: {explain(error)}") from error
    except ValueError as error:  # a lone surrogate is no text in UTF-8
        raise TrustError(f"form: is no {what}: not text in UTF-8") from error
