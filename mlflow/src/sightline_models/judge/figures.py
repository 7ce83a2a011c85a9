"""What is judged: what each arm did in each window of time, summed over the arm's nodes.

Canary and control are compared within the same window, so that rain, rush hour and night are the same for both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Arm(StrEnum):
    """The two sides of a comparison."""

    CANARY = "canary"
    CONTROL = "control"


@dataclass(frozen=True)
class ArmWindow:
    """One arm in one window. Counts are sums over its nodes; ``start_us`` is event time, UTC us."""

    start_us: int
    window_s: float
    arm: Arm
    nodes: int  # that reported
    # From nodes' reports (the live model's figures):
    frames: int
    errors: int  # frames on which the model failed; they are not among ``frames``
    detections: int
    score_counts: tuple[int, ...]  # rollout.SCORE_BINS
    class_counts: Mapping[str, int]
    latency_counts: tuple[int, ...]  # len(rollout.LATENCY_EDGES_MS) + 1
    # From the detections topic, by model version, as cameras' classes and selection let it through; 0 and empty where nothing
    # came:
    received_frames: int = 0
    received_detections: int = 0
    received_score_counts: tuple[int, ...] = ()
    received_class_counts: Mapping[str, int] = field(default_factory=dict)
    # Downstream: tracks that began, by model version; None where the tracker does not run.
    tracks: int | None = None

    @property
    def analysed_frames(self) -> int:
        """Frames that the nodes tell of; where reports were lost, at least those that came."""
        return max(self.frames, self.received_frames)


def as_received(window: ArmWindow) -> ArmWindow:
    """The window with the centre's counts in the place of the nodes' own; a frame that never came is one without detections."""
    return replace(
        window,
        frames=window.analysed_frames,
        detections=window.received_detections,
        score_counts=window.received_score_counts,
        class_counts=window.received_class_counts,
    )


@dataclass(frozen=True)
class ShadowWindow:
    """The candidate in the canary nodes' shadow, in one window: its own figures, and its agreement with the live model."""

    start_us: int
    window_s: float
    nodes: int
    frames: int
    errors: int
    detections: int
    live_detections: int
    score_counts: tuple[int, ...]
    live_score_counts: tuple[int, ...]
    class_counts: Mapping[str, int]
    live_class_counts: Mapping[str, int]
    latency_counts: tuple[int, ...]
    live_latency_counts: tuple[int, ...]
    matched: int
    only_live: int
    only_shadow: int
    iou_sum: float
    score_gap_sum: float
