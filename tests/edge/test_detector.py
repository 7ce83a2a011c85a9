import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sightline_contract.errors import ConfigError, ModelError
from sightline_edge.detector import Detector

RED_BGR = np.full((48, 64, 3), (0, 0, 255), np.uint8)
BLUE_BGR = np.full((48, 64, 3), (255, 0, 0), np.uint8)


def detector(folder: Path) -> Detector:
    return Detector(folder, min_score=0.1, threads=1, max_batch=8)


def test_pictures_of_several_cameras_go_through_the_model_at_once(make_model: Callable[..., Path]) -> None:
    model = detector(make_model())
    red, blue = model.detect([model.prepare(RED_BGR), model.prepare(BLUE_BGR)])
    assert (red.labels.tolist(), blue.labels.tolist()) == ([0], [2])
    assert red.scores.tolist() == [1.0]
    assert red.boxes[0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.9])
    assert len(model.inference_ms) == 1
    assert model.inference_percentile_ms(50) > 0


def test_a_call_takes_what_the_given_clock_says(make_model: Callable[..., Path]) -> None:
    times_s = iter([1.0, 1.25])
    model = Detector(make_model(), 0.3, 1, 4, clock_s=lambda: next(times_s))
    model.detect([model.prepare(np.zeros((32, 32, 3), np.uint8))])
    assert list(model.inference_ms) == [250.0]


def test_a_folder_that_is_no_model_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="sightline models pull"):
        detector(tmp_path)


def test_a_model_file_that_was_exchanged_is_named(make_model: Callable[..., Path]) -> None:
    folder = make_model()
    (folder / "model.onnx").write_bytes(b"another file")
    with pytest.raises(ModelError, match="is not the file that its card names"):
        detector(folder)


def test_a_file_that_is_not_onnx_is_named(make_model: Callable[..., Path]) -> None:
    content = b"no model at all"
    folder = make_model(digest=f"sha256:{hashlib.sha256(content).hexdigest()}")
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx: is not an ONNX model that can run here"):
        detector(folder)


def test_a_broken_card_is_named(make_model: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"card\.yaml: output\.decode"):
        detector(make_model(output={"name": "found", "decode": "magic"}))


def test_a_card_of_another_model_is_named(make_model: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match="has no tensor 'boxes'"):
        detector(make_model(output={"name": "boxes", "decode": "boxes_score_class"}))


def test_a_card_with_the_wrong_input_size_is_named_when_a_picture_comes(make_model: Callable[..., Path]) -> None:
    wrong = {"name": "image", "size": [20, 20], "layout": "NHWC", "channels": "RGB", "resize": "stretch"}
    model = detector(make_model(input=wrong))
    with pytest.raises(ModelError, match="does not take or give what its card says"):
        model.detect([model.prepare(RED_BGR)])
