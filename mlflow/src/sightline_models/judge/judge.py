"""The judge of a ring: canaries against controls.

Nothing here keeps state: a verdict is computed from all windows of the stage, so a judge that starts again says the same, and
looking often costs nothing (sequential.py).

Invariants: evidence of harm rolls back, at any time. A promotion needs the time to observe, pairs in every hour of the day
that this time has, and no metric with more bad windows than a good version has. What can be neither ends in a pause.
"""

import math
from collections.abc import Sequence

from sightline_models.judge.dispersion import Dispersion
from sightline_models.judge.figures import Arm, ArmWindow
from sightline_models.judge.metrics import Series, error_rate, series_of
from sightline_models.judge.pairs import Offset, Pair, hour_of, pairs_of
from sightline_models.judge.rules import Rules
from sightline_models.judge.silence import silence_of
from sightline_models.judge.verdict import Cohort, Decision, Verdict
from sightline_models.judge.weighing import NodeCount, Weighed, proven, weigh, weigh_nodes, worst

_HOUR_US = 3600 * 1_000_000


def judge(
    windows: Sequence[ArmWindow],
    rules: Rules,
    now_us: int,
    cohort: Cohort,
    before: Sequence[ArmWindow] = (),
    stages: int = 1,
    resumed_us: int | None = None,
) -> Verdict:
    """What to do with a ring. ``windows`` since ``cohort.since_us``; ``before``: of the same nodes, both on the baseline.

    ``stages``: how many such tests the rollout makes, which share alpha. ``resumed_us``: patience
    begins again there. Windows that are not closed by ``now_us`` are left out.
    """
    alpha = rules.alpha / stages
    usable = [w for w in windows if w.start_us >= cohort.since_us and w.nodes >= rules.min_nodes]
    all_pairs = pairs_of(usable, now_us) if cohort.controls else _alone(usable, now_us)
    pairs = [pair for pair in all_pairs if error_rate(pair.control) <= rules.control_error_rate]
    offset = Offset.of(before, cohort.since_us, rules.min_before)
    dispersion = Dispersion.of(_controls([*before, *usable], now_us))
    series = [*series_of(pairs, offset, rules, dispersion), silence_of(windows, cohort, rules, now_us)]
    weighed = _weigh(series, _node_counts(cohort, rules), rules, alpha)
    metrics = tuple(metric.verdict for metric in weighed)
    if reasons := _harm(weighed, cohort, alpha):
        return Verdict(Decision.ROLL_BACK, reasons, metrics)
    if reason := _control_broken(all_pairs, rules):
        return Verdict(Decision.PAUSE, (reason,), metrics)
    waited_from_us = cohort.since_us if resumed_us is None else max(cohort.since_us, resumed_us)
    return Verdict(*_progress(weighed, pairs, rules, now_us, cohort, waited_from_us), metrics)


def _controls(windows: Sequence[ArmWindow], until_us: int) -> list[ArmWindow]:
    closed = (w for w in windows if w.arm is Arm.CONTROL and w.start_us + w.window_s * 1e6 <= until_us)
    return sorted(closed, key=lambda window: window.start_us)


def _weigh(series: Sequence[Series], counts: Sequence[NodeCount], rules: Rules, alpha: float) -> list[Weighed]:
    horizon = max(math.ceil(rules.observe / rules.window), 1)
    return [*(weigh(one, alpha, horizon) for one in series), *(weigh_nodes(count, alpha) for count in counts)]


def _node_counts(cohort: Cohort, rules: Rules) -> list[NodeCount]:
    counts = [NodeCount("reverted", cohort.reverted, _told(cohort), rules.reverted_share)]
    if cohort.controls:  # without a control, silence may be the network's
        usual = cohort.controls_silent / cohort.controls
        p0 = max(rules.silent_nodes_share, 2 * usual)
        counts.append(NodeCount("silent_nodes", cohort.silent, cohort.canaries, min(p0, 1.0)))
    return counts


def _told(cohort: Cohort) -> int:
    return cohort.told or cohort.canaries + cohort.reverted


def _harm(weighed: Sequence[Weighed], cohort: Cohort, alpha: float) -> tuple[str, ...]:
    """Why it is rolled back; nothing if it is not."""
    if cohort.reverted and cohort.reverted >= _told(cohort):
        return (f"all {cohort.reverted} canaries gave the version up by themselves",)
    return worst(weighed) if proven(weighed, alpha) else ()


