"""Verdicts on a shadow: both models saw the same frames."""

from dataclasses import replace

import arms

from sightline_models.judge.figures import Arm, ArmWindow, ShadowWindow
from sightline_models.judge.rules import Rules
from sightline_models.judge.shadow import ShadowCohort, judge_shadow
from sightline_models.judge.verdict import Decision, Verdict

HOUR_US = 3600 * 10**6
COHORT = ShadowCohort(arms.START_US, 3600.0, nodes=5, told=5)


def _shadows(version: arms.Version = arms.GOOD, hours: float = 2, agreement: float = 0.85, seed: int = 1) -> list[ShadowWindow]:
    """The canaries' windows with and without the version's faults; the same seed sees the same objects."""
    live = [w for w in arms.windows_of(seed, hours=hours, before_h=0)[1] if w.arm is Arm.CANARY]
    shadow = [w for w in arms.windows_of(seed, version, hours=hours, before_h=0)[1] if w.arm is Arm.CANARY]
    return [_shadow(a, b, agreement) for a, b in zip(live, shadow, strict=True)]


def _shadow(live: ArmWindow, shadow: ArmWindow, agreement: float) -> ShadowWindow:
    least = min(live.detections, shadow.detections)
    seen = live.detections + shadow.detections
    matched = min(int(agreement / (1 + agreement) * seen), least)
    return ShadowWindow(
        live.start_us, live.window_s, live.nodes, shadow.frames, shadow.errors, shadow.detections, live.detections,
        shadow.score_counts, live.score_counts, shadow.class_counts, live.class_counts,
        shadow.latency_counts, live.latency_counts,
        matched, live.detections - matched, shadow.detections - matched, 0.9 * matched, 0.03 * matched,
    )  # fmt: skip


def _verdict(windows: list[ShadowWindow], hours: float = 2, cohort: ShadowCohort = COHORT) -> Verdict:
    return judge_shadow(windows, Rules(), arms.START_US + int(hours * HOUR_US), cohort, stages=4)


def test_a_version_that_sees_the_same_may_serve_after_its_time_in_the_shadow() -> None:
    assert _verdict(_shadows(hours=0.5), 0.5).decision is Decision.CONTINUE
    assert _verdict(_shadows()).decision is Decision.PROMOTE


def test_a_version_with_other_scores_never_serves() -> None:
    verdict = _verdict(_shadows(arms.SHIFTED))
    assert verdict.decision is Decision.ROLL_BACK
    assert any(reason.startswith("confidence: PSI") for reason in verdict.reasons)


def test_a_version_that_sees_other_things_never_serves() -> None:
    verdict = _verdict(_shadows(agreement=0.4))
    assert verdict.decision is Decision.ROLL_BACK
    assert verdict.reasons[0].startswith("agreement in the shadow: matched of all seen 0.4 (limit 0.6)")


def test_a_version_that_fails_in_the_shadow_never_serves() -> None:
    assert _verdict(_shadows(arms.ERRORS)).decision is Decision.ROLL_BACK


def test_a_version_far_slower_than_the_live_one_never_serves() -> None:
    assert _verdict(_shadows(arms.Version(latency_ratio=3.0))).decision is Decision.ROLL_BACK


def test_a_shadow_waits_for_the_nodes_that_were_told() -> None:
    verdict = _verdict(_shadows(), cohort=replace(COHORT, nodes=2))
    assert verdict.decision is Decision.CONTINUE
    assert verdict.reasons == ("2 of 5 nodes run it",)


def test_a_version_that_every_node_refuses_is_rolled_back() -> None:
    verdict = _verdict([], cohort=replace(COHORT, nodes=0, refused=5))
    assert verdict == replace(verdict, decision=Decision.ROLL_BACK, reasons=("all 5 nodes refuse the version",))


def test_a_shadow_without_figures_is_paused_at_last() -> None:
    assert _verdict([], hours=26).decision is Decision.PAUSE
