"""Answers to a controller's question, made from what a version is like: enough windows, no noise."""

from sightline_contract.rollout import LATENCY_EDGES_MS, SCORE_BINS
from sightline_models.judge.figures import Arm, ArmWindow, ShadowWindow
from sightline_models.rollout.steps import Answer, Question

WINDOW_US = 600 * 10**6
_FINE = tuple(100 if 10 <= i < 30 else 0 for i in range(SCORE_BINS))
_SHIFTED = tuple(100 if i < 20 else 0 for i in range(SCORE_BINS))
_FAST = tuple(1000 if i == 130 else 0 for i in range(len(LATENCY_EDGES_MS) + 1))


def answer_of(question: Question | None, now_us: int, harm: str = "") -> Answer:
    """Windows that are closed now. ``harm``: "", "shadow" (shifted there already), "confidence" or "errors" (when serving)."""
    if question is None:
        return Answer()
    starts = range(-(-question.since_us // WINDOW_US) * WINDOW_US, now_us - WINDOW_US + 1, WINDOW_US)
    if question.shadow:
        return Answer(shadow=tuple(_shadow(start, len(question.canary), harm == "shadow") for start in starts))
    arms = []
    for start in starts:
        arms.append(_arm(start, Arm.CANARY, len(question.canary), harm))
        if question.control:
            arms.append(_arm(start, Arm.CONTROL, len(question.control), ""))
    return Answer(arms=tuple(arms))


def _arm(start: int, arm: Arm, nodes: int, harm: str) -> ArmWindow:
    scores = _SHIFTED if harm == "confidence" else _FINE
    errors = 1000 if harm == "errors" else 0
    return ArmWindow(start, 600.0, arm, nodes, 1000, errors, 2000, scores, {"person": 2000}, _FAST)


def _shadow(start: int, nodes: int, bad: bool) -> ShadowWindow:
    matched = 400 if bad else 1900
    return ShadowWindow(
        start, 600.0, nodes, 1000, 0, 2000, 2000, _SHIFTED if bad else _FINE, _FINE, {"person": 2000}, {"person": 2000},
        _FAST, _FAST, matched, 2000 - matched, 2000 - matched, 0.9 * matched, 0.02 * matched,
    )  # fmt: skip
