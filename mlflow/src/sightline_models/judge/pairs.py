"""Pairs of windows: canary and control at the same time, put together until there is enough to look at.

Two groups of cameras see different streets, so their figures differ before anything is rolled out. ``Offset`` learns by how
much from windows in which both served the baseline; what is compared later is the change since (difference in differences).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import add

import numpy as np

from sightline_contract.rollout import LATENCY_EDGES_MS, SCORE_BINS
from sightline_models.judge.distances import Counts, class_counts, counts_of
from sightline_models.judge.figures import Arm, ArmWindow, as_received

_HOUR_US = 3600 * 1_000_000
LATENCY_BINS = len(LATENCY_EDGES_MS) + 1
# What a bin's share may have differed by before: more is noise of thin bins.
_MOST_RATIO = 4.0
_THIN = 5.0  # counts that are added to each bin before a ratio is taken


@dataclass(frozen=True)
class Pair:
    """Both arms over the same time."""

    canary: ArmWindow
    control: ArmWindow

    @property
    def hour(self) -> int:
        """Hour of the day (UTC) in which it begins; of windows put together, the last one."""
        return hour_of(self.canary.start_us)

    def __add__(self, later: "Pair") -> "Pair":
        return Pair(added(self.canary, later.canary), added(self.control, later.control))

    @property
    def received(self) -> "Pair":
        """Both arms as the centre received them."""
        return Pair(as_received(self.canary), as_received(self.control))


def hour_of(at_us: int) -> int:
    """Hour of the day, UTC."""
    return at_us // _HOUR_US % 24


def pairs_of(windows: Sequence[ArmWindow], until_us: int) -> list[Pair]:
    """Pairs of windows that are closed by ``until_us``, by time; a window whose other arm is missing makes none."""
    arms: dict[Arm, dict[int, ArmWindow]] = {arm: {} for arm in Arm}
    for window in windows:
        if window.start_us + window.window_s * 1e6 <= until_us and window.nodes:
            arms[window.arm][window.start_us] = window
    both = sorted(arms[Arm.CANARY].keys() & arms[Arm.CONTROL].keys())
    return [Pair(arms[Arm.CANARY][start], arms[Arm.CONTROL][start]) for start in both]


def pooled(pairs: Sequence[Pair], enough: Callable[[Pair], bool]) -> Iterator[Pair]:
    """Pairs put together with their successors until there is enough; a rest that is not enough waits for more."""
    rest: Pair | None = None
    for pair in pairs:
        rest = rest + pair if rest else pair
        if enough(rest):
            yield rest
            rest = None


def added(first: ArmWindow, later: ArmWindow) -> ArmWindow:
    """Sums of two windows of an arm. Its time is the later one's, its nodes those of the fuller one."""
    return replace(
        later,
        window_s=first.window_s + later.window_s,
        nodes=max(first.nodes, later.nodes),
        frames=first.frames + later.frames,
        errors=first.errors + later.errors,
        detections=first.detections + later.detections,
        score_counts=_sum(first.score_counts, later.score_counts),
        class_counts=_merged(first.class_counts, later.class_counts),
        latency_counts=_sum(first.latency_counts, later.latency_counts),
        received_frames=first.received_frames + later.received_frames,
        received_detections=first.received_detections + later.received_detections,
        received_score_counts=_sum(first.received_score_counts, later.received_score_counts),
        received_class_counts=_merged(first.received_class_counts, later.received_class_counts),
        tracks=None if first.tracks is None or later.tracks is None else first.tracks + later.tracks,
    )


def _sum(first: Sequence[int], later: Sequence[int]) -> tuple[int, ...]:
    if not first or not later:
        return tuple(first or later)
    return tuple(map(add, first, later))


def _merged(first: Mapping[str, int], later: Mapping[str, int]) -> dict[str, int]:
    return {name: first.get(name, 0) + later.get(name, 0) for name in first.keys() | later.keys()}


@dataclass(frozen=True)
class Offset:
    """What the arms differed by while both served the baseline; of no windows: nothing."""

    before: Pair | None = None

    @staticmethod
    def of(windows: Sequence[ArmWindow], until_us: int, least: int) -> "Offset":
        """The offset of at least so many pairs of windows; of fewer, none."""
        pairs = pairs_of(windows, until_us)
        if len(pairs) < least:
            return Offset()
        total = pairs[0]
        for pair in pairs[1:]:
            total = total + pair
        return Offset(total)

    @property
    def received(self) -> "Offset":
        """The offset of what the centre received; none where it received nothing of an arm."""
        if self.before is None or not (self.before.canary.received_frames and self.before.control.received_frames):
            return Offset()
        return Offset(self.before.received)

    def expected_scores(self, control: Counts) -> Counts:
        """The control's score histogram as it would look in the canary's streets."""
        if self.before is None:
            return control
        canary, reference = (counts_of(arm.score_counts, SCORE_BINS) for arm in (self.before.canary, self.before.control))
        return _reweighted(control, canary, reference)

    def expected_classes(self, control: Mapping[str, int]) -> dict[str, float]:
        """The control's class mix as it would look in the canary's streets."""
        if self.before is None:
            return {name: float(count) for name, count in control.items()}
        names = sorted(control)
        counts, canary, reference = class_counts(
            [control, *({name: mix.get(name, 0) for name in names} for mix in self._mixes())]
        )
        return dict(zip(names, _reweighted(counts, canary, reference).tolist(), strict=True))

    def _mixes(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        assert self.before is not None  # noqa: S101 - the caller has looked
        return self.before.canary.class_counts, self.before.control.class_counts

    def ratio(self, of: Callable[[ArmWindow], float | None]) -> float:
        """Canary over control of a figure, before; 1 where it was not measured."""
        if self.before is None:
            return 1.0
        canary, control = of(self.before.canary), of(self.before.control)
        return canary / control if canary and control else 1.0


def _reweighted(control: Counts, canary_before: Counts, control_before: Counts) -> Counts:
    """Bins times what their shares differed by before, with the control's total."""
    if not (control.sum() and canary_before.sum() and control_before.sum()):
        return control
    p, q = canary_before + _THIN, control_before + _THIN
    weighted = control * np.clip((p / p.sum()) / (q / q.sum()), 1 / _MOST_RATIO, _MOST_RATIO)
    return np.asarray(weighted * (control.sum() / weighted.sum()), dtype=np.float64)
