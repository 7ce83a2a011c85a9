"""Verdicts on simulated arms: streets that differ, days and nights, weather, few objects in many frames."""

from dataclasses import replace

import arms
import pytest
from judge_rates import SCENARIOS, decided

from sightline_models.judge.figures import Arm, ArmWindow
from sightline_models.judge.judge import judge
from sightline_models.judge.metrics import error_rate
from sightline_models.judge.rules import Rules
from sightline_models.judge.verdict import Cohort, Decision, Verdict

RULES = Rules()
HOUR_US = 3600 * 10**6


def _cohort(**changes: int) -> Cohort:
    return replace(Cohort(arms.START_US, 5, 95, arms.START_US, arms.START_US), **changes)


def _after(hours: float, version: arms.Version = arms.GOOD, seed: int = 1, cohort: Cohort | None = None) -> Verdict:
    before, windows = arms.windows_of(seed, version, hours=hours)
    return judge(windows, RULES, arms.START_US + int(hours * HOUR_US), cohort or _cohort(), before, stages=4)


@pytest.mark.parametrize("name", ["shifted confidences", "slow", "errors", "dies"])
def test_a_bad_version_is_rolled_back_within_three_hours_whatever_the_seed(name: str) -> None:
    for seed in range(200):
        verdict, windows = decided(seed, SCENARIOS[name], RULES, look_every=6, hours=3, before_h=1)
        assert verdict.decision is Decision.ROLL_BACK, f"seed {seed}: {verdict.reasons}"
        assert windows <= 18


@pytest.mark.parametrize("seed", range(6))
def test_a_version_that_is_bad_at_night_is_rolled_back_before_the_morning(seed: int) -> None:
    verdict, windows = decided(seed, SCENARIOS["bad at night"], RULES, look_every=6)
    assert verdict.decision is Decision.ROLL_BACK
    assert 84 < windows <= 132  # 22:00 to 06:00, where the start is 08:00


@pytest.mark.parametrize("seed", range(4))
def test_a_good_version_is_promoted_after_a_day(seed: int) -> None:
    verdict, windows = decided(seed, SCENARIOS["good"], RULES, look_every=12)
    assert verdict.decision is Decision.PROMOTE, verdict.reasons
    assert windows >= 144


def test_the_day_alone_promotes_nothing() -> None:
    verdict = _after(12)
    assert verdict.decision is Decision.CONTINUE
    assert "observed for 12.0 of 24.0 h" in verdict.reasons
    assert any("no window yet in the hour of" in reason for reason in verdict.reasons)


