"""Streams of windows of two arms, seeded: streets that differ, days and nights, weather that lasts, objects in many frames.

Counts are made of objects and not of frames: a window's detections are of few objects, each with scores of its own, as the
judge has it in the field.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sightline_contract.rollout import LATENCY_EDGES_MS, SCORE_BINS
from sightline_models.judge.figures import Arm, ArmWindow

START_US = 1_790_000_000_000_000 // (86_400 * 10**6) * 86_400 * 10**6 + 8 * 3600 * 10**6  # 08:00 UTC
CLASSES = ("person", "car", "bicycle", "truck")
FRAMES_PER_OBJECT = 60


@dataclass(frozen=True)
class Version:
    """What a version does otherwise than the baseline."""

    score_shift: float = 0.0  # in logits
    latency_ratio: float = 1.0
    error_rate: float = 0.0
    detections_ratio: float = 1.0
    dies: float = 0.0  # share of nodes that fall silent
    hours: frozenset[int] = frozenset(range(24))  # in which it does so


GOOD = Version()
SHIFTED = Version(score_shift=-0.9)
SLOW = Version(latency_ratio=1.6)
ERRORS = Version(error_rate=0.3)
DIES = Version(dies=0.8)
BLIND_AT_NIGHT = Version(score_shift=-0.9, detections_ratio=0.6, hours=frozenset([22, 23, 0, 1, 2, 3, 4, 5]))


@dataclass(frozen=True)
class Street:
    """What tells one arm's cameras from the other's, for as long as they hang there."""

    score: float
    busy: float
    mix: np.ndarray


def streets(rng: np.random.Generator, nodes: int) -> Street:
    """The mean of so many cameras' streets: the more cameras, the more alike are two arms."""
    spread = 1 / np.sqrt(nodes)
    mix = np.array([0.5, 0.35, 0.1, 0.05]) * np.exp(rng.normal(0, 0.5 * spread, 4))
    return Street(rng.normal(0, 0.3 * spread), float(np.exp(rng.normal(0, 0.6 * spread))), mix / mix.sum())


def windows_of(
    seed: int,
    version: Version = GOOD,
    hours: float = 24.0,
    canaries: int = 5,
    controls: int = 95,
    window_s: float = 600.0,
    before_h: float = 12.0,
    weather: float = 0.7,
) -> tuple[list[ArmWindow], list[ArmWindow]]:
    """(before, windows): both arms' windows on the baseline, and those since ``START_US`` with canaries on ``version``.

    ``weather``: how much of what a window was like the next one keeps.
    """
    rng = np.random.default_rng(seed)
    made: dict[Arm, list[ArmWindow]] = {}
    for arm, nodes in ((Arm.CANARY, canaries), (Arm.CONTROL, controls)):
        made[arm] = list(_arm(rng, arm, nodes, version, hours, window_s, before_h, weather))
    both = [window for pair in zip(made[Arm.CANARY], made[Arm.CONTROL], strict=True) for window in pair]
    since = [window for window in both if window.start_us >= START_US and window.nodes]
    return [window for window in both if window.start_us < START_US], since


def _arm(rng, arm, nodes, version, hours, window_s, before_h, weather) -> Iterator[ArmWindow]:
    street = streets(rng, nodes)
    first, last = -int(before_h * 3600 / window_s), int(hours * 3600 / window_s)
    state = np.zeros(2)
    alive = nodes
    for index in range(first, last):
        start_us = START_US + int(index * window_s * 1e6)
        hour = start_us // (3600 * 10**6) % 24
        # Weather at a few sites: it lasts, and many nodes even it out.
        state = weather * state + rng.normal(0, np.sqrt(1 - weather**2), 2)
        bad = version if arm is Arm.CANARY and index >= 0 and hour in version.hours else GOOD
        if bad.dies and index == 3:
            alive = nodes - round(nodes * bad.dies)
        yield _window(rng, arm, alive, street, state / np.sqrt(nodes), bad, start_us, window_s, hour)


def _window(rng, arm, nodes, street, state, version, start_us, window_s, hour) -> ArmWindow:
    frames = int(nodes * window_s * 5)
    day = 0.25 + 0.75 * np.clip(np.sin((hour - 6) / 12 * np.pi), 0, 1)
    rate = 0.6 * day * street.busy * np.exp(0.25 * state[0]) * version.detections_ratio
    objects = int(rng.poisson(max(frames * rate / FRAMES_PER_OBJECT, 0)))
    seen = rng.geometric(1 / FRAMES_PER_OBJECT, objects)
    logits = rng.normal(1.0 - 0.5 * (1 - day) + street.score + 0.2 * state[1] + version.score_shift, 0.9, objects)
    # An object's score wanders a little from frame to frame: three values stand for its frames.
    scores = np.repeat(logits, 3) + rng.normal(0, 0.4, objects * 3)
    bins = np.minimum((SCORE_BINS / (1 + np.exp(-scores))).astype(int), SCORE_BINS - 1)
    weights = np.repeat(np.maximum(seen // 3, 1), 3)
    counts = np.bincount(bins, weights, SCORE_BINS).astype(int)
    kinds = np.bincount(rng.choice(4, objects, p=street.mix), seen, 4).astype(int)
    latency = np.exp(rng.normal(np.log(20 * version.latency_ratio), 0.15, 400))
    slow = np.bincount(np.searchsorted(LATENCY_EDGES_MS, latency), minlength=len(LATENCY_EDGES_MS) + 1)
    detections = int(counts.sum())
    errors = int(rng.binomial(frames, version.error_rate))
    histogram, mix = tuple(counts.tolist()), dict(zip(CLASSES, kinds.tolist(), strict=True))
    return ArmWindow(
        start_us, window_s, arm, nodes, frames - errors, errors, detections, histogram, mix,
        tuple((slow * max(frames // 400, 1)).tolist()),
        received_frames=frames - errors, received_detections=detections, received_score_counts=histogram,
        received_class_counts=mix, tracks=objects,
    )  # fmt: skip


def merged(window: ArmWindow, **changes) -> ArmWindow:
    """The window with some figures replaced."""
    return replace(window, **changes)
