"""What a bundle is: a manifest that names every part by its digest, in an envelope that somebody signed.

A bundle's parts lie by digest (``SOURCE/sha256/<64 hex digits>``), so that two bundles share what they have in common and a
part can be fetched from anywhere. The manifest is all that is signed: it says which parts belong together, for which target,
with which number, until when.

The envelope is DSSE's (secure-systems-lab, "Dead Simple Signing Envelope" 1.0.2): what is signed is exactly the bytes that
are read, and no canonical form of JSON is needed.
"""

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from sightline_contract.model_card import CARD_FILE, MODEL_FILE, Digest
from sightline_contract.settings import Settings
from sightline_contract.targets import Runtime, Target

PAYLOAD_TYPE: Final = "application/vnd.sightline.manifest+json"

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
    model_name: str
    model_version: str
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
        return self


class Signature(Settings):
    """One signature of an envelope: base64 of the DER-encoded ECDSA signature, and the signer's certificate (PEM)."""

    keyid: str = ""
    sig: str
    certificate: str


class Envelope(Settings):
    """A DSSE envelope. ``payload`` is base64; what is signed is DSSE's pre-authentication encoding of type and payload."""

    payload: str
    payloadType: str  # noqa: N815 - DSSE's name
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1)]


class Thresholds(Settings):
    """Least scores of the model's detections: what is below is not a detection of this model."""

    min_score: Annotated[float, Field(ge=0, le=1)] = 0.1
    by_class: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