def test_an_hour_of_the_day_without_windows_holds_a_promotion_back() -> None:
    before, windows = arms.windows_of(1, hours=24)
    without = [window for window in windows if window.start_us // HOUR_US % 24 != 3]
    verdict = judge(without, RULES, arms.START_US + 24 * HOUR_US, _cohort(), before, stages=4)
    assert verdict.decision is Decision.CONTINUE
    assert verdict.reasons[0] == "no window yet in the hour of 03:00 UTC"


@pytest.mark.parametrize("hours", [1, 2, 3])
def test_windows_longer_than_an_hour_cover_every_hour_that_they_span(hours: int) -> None:
    rules = Rules(window=hours * 3600.0)
    before, windows = arms.windows_of(1, hours=24, window_s=hours * 3600.0)
    verdict = judge(windows, rules, arms.START_US + 24 * HOUR_US, _cohort(), before, stages=4)
    assert verdict.decision is Decision.PROMOTE, verdict.reasons


def test_a_psi_that_chance_explains_is_told_as_none() -> None:
    effects = [next(m.effect for m in _after(24, seed=seed).metrics if m.name == "score_psi") for seed in range(3)]
    assert all(effect is not None and effect < 0.05 for effect in effects)


def test_a_reason_has_the_numbers_and_the_time() -> None:
    verdict = _after(3, arms.SLOW)
    assert verdict.decision is Decision.ROLL_BACK
    assert verdict.reasons[0].startswith("latency p95: ratio 1.6")
    assert verdict.reasons[0].endswith("(limit 1.3) in 18 of 18 windows, 08:00 to 10:50 UTC")


def test_two_windows_of_gross_errors_are_enough() -> None:
    hours = 4 * RULES.window / 3600
    assert _after(hours, arms.ERRORS).decision is Decision.ROLL_BACK


def test_errors_of_the_control_pause_and_do_not_condemn() -> None:
    before, windows = arms.windows_of(1, hours=12)

    def half(window: ArmWindow) -> ArmWindow:
        return window if window.arm is Arm.CANARY else replace(window, errors=window.frames, detections=window.detections // 3)

    broken = [half(window) for window in windows]
    verdict = judge(broken, RULES, arms.START_US + 12 * HOUR_US, _cohort(), before, stages=4)
    assert verdict.decision is Decision.PAUSE
    assert verdict.reasons[0].startswith("the control itself fails")


def test_arms_whose_streets_differ_are_compared_by_what_changed() -> None:
    before, windows = arms.windows_of(1, hours=4)

    def livelier(window: ArmWindow) -> ArmWindow:
        fewer = tuple(count // 3 for count in window.score_counts)
        return window if window.arm is Arm.CANARY else replace(window, detections=sum(fewer), score_counts=fewer)

    before, windows = [livelier(w) for w in before], [livelier(w) for w in windows]
    now_us = arms.START_US + 4 * HOUR_US
    assert judge(windows, RULES, now_us, _cohort(), before, stages=4).decision is Decision.CONTINUE
    assert judge(windows, RULES, now_us, _cohort(), (), stages=4).decision is Decision.ROLL_BACK


def _received(version: arms.Version, canary: dict[str, object], hours: float = 3) -> Verdict:
    """The verdict where the canaries' nodes tell that all is well, and the centre has received something else of them."""
    before, windows = arms.windows_of(1, version, hours=hours)
    changed = [replace(window, **canary) if window.arm is Arm.CANARY else window for window in windows]
    return judge(changed, RULES, arms.START_US + int(hours * HOUR_US), _cohort(), before, stages=4)


def _proven(verdict: Verdict) -> list[str]:
    return [metric.name for metric in verdict.metrics if metric.decision is Decision.ROLL_BACK]


def test_detections_that_never_arrive_condemn_a_version_with_which_its_nodes_are_content() -> None:
    nothing = {"received_frames": 0, "received_detections": 0, "received_score_counts": (), "received_class_counts": {}}
    verdict = _received(arms.GOOD, nothing)
    assert verdict.decision is Decision.ROLL_BACK
    assert _proven(verdict) == ["received_per_frame"]
    assert verdict.reasons[0].startswith("detections a frame received at the centre: ratio")


def test_detections_that_arrive_with_other_scores_than_reported_condemn_it() -> None:
    low = (10_000, *[0] * 31)
    verdict = _received(arms.GOOD, {"received_score_counts": low})
    assert verdict.decision is Decision.ROLL_BACK
    assert _proven(verdict) == ["received_score_ks"]


def test_detections_that_arrive_as_another_class_than_reported_condemn_it() -> None:
    verdict = _received(arms.GOOD, {"received_class_counts": {"unknown": 10_000}})
    assert verdict.decision is Decision.ROLL_BACK
    assert _proven(verdict) == ["received_class_mix"]


def test_a_site_that_forwards_less_than_it_sees_is_compared_by_what_changed() -> None:
    """The canaries' sites withhold three of four detections, before and after: no harm. Without the time before it is."""

    def fewer(window: ArmWindow) -> ArmWindow:
        return replace(window, received_detections=window.received_detections // 4) if window.arm is Arm.CANARY else window

    before, windows = ([fewer(window) for window in each] for each in arms.windows_of(1, hours=4))
    now_us = arms.START_US + 4 * HOUR_US
    assert judge(windows, RULES, now_us, _cohort(), before, stages=4).decision is Decision.CONTINUE
    assert _proven(judge(windows, RULES, now_us, _cohort(), (), stages=4)) == ["received_per_frame"]


def test_where_the_centre_counts_no_detections_reports_alone_are_judged() -> None:
    before, windows = (
        [replace(window, received_frames=0, received_detections=0) for window in each] for each in arms.windows_of(1, hours=24)
    )
    verdict = judge(windows, RULES, arms.START_US + 24 * HOUR_US, _cohort(), before, stages=4)
    assert verdict.decision is Decision.PROMOTE
    assert {metric.windows for metric in verdict.metrics if metric.name == "received_per_frame"} == {0}


def test_reports_that_are_lost_do_not_make_detections_look_like_more() -> None:
    before, windows = arms.windows_of(1, hours=4)
    lossy = [replace(w, frames=w.frames // 3, detections=w.detections // 3) if w.arm is Arm.CANARY else w for w in windows]
    assert _proven(judge(lossy, RULES, arms.START_US + 4 * HOUR_US, _cohort(), before, stages=4)) == []


def test_silence_of_everybody_is_the_networks() -> None:
    before, windows = arms.windows_of(1, hours=6)
    cut = [w for w in windows if w.start_us < arms.START_US + 2 * HOUR_US]
    cohort = _cohort(silent=5, controls_silent=95)
    assert judge(cut, RULES, arms.START_US + 6 * HOUR_US, cohort, before, stages=4).decision is Decision.CONTINUE
    few = [replace(w, nodes=30) for w in windows if w.start_us >= arms.START_US + 2 * HOUR_US and w.arm is Arm.CONTROL]
    assert judge([*cut, *few], RULES, arms.START_US + 6 * HOUR_US, cohort, before, stages=4).decision is Decision.CONTINUE


def test_one_canary_of_three_without_power_condemns_nothing() -> None:
    before, windows = arms.windows_of(1, hours=6, canaries=3)
    late_us = arms.START_US + HOUR_US
    less = [replace(w, nodes=2) if w.arm is Arm.CANARY and w.start_us > late_us else w for w in windows]
    verdict = judge(less, RULES, arms.START_US + 6 * HOUR_US, _cohort(canaries=3, silent=1), before, stages=4)
    assert verdict.decision is Decision.CONTINUE


def test_canaries_that_vanish_at_the_swap_condemn_the_version() -> None:
    before, windows = arms.windows_of(1, hours=3)
    gone = [w for w in windows if w.arm is Arm.CONTROL]
    verdict = judge(gone, RULES, arms.START_US + 3 * HOUR_US, _cohort(silent=5, vanished=5), before, stages=4)
    assert verdict.decision is Decision.ROLL_BACK


def test_several_canaries_that_give_the_version_up_condemn_it_one_does_not() -> None:
    assert _after(1, cohort=_cohort(canaries=4, reverted=1)).decision is Decision.CONTINUE
    assert _after(1, cohort=_cohort(canaries=1, reverted=4)).decision is Decision.ROLL_BACK


def test_the_first_to_give_it_up_condemns_nothing_while_others_still_fetch_it() -> None:
    assert _after(0.5, cohort=_cohort(canaries=0, told=5, reverted=1)).decision is Decision.CONTINUE


def test_nodes_that_come_later_were_not_silent_before() -> None:
    _, windows = arms.windows_of(1, hours=6)
    late = [replace(w, nodes=2 if w.start_us < arms.START_US + 3 * HOUR_US else 5) for w in windows if w.arm is Arm.CANARY]
    verdict = judge(late, RULES, arms.START_US + 6 * HOUR_US, _cohort(controls=0), stages=4)
    assert verdict.decision is Decision.PROMOTE, verdict.reasons


def test_where_no_control_is_left_failures_alone_are_judged() -> None:
    for version, expected in ((arms.SHIFTED, Decision.CONTINUE), (arms.ERRORS, Decision.ROLL_BACK)):
        _, windows = arms.windows_of(1, version, hours=0.5)
        last = [w for w in windows if w.arm is Arm.CANARY]
        cohort = _cohort(controls=0)
        assert judge(last, RULES, arms.START_US + HOUR_US // 2, cohort, stages=4).decision is expected


def test_a_ring_without_a_verdict_is_paused_at_last() -> None:
    verdict = judge((), RULES, arms.START_US + 49 * HOUR_US, _cohort(), stages=4)
    assert verdict.decision is Decision.PAUSE
    assert verdict.reasons[0] == "no verdict after 49.0 h"
    resumed = judge((), RULES, arms.START_US + 49 * HOUR_US, _cohort(), stages=4, resumed_us=arms.START_US + 48 * HOUR_US)
    assert resumed.decision is Decision.CONTINUE


def test_the_order_of_windows_does_not_matter_and_open_ones_do_not_count() -> None:
    before, windows = arms.windows_of(1, arms.SLOW, hours=2)
    now_us = arms.START_US + HOUR_US + 60 * 10**6
    closed = [w for w in windows if w.start_us + w.window_s * 1e6 <= now_us]
    assert judge(windows[::-1], RULES, now_us, _cohort(), before) == judge(closed, RULES, now_us, _cohort(), before)


def test_an_error_rate_is_the_share_of_all_frames_that_the_model_was_given() -> None:
    _, windows = arms.windows_of(1, hours=1)
    assert error_rate(replace(windows[0], frames=40, errors=60)) == 0.6
    assert error_rate(replace(windows[0], frames=0, errors=60)) == 1
