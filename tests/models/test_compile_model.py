from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from cell_detector import cell_detector, pictures, write_cell_detector
from onnx import numpy_helper

from sightline.models import open_detector
from sightline_contract.errors import ModelError, ParityError
from sightline_contract.parity import read_golden
from sightline_contract.targets import Precision, Target
from sightline_edge.detector import Detector
from sightline_models.compile.calibration import quantize
from sightline_models.compile.compile import Accuracy, Compiled, Order, compile_model
from sightline_models.compile.dynamic_batch import free_batch
from sightline_models.compile.golden import Clip, Detects
from sightline_models.compile.targets import target_here


def order(tmp_path: Path, target: str, calibration: list[np.ndarray] | None = None, **more: object) -> Order:
    folder = tmp_path / "cells"
    if not folder.exists():
        write_cell_detector(folder)
    clip = Clip(tuple(pictures(6)), tuple(pictures(8) if calibration is None else calibration))
    settings = {"open_detector": open_detector} | more
    return Order(folder, target_here(target), clip, tmp_path / "out", tmp_path / "caches", **settings)


@pytest.mark.parametrize("target", ["onnxruntime:fp32", "onnxruntime:int8", "openvino:fp32", "openvino:int8"])
def test_an_engine_sees_what_the_model_sees_and_takes_several_pictures(target: str, tmp_path: Path) -> None:
    logged: list[Compiled] = []
    done = compile_model(order(tmp_path, target), logged.append)
    assert logged == [done]
    assert (done.folder, done.engine) == (tmp_path / "out", tmp_path / "out" / "engine")
    assert done.parity.sure_golden > 50
    assert done.parity.agreement == 1
    assert done.figures()["engine_bytes"] == done.engine.stat().st_size
    assert not list(tmp_path.glob(".compile-*"))

    detector = Detector(done.folder, 0.1, 1, 4, done.target)
    assert detector.max_batch == 4
    found = detector.detect([detector.prepare(picture) for picture in pictures(4)])
    plain = Detector(tmp_path / "cells", 0.1, 1, 4)
    assert [len(each) for each in found] == [len(each) for each in plain.see(pictures(4), 0.1)]
    detector.close()


def test_eight_bits_are_in_the_engine_and_not_in_the_sensitive_layers(tmp_path: Path) -> None:
    done = compile_model(order(tmp_path, "onnxruntime:int8"))
    assert done.engine is not None
    nodes = {node.name: node for node in onnx.load(done.engine).graph.node}
    made = {output: node for node in nodes.values() for output in node.output}

    def quantized(name: str) -> list[bool]:
        return [(made.get(i) is not None and made[i].op_type == "DequantizeLinear") for i in nodes[name].input]

    assert quantized("middle") == [True, True]
    assert quantized("first") == quantized("last") == [False, False]


def with_dead_excitation() -> onnx.ModelProto:
    """The cells' model with a squeeze and excitation in its middle, of which all but a bias is next to nothing."""
    model = free_batch(cell_detector(), "cells")
    channels, nothing = 4, np.float32(1e-5)
    bias = np.full(channels, 2.5, np.float32)
    weights = {"squeezing": np.eye(channels) * nothing, "exciting": np.eye(channels) * nothing, "strength": bias}
    model.graph.initializer.extend(
        numpy_helper.from_array(value.astype(np.float32).reshape((channels, -1, 1, 1) if value.ndim == 2 else -1), name)
        for name, value in weights.items()
    )
    places = {node.name: index for index, node in enumerate(model.graph.node)}
    last = model.graph.node[places["last"]]
    last.input[0] = "gated"
    parts = [
        onnx.helper.make_node("GlobalAveragePool", ["lit"], ["pooled"]),
        onnx.helper.make_node("Conv", ["pooled", "squeezing"], ["squeezed"], name="squeeze"),
        onnx.helper.make_node("Conv", ["squeezed", "exciting", "strength"], ["gate"], name="excite"),
        onnx.helper.make_node("Mul", ["lit", "gate"], ["gated"]),
    ]
    for place, part in enumerate(parts, places["last"]):
        model.graph.node.insert(place, part)
    return model


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.FP8])
def test_a_squeezed_layer_that_is_all_but_dead_costs_no_object(precision: Precision) -> None:
    model = with_dead_excitation()
    inputs = [np.moveaxis(picture, 2, 0)[None].astype(np.float32) for picture in pictures(8)]
    quantized = quantize(model, iter(inputs), precision, "cells")
    sessions = [
        ort.InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"]) for each in (model, quantized)
    ]
    for picture in inputs:
        plain, eight_bits = (session.run(None, {"image": picture})[0][..., 4] for session in sessions)
        assert plain.max() > 1
        np.testing.assert_allclose(eight_bits, plain, atol=0.1)


