import threading

import numpy as np
import pytest

from sightline_contract.agreement import Agreement
from sightline_contract.rollout import LATENCY_EDGES_MS, SCORE_BINS, ModelRef, Slot
from sightline_edge.postprocessing import Detections
from sightline_edge.rollout.figures import SlotFigures

REF = ModelRef(model_name="pictures", model_version="2")
LABELS = ("person", "car", "dog")


def found(*pairs: tuple[float, int]) -> Detections:
    scores, labels = np.array([pair[0] for pair in pairs], np.float32), np.array([pair[1] for pair in pairs], np.int64)
    return Detections(np.zeros((len(pairs), 4), np.float32), scores, labels)


def test_scores_classes_and_latencies_are_counted_until_they_are_taken() -> None:
    figures = SlotFigures(REF, Slot.LIVE, LABELS)
    figures.add(found((0.0, 0), (0.5, 2), (1.0, 2)), 12.0)
    figures.add(found(), 0.001)
    figures.add(found(), 1e6)
    taken = figures.take()
    assert (taken.frames, taken.detections, taken.errors, taken.class_counts) == (3, 3, 0, {"person": 1, "dog": 2})
    assert {i: count for i, count in enumerate(taken.score_counts) if count} == {0: 1, SCORE_BINS // 2: 1, SCORE_BINS - 1: 1}
    at = [i for i, count in enumerate(taken.latency_counts) if count]
    assert at[0] == 0
    assert LATENCY_EDGES_MS[at[1] - 1] < 12.0 <= LATENCY_EDGES_MS[at[1]]
    assert at[2] == len(LATENCY_EDGES_MS)
    assert figures.take() is None


def test_a_batch_of_frames_is_one_inference() -> None:
    figures = SlotFigures(REF, Slot.LIVE, LABELS)
    for latency_ms in (5.0, None, None):
        figures.add(found((0.3, 1)), latency_ms)
    taken = figures.take()
    assert (taken.frames, sum(taken.latency_counts)) == (3, 1)


def test_agreements_and_errors_add_up() -> None:
    figures = SlotFigures(REF, Slot.SHADOW, LABELS)
    figures.add_agreement(Agreement(2, 1, 0, 1.5, 0.1))
    figures.add_agreement(Agreement(1, 0, 3, 0.9, 0.2))
    figures.add_errors(2)
    taken = figures.take()
    assert (taken.slot, taken.errors, taken.frames) == (Slot.SHADOW, 2, 0)
    assert (taken.matched, taken.only_live, taken.only_shadow) == (3, 1, 3)
    assert (taken.iou_sum, taken.score_gap_sum) == pytest.approx((2.4, 0.3))


def test_no_frame_is_lost_between_two_reports_of_another_thread() -> None:
    figures = SlotFigures(REF, Slot.LIVE, LABELS)
    frames, counted, done = 20_000, 0, threading.Event()

    def count() -> None:
        for _ in range(frames):
            figures.add(found((0.4, 1)), 3.0)
        done.set()

    thread = threading.Thread(target=count)
    thread.start()
    while not done.is_set():
        taken = figures.take()
        counted += taken.frames if taken else 0
    thread.join()
    taken = figures.take()
    assert counted + (taken.frames if taken else 0) == frames
