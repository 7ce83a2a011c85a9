"""Which models a node shall run, and what it says of those that it runs.

``DesiredModels`` is a declaration, not an order: a node compares it with what it has and does what is missing. So the newest
message alone matters (the topic is compacted), and a node that was away catches up by reading it.
"""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from sightline_contract.events import Message

# Scores 0..1 are counted in so many equal bins.
SCORE_BINS: Final = 32
# Upper edges of the bins of latencies, ms: 40 a decade from 0.01 ms to 10 s, so a bin is 6 % wide; one bin more has the rest.
LATENCY_EDGES_MS: Final[tuple[float, ...]] = tuple(10 ** (i / 40 - 2) for i in range(241))


class Assignment(Message):
    """A bundle for a node."""

    envelope: str  # JSON of manifest.Envelope
    sources: tuple[str, ...]  # addresses (https, http, file) below which parts lie by digest, tried in this order
    wrapped_key: str | None = None  # base64: the key of sealed parts, encrypted to this node's public key


class DesiredModels(Message):
    """What a node shall serve, and what it shall run in its shadow. Of two messages for a node the higher revision holds."""

    node_id: str
    rollout_id: str
    revision: Annotated[int, Field(ge=1)]  # grows over all messages for the node
    issued_us: int
    serve: Assignment | None = None  # None: what it serves now
    shadow: Assignment | None = None


class Phase(StrEnum):
    """Where a node is with what is desired."""

    FOLLOWING = "following"  # it runs what is desired
    FETCHING = "fetching"  # it fetches or prepares a bundle and serves the model it had
    REFUSED = "refused"  # it does not run what is desired, and says why; it serves the model it had


class ModelRef(Message):
    """A model on a node. ``number`` is its manifest's; 0 is the model of the node's own settings."""

    model_name: str
    model_version: str
    number: Annotated[int, Field(ge=0)] = 0
    digest: str = ""  # of the manifest


class Slot(StrEnum):
    """Two models can run side by side: the live one acts, the shadow's detections are compared and thrown away."""

    LIVE = "live"
    SHADOW = "shadow"


class Figures(Message):
    """What a model did on a node between two reports."""

    model_name: str
    model_version: str
    slot: Slot
    frames: Annotated[int, Field(ge=0)]
    errors: Annotated[int, Field(ge=0)]  # frames on which the model failed; they are not among ``frames``
    detections: Annotated[int, Field(ge=0)]
    score_counts: tuple[int, ...]  # SCORE_BINS
    class_counts: dict[str, int]
    latency_counts: tuple[int, ...]  # len(LATENCY_EDGES_MS) + 1; time of one inference by its bin
    # Of the shadow: detections of both models that match (IoU >= 0.5, same class), and of one alone; sums over the matched.
    matched: int = 0
    only_live: int = 0
    only_shadow: int = 0
    iou_sum: float = 0.0
    score_gap_sum: float = 0.0  # |score of the shadow - score of the live model|


class ModelStatus(Message):
    """What a node says of its models, every few seconds. A repetition has the same node and ``reported_us``."""

    node_id: str
    site: str
    hardware: str  # the node's first target as text
    targets: tuple[str, ...]  # what it can run, best first
    from_us: int  # the figures' span begins, frames' capture time
    reported_us: int  # and ends; node's clock
    rollout_id: str = ""
    revision: int = 0  # of the DesiredModels that it follows or refuses
    phase: Phase = Phase.FOLLOWING
    reason: str = ""  # one line where it refuses
    live: ModelRef
    shadow: ModelRef | None = None
    figures: tuple[Figures, ...] = ()
    attestation: str | None = None  # JSON of an Envelope: a signed statement about the boot state
    public_key: str | None = None  # PEM: to which keys of sealed parts are encrypted
