"""From samples to a decision: the wealth of all metrics together, and each one's verdict.

The stage's alpha is shared by averaging the metrics' e-values over a fixed number of metrics: the mean of e-values is an
e-value whatever ties them together (Vovk & Wang, "E-values: calibration, combination and applications", Annals of Statistics
2021), and it is never weaker than Bonferroni's bound.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from scipy.special import logsumexp

from sightline_models.judge.metrics import LABELS, Series
from sightline_models.judge.sequential import log_wealth, log_wealth_of_nodes, median_interval
from sightline_models.judge.verdict import Decision, MetricVerdict

_MOST = 1e12  # evidence beyond this is told as this


@dataclass(frozen=True)
class NodeCount:
    """A metric whose replicates are nodes."""

    name: str
    bad: int
    nodes: int
    p0: float


@dataclass(frozen=True)
class Weighed:
    """One metric with its evidence, and the sentence that tells it."""

    verdict: MetricVerdict
    log_evidence: float
    sentence: str
    bad_share: float
    p0: float


def threshold(alpha: float) -> float:
    """Logarithm of the evidence that one metric alone needs, the others having none."""
    return math.log(len(LABELS) / alpha)


def proven(weighed: Sequence[Weighed], alpha: float) -> bool:
    """Whether all metrics together have reached 1 / alpha."""
    if not weighed:
        return False
    total = float(logsumexp([metric.log_evidence for metric in weighed])) - math.log(len(LABELS))
    return total >= math.log(1 / alpha)


def worst(weighed: Sequence[Weighed]) -> tuple[str, ...]:
    """Sentences of the metrics that are proven by themselves; where several share the evidence, of those that have most."""
    ordered = sorted(weighed, key=lambda metric: -metric.log_evidence)
    guilty = [metric.sentence for metric in ordered if metric.verdict.decision is Decision.ROLL_BACK]
    return tuple(guilty or [metric.sentence for metric in ordered[:3]])


def weigh(series: Series, alpha: float, horizon: int) -> Weighed:
    """Evidence of a metric over its windows."""
    samples = series.samples
    evidence = log_wealth([s.bad for s in samples], [s.hour for s in samples], series.p0, horizon)
    bad = [s for s in samples if s.bad]
    effects = [s.effect for s in samples]
    low, high = median_interval(effects, alpha)
    verdict = MetricVerdict(
        series.name,
        canary=_median([s.canary for s in samples]),
        control=_median([s.control for s in samples]),
        effect=_median(effects),
        margin=series.margin,
        low=low,
        high=high,
        decision=_decision(evidence, len(bad), len(samples), series.p0, alpha),
        windows=len(samples),
        bad_windows=len(bad),
        evidence=min(math.exp(min(evidence, 100.0)), _MOST),
    )
    share = len(bad) / len(samples) if samples else 0.0
    return Weighed(verdict, evidence, _sentence(series, verdict), share, series.p0)


def weigh_nodes(count: NodeCount, alpha: float) -> Weighed:
    """Evidence of nodes that failed."""
    evidence = log_wealth_of_nodes(count.bad, count.nodes, count.p0)
    share = count.bad / count.nodes if count.nodes else 0.0
    decision = _decision(evidence, count.bad, count.nodes, count.p0, alpha)
    verdict = MetricVerdict(
        count.name, share, None, share, count.p0, None, None, decision, evidence=min(math.exp(min(evidence, 100.0)), _MOST)
    )
    return Weighed(verdict, evidence, f"{LABELS[count.name]} {share:.2f} ({count.bad} of {count.nodes} nodes)", share, count.p0)


def _decision(log_evidence: float, bad: int, of: int, p0: float, alpha: float) -> Decision:
    if log_evidence >= threshold(alpha):
        return Decision.ROLL_BACK
    return Decision.PROMOTE if of and bad <= p0 * of else Decision.CONTINUE


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _sentence(series: Series, verdict: MetricVerdict) -> str:
    """What the windows beyond the margin show, or all where none is beyond it."""
    if verdict.effect is None:
        return f"{series.label}: not measured"
    bad = [s for s in series.samples if s.bad]
    if not bad:
        return f"{series.label} {verdict.effect:.3g} (limit {series.margin:.3g}) over {verdict.windows} windows"
    level = median(s.effect for s in bad)
    when = f"{_clock(bad[0].at_us)} to {_clock(bad[-1].at_us)}" if len(bad) > 1 else _clock(bad[0].at_us)
    return f"{series.label} {level:.3g} (limit {series.margin:.3g}) in {len(bad)} of {verdict.windows} windows, {when} UTC"


def _clock(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%H:%M")