def test_the_golden_clip_travels_with_the_engine(tmp_path: Path) -> None:
    done = compile_model(order(tmp_path, "openvino:fp32"))
    golden = read_golden(done.folder / "golden.npz")
    assert golden.frames.shape == (6, 64, 64, 3)
    assert sum(len(seen.scores) for seen in golden.seen) >= done.parity.sure_golden


def spoiled(factor: float) -> object:
    """Opens the engine after its weights were changed, as a compiler with a fault would."""

    def opener(folder: Path, target: Target | None) -> Detects:
        if target is not None:
            model = onnx.load(folder / "engine")
            for initializer in model.graph.initializer:
                if initializer.name == "mix":
                    initializer.CopyFrom(
                        numpy_helper.from_array(numpy_helper.to_array(initializer) * np.float32(factor), "mix")
                    )
            onnx.save(model, folder / "engine")
        return open_detector(folder, target)

    return opener


@pytest.mark.parametrize("factor", [0.9, 0.3])
def test_an_engine_with_other_weights_is_refused_with_its_figures_and_nothing_is_left(factor: float, tmp_path: Path) -> None:
    logged: list[Compiled] = []
    refusals: list[str] = []
    said = r"cells for onnxruntime-any-.*does not see what the model sees \(.*(score gap|agree)"
    with pytest.raises(ParityError, match=said) as error:
        compile_model(order(tmp_path, "onnxruntime:fp32", open_detector=spoiled(factor)), logged.append, refusals.append)
    assert (logged, refusals) == ([], [str(error.value)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells"]


def test_what_was_compiled_before_stays_when_a_new_engine_is_refused(tmp_path: Path) -> None:
    before = compile_model(order(tmp_path, "onnxruntime:fp32"))
    assert before.engine is not None
    content = before.engine.read_bytes()
    with pytest.raises(ModelError, match="does not see"):
        compile_model(order(tmp_path, "onnxruntime:fp32", open_detector=spoiled(0.5)))
    assert before.engine.read_bytes() == content


def test_eight_bits_that_were_calibrated_with_the_wrong_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"does not see what the model sees .* objects missed"):
        compile_model(order(tmp_path, "openvino:int8", calibration=pictures(8, bright=30, dark=5)))


def falling(first: float, second: float) -> Accuracy:
    told = iter((first, second))
    return lambda _: next(told)


def test_eight_bits_that_lose_too_much_on_labelled_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"loses too much \(mAP50 0\.470, 0\.500 at full precision\)"):
        compile_model(order(tmp_path, "onnxruntime:int8", accuracy=falling(0.5, 0.47)))
    done = compile_model(order(tmp_path, "onnxruntime:int8", accuracy=falling(0.5, 0.49)))
    assert (done.map50, done.map50_full, done.sure_agreement) == (0.49, 0.5, None)


def test_a_clip_that_shows_the_model_nothing_tells_nothing(tmp_path: Path) -> None:
    dark = Clip(tuple(np.zeros((2, 64, 64, 3), np.uint8)), tuple(pictures(2)))
    asked = order(tmp_path, "onnxruntime:fp32")
    refusals: list[str] = []
    with pytest.raises(ModelError, match="the golden clip shows the model nothing"):
        compile_model(Order(asked.folder, asked.target, dark, asked.out, asked.caches, open_detector), None, refusals.append)
    assert refusals == []


def test_a_model_without_convolutions_has_nothing_to_quantize(tmp_path: Path) -> None:
    model = cell_detector()
    for node in model.graph.node:
        if node.name == "middle":
            node.op_type = "Identity"
            del node.input[1:]
    folder = write_cell_detector(tmp_path / "cells", model)
    with pytest.raises(ModelError, match="nothing to quantize"):
        compile_model(Order(folder, target_here("onnxruntime:int8"), Clip(tuple(pictures(2)), tuple(pictures(2))),
                            tmp_path / "out", tmp_path, open_detector))  # fmt: skip
