"""What people want of a rollout: the message on ``rollout_plans``, compacted by ``rollout_id``.

A plan holds all bundles that the judge will ever send to nodes, signed before it starts: the candidate's envelope and, with a
higher number, the baseline's return ticket. So the judge holds no key, and whoever takes it over can send nodes nothing else.
Keys of sealed parts, encrypted to nodes, come beside it (keys.py).
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from sightline_contract.events import Message
from sightline_models.judge.rules import Rules


class Kind(StrEnum):
    """What the plan is for."""

    ROLLOUT = "rollout"  # ring by ring to the whole fleet, or back
    AB = "ab"  # two versions side by side until a time, then back to the baseline


class Wanted(StrEnum):
    """What people want now."""

    RUN = "run"
    PAUSE = "pause"
    ABORT = "abort"


class Bundles(Message):
    """The signed envelopes (JSON of manifest.Envelope) of one target."""

    candidate: str
    back: str  # the return ticket: the baseline under a higher number
    baseline: str | None = None  # of an A/B comparison: what the other arm serves; None where it serves it already


class SealedWith(Message):
    """Which content keys the parts are sealed with (sealing.content_key_digest), so that a wrong file is noticed."""

    candidate: str
    baseline: str


class RolloutPlan(Message):
    """A rollout or A/B comparison.

    A later message of the same id has a higher ``edit`` and may change ``wanted``, ``actor`` and ``note`` only.
    """

    rollout_id: Annotated[str, Field(min_length=1)]
    kind: Kind = Kind.ROLLOUT
    model_name: str
    version: str
    baseline_version: str
    number: Annotated[int, Field(ge=1)]  # of the candidate's manifests
    return_number: Annotated[int, Field(ge=2)]  # of the return tickets'
    rings: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = (0.05, 0.25, 1.0)
    shadow_s: Annotated[float, Field(ge=0)] = 3600.0  # of the first ring; 0: none
    shadow_later_s: Annotated[float, Field(ge=0)] = 0.0  # of the later rings
    rules: Rules = Field(default_factory=Rules)
    started_us: int
    actor: str
    note: str = ""
    bundles: Annotated[dict[str, Bundles], Field(min_length=1)]  # by target's text
    sources: tuple[str, ...] = ()
    sealed: bool = False  # parts are encrypted: a node without keys (NodeKeys) is left out
    sealed_with: SealedWith | None = None
    require_attestation: bool = False
    wanted: Wanted = Wanted.RUN
    edit: Annotated[int, Field(ge=0)] = 0  # grows with every change of ``wanted``; a resume is an edit that wants RUN
    until_us: int | None = None  # an A/B comparison's end

    @property
    def stages(self) -> int:
        """How many tests share alpha: the rings, and the shadows before them."""
        shadows = (1 if self.shadow_s else 0) + (len(self.rings) - 1 if self.shadow_later_s else 0)
        return len(self.rings) + shadows

    def shadow_of(self, ring: int) -> float:
        """Seconds that a ring's nodes shadow the candidate before they serve it."""
        return self.shadow_s if ring == 0 else self.shadow_later_s

    def bundles_for(self, targets: Iterable[str]) -> Bundles | None:
        """Those of the first target that the plan has any for."""
        return next((self.bundles[target] for target in targets if target in self.bundles), None)

    @model_validator(mode="after")
    def _is_sound(self) -> "RolloutPlan":
        if self.return_number <= self.number:
            raise ValueError("return_number: is not above number, so no node would take the return ticket")
        if any(later <= former for former, later in zip(self.rings, self.rings[1:], strict=False)):
            raise ValueError("rings: do not grow")
        if self.kind is Kind.ROLLOUT and self.rings[-1] != 1.0:
            raise ValueError("rings: the last one is not 1.0, so the rollout would never end")
        if self.kind is Kind.AB and (len(self.rings) != 1 or self.until_us is None):
            raise ValueError("an A/B comparison has one ring, which is the candidate's share, and until_us")
        return self
