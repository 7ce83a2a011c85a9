"""What the controller records and asks for: rows of its history, and actions that its caller carries out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sightline_contract.rollout import DesiredModels
from sightline_models.judge.figures import ArmWindow, ShadowWindow
from sightline_models.judge.verdict import MetricVerdict


class StepName(StrEnum):
    """The steps of a rollout, in the order in which a good one takes them; then those that end or interrupt it."""

    STARTED = "started"
    SHADOWING = "shadowing"
    SHADOW_PASSED = "shadow_passed"
    SERVING = "serving"
    OBSERVING = "observing"
    PROMOTED = "promoted"
    COMPLETED = "completed"
    JOINED = "joined"  # nodes that came when all were to serve it, or (counts: back) the baseline again
    COMPARED = "compared"  # the end of an A/B comparison
    PAUSED = "paused"
    RESUMED = "resumed"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    RESTORED = "restored"


@dataclass(frozen=True)
class Step:
    """A row of gold.model_rollouts. The rows of a rollout by ``seq`` are the controller's whole state."""

    rollout_id: str
    seq: int
    at_us: int
    name: StepName
    ring: int
    reasons: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()  # that this step adds to those that are told something
    metrics: tuple[MetricVerdict, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)  # nodes by what they do; durations as ..._s


@dataclass(frozen=True)
class Record:
    """Write the row, before any action after it is carried out."""

    step: Step


@dataclass(frozen=True)
class Desire:
    """Publish to model_rollout. The same message again does no harm."""

    node_id: str
    desired: DesiredModels


@dataclass(frozen=True)
class Alias:
    """Set a registry alias of the model to the version; None removes it."""

    model_name: str
    alias: str
    version: str | None


@dataclass(frozen=True)
class Tag:
    """Set a tag on the version in the registry."""

    model_name: str
    version: str
    key: str
    value: str


@dataclass(frozen=True)
class Audit:
    """Publish to audit. ``record_id`` is the same if the step is carried out again."""

    record_id: str
    kind: str
    actor: str
    reason: str
    at_us: int
    details: Mapping[str, str | int | float] = field(default_factory=dict)


Action = Record | Desire | Alias | Tag | Audit


@dataclass(frozen=True)
class Question:
    """What the controller wants to know: closed windows of these nodes since then, event time.

    In a shadow, ``canary`` are the nodes that run it. Else windows of arms are wanted: of ``canary`` nodes the figures of the
    candidate served live, of ``control`` nodes those of the baseline, and from ``before_us`` to ``since_us`` those of the
    same nodes while both served the baseline.
    """

    shadow: bool
    canary: frozenset[str]
    control: frozenset[str]
    since_us: int
    before_us: int


@dataclass(frozen=True)
class Answer:
    """The windows asked for; what is not asked for is left empty."""

    arms: tuple[ArmWindow, ...] = ()
    before: tuple[ArmWindow, ...] = ()
    shadow: tuple[ShadowWindow, ...] = ()