def _control_broken(pairs: Sequence[Pair], rules: Rules) -> str:
    last = pairs[-rules.min_windows :]
    broken = [pair for pair in last if error_rate(pair.control) > rules.control_error_rate]
    if len(last) < rules.min_windows or 2 * len(broken) <= len(last):
        return ""
    worst = max(error_rate(pair.control) for pair in broken)
    return f"the control itself fails: {worst:.0%} of its frames, in {len(broken)} of the last {len(last)} windows"


def _progress(
    weighed: Sequence[Weighed], pairs: Sequence[Pair], rules: Rules, now_us: int, cohort: Cohort, waited_from_us: int
) -> tuple[Decision, tuple[str, ...]]:
    """Promote, go on, or pause where going on has not helped for too long."""
    observe_s = rules.observe if cohort.controls else rules.observe_last
    missing = _missing(pairs, rules, now_us, cohort, observe_s)
    doubtful = [m.sentence for m in weighed if m.bad_share > m.p0]
    if not missing and not doubtful:
        hours = (now_us - (cohort.observing_us or now_us)) / _HOUR_US
        worst = sorted((m for m in weighed if m.verdict.windows), key=lambda metric: -metric.log_evidence)[:3]
        first = f"no harm seen in {hours:.1f} h, {len(pairs)} windows, {cohort.canaries} canaries, {cohort.controls} controls"
        return Decision.PROMOTE, (first, *(metric.sentence for metric in worst))
    reasons = (*missing, *(f"not proven, yet more than a good version shows: {text}" for text in doubtful))
    waited_s = (now_us - waited_from_us) / 1e6
    if waited_s > observe_s + rules.patience:
        return Decision.PAUSE, (f"no verdict after {waited_s / 3600:.1f} h", *reasons)
    return Decision.CONTINUE, reasons


def _missing(pairs: Sequence[Pair], rules: Rules, now_us: int, cohort: Cohort, observe_s: float) -> tuple[str, ...]:
    """What a promotion still lacks."""
    if cohort.observing_us is None:
        return ("too few of the ring's nodes serve the version yet",)
    lacks = []
    seen_s = (now_us - cohort.observing_us) / 1e6
    if seen_s < observe_s:
        lacks.append(f"observed for {seen_s / 3600:.1f} of {observe_s / 3600:.1f} h")
    if len(pairs) < rules.min_windows:
        lacks.append(f"{len(pairs)} of {rules.min_windows} windows that can be compared")
    paired_s = sum(pair.canary.window_s for pair in pairs)
    if paired_s < rules.coverage * observe_s:
        lacks.append(f"windows that can be compared cover {paired_s / 3600:.1f} of {observe_s / 3600:.1f} h")
    seen = {
        hour_of(at_us)
        for pair in pairs
        for at_us in range(pair.canary.start_us, pair.canary.start_us + round(pair.canary.window_s * 1e6), _HOUR_US)
    }
    hours = _hours_of(cohort.observing_us, observe_s) - seen
    if hours:
        lacks.append(
            f"no window yet in the hour of {min(hours):02d}:00 UTC" + (f" and {len(hours) - 1} more" * (len(hours) > 1))
        )
    return tuple(lacks)


def _hours_of(from_us: int, span_s: float) -> set[int]:
    """Hours of the day of which the span has half or more."""
    until_us = from_us + min(span_s, 86400.0) * 1e6
    first = from_us // _HOUR_US
    whole = range(first, int(until_us // _HOUR_US) + 1)
    covered = {hour: min((hour + 1) * _HOUR_US, until_us) - max(hour * _HOUR_US, from_us) for hour in whole}
    return {hour % 24 for hour, part_us in covered.items() if part_us >= _HOUR_US / 2}


def _alone(windows: Sequence[ArmWindow], until_us: int) -> list[Pair]:
    """Pairs with a control that fails never and sees nothing: where none is left, only failures can be judged."""
    closed = [w for w in windows if w.arm is Arm.CANARY and w.start_us + w.window_s * 1e6 <= until_us]
    return [Pair(w, ArmWindow(w.start_us, w.window_s, Arm.CONTROL, 0, w.frames + w.errors, 0, 0, (), {}, ())) for w in closed]
