"""The judge of a shadow: the candidate against the live model on the same frames.

Here nothing but the model differs, so agreement can be judged frame by frame. A shadow is short, though: it does not see a
night, nor what the version does to the node that lives by it. Those are the ring's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sightline_contract.agreement import Agreement
from sightline_models.judge.dispersion import Dispersion
from sightline_models.judge.figures import Arm, ArmWindow, ShadowWindow
from sightline_models.judge.metrics import DOWNSTREAM, LABELS, Sample, Series, series_of
from sightline_models.judge.pairs import Offset, Pair, hour_of
from sightline_models.judge.rules import Rules
from sightline_models.judge.verdict import Decision, Verdict
from sightline_models.judge.weighing import NodeCount, Weighed, proven, weigh, weigh_nodes, worst


@dataclass(frozen=True)
class ShadowCohort:
    """Whose shadow it is. ``since_us``: the nodes were told to run it, UTC us; ``shadow_s``: for how long."""

    since_us: int
    shadow_s: float
    nodes: int  # that run it, as they say
    told: int  # and those of the ring that were told to and are there
    refused: int = 0


def judge_shadow(
    windows: Sequence[ShadowWindow],
    rules: Rules,
    now_us: int,
    cohort: ShadowCohort,
    stages: int = 1,
    resumed_us: int | None = None,
) -> Verdict:
    """PROMOTE once the candidate may serve. Windows that are not closed by ``now_us`` are left out."""
    alpha = rules.alpha / stages
    closed = [w for w in windows if w.start_us >= cohort.since_us and w.start_us + w.window_s * 1e6 <= now_us and w.nodes]
    closed.sort(key=lambda window: window.start_us)
    horizon = max(math.ceil(cohort.shadow_s / rules.window), 1)
    series = [_agreement(closed, rules), *_compared(closed, rules)]
    weighed = [weigh(one, alpha, horizon) for one in series]
    weighed.append(weigh_nodes(NodeCount("reverted", cohort.refused, cohort.told, rules.reverted_share), alpha))
    metrics = tuple(metric.verdict for metric in weighed)
    if cohort.refused and cohort.refused == cohort.told:
        return Verdict(Decision.ROLL_BACK, (f"all {cohort.told} nodes refuse the version",), metrics)
    if proven(weighed, alpha):
        return Verdict(Decision.ROLL_BACK, worst(weighed), metrics)
    return Verdict(*_progress(weighed, closed, rules, now_us, cohort, resumed_us), metrics)


def _compared(windows: Sequence[ShadowWindow], rules: Rules) -> list[Series]:
    """The metrics of a ring, with the live model on the same frames as control."""
    limits = rules.shadow
    margins = rules.margins.model_copy(
        update={
            "score_psi": limits.score_psi,
            "score_ks": limits.score_ks,
            "mean_score": limits.mean_score,
            "detections_ratio": limits.detections_ratio,
            "class_mix": limits.class_mix,
            "latency_p95_ratio": limits.latency_p95_ratio,
            "error_rate": limits.error_rate,
            "gross_error_rate": limits.gross_error_rate,
        }
    )
    pairs = [_pair(window) for window in windows]
    # Both saw the same objects: what differs is the models' and no luck of the draw.
    series = series_of(pairs, Offset(), rules.model_copy(update={"margins": margins}), Dispersion())
    return [one for one in series if one.name not in DOWNSTREAM]


def _pair(window: ShadowWindow) -> Pair:
    shadow = ArmWindow(
        window.start_us, window.window_s, Arm.CANARY, window.nodes, window.frames, window.errors, window.detections,
        window.score_counts, window.class_counts, window.latency_counts,
    )  # fmt: skip
    frames = window.frames + window.errors
    live = ArmWindow(
        window.start_us, window.window_s, Arm.CONTROL, window.nodes, frames, 0, window.live_detections,
        window.live_score_counts, window.live_class_counts, window.live_latency_counts,
    )  # fmt: skip
    return Pair(shadow, live)


def _agreement(windows: Sequence[ShadowWindow], rules: Rules) -> Series:
    """Windows in which too few objects were seen tell nothing and are left out."""
    series = Series("agreement", LABELS["agreement"], rules.shadow.agreement, rules.bad_share)
    for window in windows:
        seen = Agreement(window.matched, window.only_live, window.only_shadow, window.iou_sum, window.score_gap_sum)
        if window.live_detections + window.detections < rules.min_detections:
            continue
        effect = seen.rate
        series.samples.append(Sample(window.start_us, hour_of(window.start_us), effect, 1.0, effect, effect < series.margin))
    return series


def _progress(
    weighed: Sequence[Weighed],
    windows: Sequence[ShadowWindow],
    rules: Rules,
    now_us: int,
    cohort: ShadowCohort,
    resumed_us: int | None,
) -> tuple[Decision, tuple[str, ...]]:
    seen_s = (now_us - cohort.since_us) / 1e6
    lacks = []
    if seen_s < cohort.shadow_s:
        lacks.append(f"in the shadow for {seen_s / 60:.0f} of {cohort.shadow_s / 60:.0f} min")
    if cohort.nodes < rules.reported * (cohort.told - cohort.refused):
        lacks.append(f"{cohort.nodes} of {cohort.told} nodes run it")
    if len(windows) < rules.min_shadow_windows:
        lacks.append(f"{len(windows)} of {rules.min_shadow_windows} windows")
    if sum(w.frames for w in windows) < rules.min_frames:
        lacks.append(f"{sum(w.frames for w in windows)} of {rules.min_frames} frames")
    lacks += [f"not proven, yet more than a good version shows: {m.sentence}" for m in weighed if m.bad_share > m.p0]
    if not lacks:
        best = sorted((m for m in weighed if m.verdict.windows), key=lambda metric: -metric.log_evidence)[:3]
        return Decision.PROMOTE, tuple(metric.sentence for metric in best)
    waited_s = (now_us - max(cohort.since_us, resumed_us or 0)) / 1e6
    if waited_s > cohort.shadow_s + rules.patience:
        return Decision.PAUSE, (f"no verdict after {waited_s / 3600:.1f} h", *lacks)
    return Decision.CONTINUE, tuple(lacks)
