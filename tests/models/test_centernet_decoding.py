"""Reading boxes from CenterNet's maps, against the definition."""

import numpy as np
import onnxruntime as ort
import pytest

from sightline_models.centernet import DETECTIONS, INPUT_SIZE_PX, boxes_at_peaks
from sightline_models.onnx_builder import OnnxBuilder
from sightline_models.tfjs_to_onnx import Image

CLASSES, SIDE = 3, 16
STRIDE_PX = INPUT_SIZE_PX / SIDE


def decoded(logits: np.ndarray, distances: np.ndarray) -> np.ndarray:
    builder = OnnxBuilder()
    boxes = boxes_at_peaks(builder, Image("logits", CLASSES, SIDE, SIDE), Image("distances", 4, SIDE, SIDE))
    builder.rename(boxes, "boxes")
    shapes = {"logits": [1, CLASSES, SIDE, SIDE], "distances": [1, 4, SIDE, SIDE]}
    model = builder.model("decoding", shapes, {"boxes": [1, DETECTIONS, 6]})
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"logits": logits[None], "distances": distances[None]})[0][0]


def test_a_peak_becomes_a_box_and_its_neighbours_do_not() -> None:
    logits = np.full((CLASSES, SIDE, SIDE), -20, np.float32)
    logits[2, 4, 5], logits[2, 4, 6], logits[2, 5, 5] = 3.0, 2.5, 2.9
    distances = np.zeros((4, SIDE, SIDE), np.float32)
    distances[:, 4, 5] = [10, 20, 30, 40]
    best, second, *_ = decoded(logits, distances)
    x, y = 5 * STRIDE_PX, 4 * STRIDE_PX
    assert (best[:4] * INPUT_SIZE_PX).tolist() == pytest.approx([x - 10, y - 20, x + 30, y + 40])
    assert best[4] == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-6)
    assert best[5] == 2
    assert second[4] < 1e-6


def test_peaks_of_all_classes_come_best_first() -> None:
    logits = np.full((CLASSES, SIDE, SIDE), -20, np.float32)
    for strength, (class_id, row, column) in enumerate([(0, 2, 2), (1, 2, 2), (2, 9, 15), (0, 15, 0)]):
        logits[class_id, row, column] = strength
    found = decoded(logits, np.zeros((4, SIDE, SIDE), np.float32))[:4]
    assert found[:, 5].tolist() == [0, 2, 1, 0]
    assert found[0, :2].tolist() == [0, 15 / SIDE]
    assert found[1, :2].tolist() == [15 / SIDE, 9 / SIDE]
