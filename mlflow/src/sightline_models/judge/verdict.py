"""Verdicts: a decision on a version, with the numbers behind it; and who is compared."""

from dataclasses import dataclass
from enum import StrEnum


class Decision(StrEnum):
    """What to do with the version."""

    CONTINUE = "continue"
    PROMOTE = "promote"
    PAUSE = "pause"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True)
class MetricVerdict:
    """One metric: medians over the windows of both arms and of the effect, and the interval of the median effect.

    ``effect`` is a distance, a difference or a ratio, as the metric's name says; beyond ``margin`` a window is bad. ``low`` and
    ``high`` bound the median effect at all times at once with the stage's confidence; None where the windows are too few.
    ``evidence`` is the e-value: how many times likelier the bad windows are under a bad version than under a good one.
    """

    name: str
    canary: float | None
    control: float | None
    effect: float | None
    margin: float
    low: float | None
    high: float | None
    decision: Decision
    windows: int = 0
    bad_windows: int = 0
    evidence: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """A decision and why: sentences for an operator, and the metrics behind them."""

    decision: Decision
    reasons: tuple[str, ...]
    metrics: tuple[MetricVerdict, ...] = ()


@dataclass(frozen=True)
class Cohort:
    """Who is compared in a ring, counted from nodes' reports. Times: UTC us.

    ``since_us``: the ring's nodes were told to serve. ``settled_us``: as of then each of ``canaries`` is expected to report.
    ``observing_us``: enough of them serve it, the time to observe runs; None before that.
    """

    since_us: int
    canaries: int  # serve the candidate, or fell silent when they should
    controls: int
    settled_us: int
    observing_us: int | None = None
    told: int = 0  # nodes of all rings that were told to serve it and are there; 0: canaries and reverted ones
    reverted: int = 0  # of those, that refuse it or gave it up
    silent: int = 0  # of the canaries, not heard of now
    vanished: int = 0  # of those, that never said that they serve it
    controls_silent: int = 0
