"""What the judge tolerates, and how sure it must be: the file behind ``--judge rules.yaml``.

A margin is what a good version may differ by. It is wide enough for what tells the canaries' streets from the others', since no
statistics can tell a shift of the scene from a shift of the model; the test asks whether a version leaves it, not whether two
arms are equal.
"""

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from sightline_contract.settings import Settings
from sightline_models.dates import parse_duration

Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0)]
Span = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Ratio = Annotated[float, Field(gt=1)]  # tolerated both ways where more and less are harm: 1.25 is 0.8 to 1.25


class Margins(Settings):
    """Limits of a window: beyond one of them it is a bad window of that metric."""

    score_psi: Annotated[float, Field(gt=0)] = 0.25
    score_ks: Share = 0.2
    mean_score: Share = 0.08  # difference, either way
    detections_ratio: Ratio = 1.5  # detections a frame
    class_mix: Share = 0.2  # total variation distance
    latency_p95_ratio: Ratio = 1.3  # slower only
    error_rate: Share = 0.01  # above the control's
    received_ratio: Ratio = 1.5  # detections that reach the centre, a frame that was analysed
    received_score_ks: Share = 0.2  # as score_ks, of what reaches the centre
    received_class_mix: Share = 0.2  # as class_mix, the same
    tracks_ratio: Ratio = 1.6  # tracks that begin, a frame
    silent_share: Share = 0.3  # of the canaries, above the control's
    gross_error_rate: Share = 0.2


class ShadowMargins(Settings):
    """Limits of a window in the shadow, where both models see the same frames."""

    agreement: Share = 0.6  # least: matched pairs among all objects that either saw
    score_psi: Annotated[float, Field(gt=0)] = 0.25
    score_ks: Share = 0.2
    mean_score: Share = 0.08
    detections_ratio: Ratio = 1.5
    class_mix: Share = 0.2
    latency_p95_ratio: Ratio = 2.0  # both models share the machine
    error_rate: Share = 0.01
    gross_error_rate: Share = 0.2


class Rules(Settings):
    """Margins, error probability and patience of the judge. Durations are seconds, or text such as ``24h``."""

    alpha: Share = 0.05  # bound on the probability that a good version is rolled back, over a whole rollout
    bad_share: Share = 0.2  # of a good version's windows, that may lie beyond a margin
    gross_share: Share = 0.01  # of a good version's windows, that may have gross errors
    reverted_share: Share = 0.01  # of nodes, that may give up a good version by themselves
    silent_nodes_share: Share = 0.05  # of nodes, that may fall silent under a good version; twice the control's if that is more

    window: Span = 600.0  # length of the windows that are compared
    observe: Duration = 86400.0  # how long a ring is observed before it is promoted; a day has a night
    observe_last: Duration = 3600.0  # the same of the ring that leaves no control
    swap: Duration = 1800.0  # what a canary may take to fetch and swap before its silence counts
    silent_after: Span = 300.0  # a node that was not heard of for so long is silent
    patience: Duration = 86400.0  # after this much more than the time to observe, a ring without a verdict is paused

    min_windows: Annotated[int, Field(ge=1)] = 6  # pairs before a promotion
    min_shadow_windows: Annotated[int, Field(ge=1)] = 3  # before a shadow is passed
    min_nodes: Annotated[int, Field(ge=1)] = 1  # that report, of each arm
    min_frames: Annotated[int, Field(ge=1)] = 500  # of each arm in a pair; shorter windows are put together
    min_detections: Annotated[int, Field(ge=1)] = 300  # the same for distances between histograms
    min_objects: Annotated[int, Field(ge=1)] = 50  # the same in independent objects, as far as windows tell (dispersion.py)
    min_before: Annotated[int, Field(ge=1)] = 3  # windows before the swap that tell what the arms' streets differ by
    coverage: Annotated[float, Field(gt=0, le=1)] = 0.8  # of the time to observe, that pairs must cover
    reported: Annotated[float, Field(gt=0, le=1)] = 0.9  # of a ring's nodes that are there, that must serve it
    control_error_rate: Share = 0.2  # beyond this the control itself is broken: pause

    margins: Margins = Field(default_factory=Margins)
    shadow: ShadowMargins = Field(default_factory=ShadowMargins)

    @model_validator(mode="after")
    def _fits(self) -> "Rules":
        if self.observe and self.window > self.observe:
            raise ValueError("observe: is shorter than a window")
        return self
