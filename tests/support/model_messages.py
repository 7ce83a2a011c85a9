"""Nodes' reports on their models, made by hand."""

from collections.abc import Mapping

import numpy as np

from sightline_contract.rollout import LATENCY_EDGES_MS, SCORE_BINS, Figures, ModelRef, ModelStatus, Slot

START_US = 1_760_000_000_000_000
LATENCY_BINS = len(LATENCY_EDGES_MS) + 1


def figures(
    version: str,
    slot: Slot = Slot.LIVE,
    *,
    name: str = "street",
    frames: int = 50,
    detections: int = 100,
    errors: int = 0,
    score: float = 0.7,
    latency_ms: float = 20.0,
    classes: Mapping[str, int] | None = None,
    matched: int = 0,
    only: tuple[int, int] = (0, 0),
) -> Figures:
    """Figures in which every detection has one score and every inference one latency."""
    scores, latencies = [0] * SCORE_BINS, [0] * LATENCY_BINS
    scores[min(int(score * SCORE_BINS), SCORE_BINS - 1)] = detections
    latencies[int(np.searchsorted(LATENCY_EDGES_MS, latency_ms))] = frames - errors
    return Figures(
        model_name=name, model_version=version, slot=slot, frames=frames, errors=errors, detections=detections,
        score_counts=tuple(scores), class_counts=dict(classes or {"person": detections}), latency_counts=tuple(latencies),
        matched=matched, only_live=only[0], only_shadow=only[1], iou_sum=0.9 * matched, score_gap_sum=0.01 * matched,
    )  # fmt: skip


def report(node: str, second: float, *told: Figures, span_s: float = 5, **fields: object) -> ModelStatus:
    """A node's report of the ``span_s`` seconds before ``second`` after START_US; its first live figures name its model."""
    live = next(each for each in told if each.slot is Slot.LIVE)
    shadow = next((each for each in told if each.slot is Slot.SHADOW), None)
    status = ModelStatus(
        node_id=node, site="north", hardware="onnxruntime-any-x86_64-fp32", targets=("onnxruntime-any-x86_64-fp32",),
        from_us=START_US + round((second - span_s) * 1_000_000), reported_us=START_US + round(second * 1_000_000),
        live=ModelRef(model_name=live.model_name, model_version=live.model_version),
        shadow=ModelRef(model_name=shadow.model_name, model_version=shadow.model_version) if shadow else None,
        figures=told,
    )  # fmt: skip
    return status.model_copy(update=fields)
