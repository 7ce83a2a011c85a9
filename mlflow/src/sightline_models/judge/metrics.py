"""The metrics of a comparison: what each pair of windows says of the canary, and whether it left its margin.

A metric here knows nothing of tests or decisions; it makes samples. The downstream metrics are what the centre received and
tracked, so that a version whose detections never arrive, or arrive as something else than what its node tells of them, is seen
even where its node is content. They compare the arms and not a node's report with what came of it: between these stand the
classes that a camera looks for and what a site forwards, which change with the street.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sightline_contract.rollout import SCORE_BINS
from sightline_models.judge import distances
from sightline_models.judge.dispersion import Dispersion
from sightline_models.judge.figures import ArmWindow, as_received
from sightline_models.judge.pairs import LATENCY_BINS, Offset, Pair, pooled
from sightline_models.judge.rules import Rules


@dataclass(frozen=True)
class Sample:
    """One window of one metric. ``at_us`` is where the window begins."""

    at_us: int
    hour: int
    canary: float
    control: float
    effect: float
    bad: bool


@dataclass(frozen=True)
class Series:
    """A metric over time. ``label`` is what an operator reads; ``p0`` the share of bad windows of a good version."""

    name: str
    label: str
    margin: float
    p0: float
    samples: list[Sample] = field(default_factory=list)


# name -> label; the order is that of tables.
LABELS = {
    "agreement": "agreement in the shadow: matched of all seen",
    "score_psi": "confidence: PSI",
    "score_ks": "confidence: KS distance",
    "mean_score": "confidence: difference of the mean score",
    "detections_per_frame": "detections a frame: ratio",
    "class_mix": "class mix: total variation",
    "latency_p95": "latency p95: ratio",
    "error_rate": "inference errors: rate above the control's",
    "gross_errors": "inference errors: rate",
    "received_per_frame": "detections a frame received at the centre: ratio",
    "received_score_ks": "confidence received at the centre: KS distance",
    "received_class_mix": "class mix received at the centre: total variation",
    "tracks_per_frame": "tracks a frame: ratio",
    "silence": "canaries that do not report: share above the control's",
    "reverted": "canaries that gave the version up: share",
    "silent_nodes": "canaries not heard of: share",
}
# Those of what left the nodes: a shadow's detections do not.
DOWNSTREAM = ("received_per_frame", "received_score_ks", "received_class_mix", "tracks_per_frame")


def error_rate(window: ArmWindow) -> float:
    """Frames on which the model failed, of those that it was given."""
    return window.errors / max(window.frames + window.errors, 1)


def detections_per_frame(window: ArmWindow) -> float:
    """Half a detection is added, so that none at all has a ratio, too."""
    return (window.detections + 0.5) / max(window.frames, 1)


def latency_p95(window: ArmWindow) -> float | None:
    """Milliseconds; None where nothing was inferred."""
    return latency_ms(window, 95)


def latency_ms(window: ArmWindow, percent: float) -> float | None:
    """A percentile in milliseconds; None where nothing was inferred."""
    counts = distances.counts_of(window.latency_counts, LATENCY_BINS)
    return distances.latency_percentile(counts, percent) if counts.sum() else None


def received_per_frame(window: ArmWindow) -> float | None:
    """Detections that reached the centre, a frame that was analysed; None where nothing came."""
    return detections_per_frame(as_received(window)) if window.received_frames else None


def tracks_per_frame(window: ArmWindow) -> float | None:
    """Tracks that began, a frame that was analysed; None where the tracker does not run."""
    return None if window.tracks is None else (window.tracks + 0.5) / max(window.analysed_frames, 1)


def series_of(pairs: Sequence[Pair], offset: Offset, rules: Rules, dispersion: Dispersion) -> list[Series]:
    """All metrics that compare the arms, over the same pairs. ``dispersion``: how many detections are one object's."""
    margins, share = rules.margins, rules.bad_share
    by_frames = list(pooled(pairs, lambda pair: _has_frames(pair, rules.min_frames)))
    least = max(rules.min_detections, rules.min_objects * dispersion.counts)
    least_scores = max(rules.min_detections, rules.min_objects * dispersion.scores)
    by_expected = list(pooled(pairs, lambda pair: _has_expected(pair, rules.min_frames, least)))
    by_detections = list(pooled(pairs, lambda pair: _has_detections(pair, least_scores)))
    by_mix = pooled(pairs, lambda pair: _has_detections(pair, least))
    by_few_frames = pooled(pairs, lambda pair: _has_attempts(pair, max(rules.min_frames // 10, 1)))
    by_tracks = list(pooled([p for p in pairs if p.canary.tracks is not None and p.control.tracks is not None], _has_tracks))
    return [
        *_scores(by_detections, offset, rules, dispersion),
        _ratio("detections_per_frame", detections_per_frame, by_expected, offset, margins.detections_ratio, share),
        _class_mix("class_mix", by_mix, offset, margins.class_mix, share),
        _ratio("latency_p95", latency_p95, by_frames, offset, margins.latency_p95_ratio, share, slower_only=True),
        _errors("error_rate", pooled(pairs, lambda p: _has_attempts(p, rules.min_frames)), margins.error_rate, share, True),
        _errors("gross_errors", by_few_frames, margins.gross_error_rate, rules.gross_share, False),
        *_received([pair.received for pair in pairs], offset.received, rules, least, least_scores),
        _ratio("tracks_per_frame", tracks_per_frame, by_tracks, offset, margins.tracks_ratio, share),
    ]


def _received(pairs: Sequence[Pair], offset: Offset, rules: Rules, least: float, least_scores: float) -> list[Series]:
    """The metrics of what the centre received; ``pairs`` and ``offset`` as received. A canary of which nothing comes is bad."""
    margins, share = rules.margins, rules.bad_share
    by_expected = list(pooled(pairs, lambda pair: _has_expected(pair, rules.min_frames, least)))
    by_scores = pooled(pairs, lambda pair: _has_detections(pair, least_scores))
    by_mix = pooled(pairs, lambda pair: _has_detections(pair, least))
    return [
        _ratio("received_per_frame", detections_per_frame, by_expected, offset, margins.received_ratio, share),
        _score_ks("received_score_ks", by_scores, offset, margins.received_score_ks, share),
        _class_mix("received_class_mix", by_mix, offset, margins.received_class_mix, share),
    ]


def _has_frames(pair: Pair, least: int) -> bool:
    return min(pair.canary.frames, pair.control.frames) >= least


def _has_attempts(pair: Pair, least: int) -> bool:
    return min(arm.frames + arm.errors for arm in (pair.canary, pair.control)) >= least


def _has_detections(pair: Pair, least: float) -> bool:
    return min(pair.canary.detections, pair.control.detections) >= least


def _has_expected(pair: Pair, frames: int, least: float) -> bool:
    """Enough detections if the canary's rate is the control's: a canary that sees nothing must not wait for ever."""
    expected = detections_per_frame(pair.control) * min(pair.canary.frames, pair.control.frames)
    return _has_frames(pair, frames) and expected >= least


def _has_tracks(pair: Pair) -> bool:
    """Thirty tracks are expected: their number's own noise is then below a fifth."""
    rate = tracks_per_frame(pair.control)
    return rate is not None and rate * min(pair.canary.analysed_frames, pair.control.analysed_frames) >= 30


def _sample(pair: Pair, canary: float, control: float, effect: float, bad: bool) -> Sample:
    return Sample(pair.canary.start_us, pair.hour, canary, control, effect, bad)


def _scores(pairs: Sequence[Pair], offset: Offset, rules: Rules, dispersion: Dispersion) -> list[Series]:
    """The PSI is what exceeds the one that so few objects have by chance."""
    margins = rules.margins
    limits = {"score_psi": margins.score_psi, "score_ks": margins.score_ks, "mean_score": margins.mean_score}
    made = {name: Series(name, LABELS[name], limit, rules.bad_share) for name, limit in limits.items()}
    for pair in pairs:
        canary, control = _score_counts(pair, offset)
        if not (canary.sum() and control.sum()):
            continue
        means = distances.mean_score(canary), distances.mean_score(control)
        effects = {
            "score_psi": max(distances.score_psi(canary, control) - dispersion.psi_noise(canary, control), 0.0),
            "score_ks": distances.ks_distance(canary, control),
            "mean_score": means[0] - means[1],
        }
        for name, effect in effects.items():
            made[name].samples.append(_sample(pair, *means, effect, abs(effect) > limits[name]))
    return list(made.values())


def _score_counts(pair: Pair, offset: Offset) -> tuple[distances.Counts, distances.Counts]:
    """The canary's score histogram, and the control's as it would be in the canary's streets."""
    canary, control = (distances.counts_of(arm.score_counts, SCORE_BINS) for arm in (pair.canary, pair.control))
    return canary, offset.expected_scores(control)


def _score_ks(name: str, pairs: Iterable[Pair], offset: Offset, margin: float, p0: float) -> Series:
    """The figures beside the distance are the mean scores."""
    series = Series(name, LABELS[name], margin, p0)
    for pair in pairs:
        canary, control = _score_counts(pair, offset)
        if not (canary.sum() and control.sum()):
            continue
        effect = distances.ks_distance(canary, control)
        means = distances.mean_score(canary), distances.mean_score(control)
        series.samples.append(_sample(pair, *means, effect, effect > margin))
    return series


def _class_mix(name: str, pairs: Iterable[Pair], offset: Offset, margin: float, p0: float) -> Series:
    """The figures beside the distance are the shares of the control's commonest class."""
    series = Series(name, LABELS[name], margin, p0)
    for pair in pairs:
        canary, control = distances.class_counts([pair.canary.class_counts, offset.expected_classes(pair.control.class_counts)])
        if not (canary.sum() and control.sum()):
            continue
        effect = distances.total_variation(canary, control)
        top = int(control.argmax())
        shares = float(canary[top] / canary.sum()), float(control[top] / control.sum())
        series.samples.append(_sample(pair, *shares, effect, effect > series.margin))
    return series


def _ratio(
    name: str,
    of: Callable[[ArmWindow], float | None],
    pairs: Sequence[Pair],
    offset: Offset,
    margin: float,
    p0: float,
    slower_only: bool = False,
) -> Series:
    series = Series(name, LABELS[name], margin, p0)
    expected = offset.ratio(of)
    for pair in pairs:
        canary, control = of(pair.canary), of(pair.control)
        if canary is None or not control:
            continue
        effect = canary / (control * expected)
        bad = effect > margin or (not slower_only and effect < 1 / margin)
        series.samples.append(_sample(pair, canary, control * expected, effect, bad))
    return series


def _errors(name: str, pairs: Iterable[Pair], margin: float, p0: float, above_control: bool) -> Series:
    series = Series(name, LABELS[name], margin, p0)
    for pair in pairs:
        canary, control = error_rate(pair.canary), error_rate(pair.control)
        effect = canary - control if above_control else canary
        series.samples.append(_sample(pair, canary, control, effect, effect > margin))
    return series
