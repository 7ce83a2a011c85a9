"""The conversion against TensorFlow's definitions of the operations, written out in numpy, channels last."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from sightline_contract.errors import ModelError
from sightline_models.onnx_builder import OnnxBuilder
from sightline_models.tfjs import read_graph_model
from sightline_models.tfjs_to_onnx import Image, translate

SIZE, CHANNELS = 9, 3
ONES = [1, 1, 1, 1]
random = np.random.default_rng(3)
PICTURE = random.uniform(-2, 2, (SIZE, SIZE, CHANNELS)).astype(np.float32)


def converted(graph_model: Any, folder: Path, output: str) -> np.ndarray:
    """Value of ``output`` for PICTURE, computed by the ONNX conversion; height, width, channels."""
    builder = OnnxBuilder()
    image = Image(builder.node("Transpose", "picture", perm=[0, 3, 1, 2]), CHANNELS, SIZE, SIZE)
    (result,) = translate(read_graph_model(graph_model.write(folder)), builder, {"x": image}, (output,))
    builder.rename(result.name, "result")
    shape = [1, result.channels, result.height, result.width]
    model = builder.model("test", {"picture": [1, SIZE, SIZE, CHANNELS]}, {"result": shape})
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"picture": PICTURE[None]})[0][0].transpose(1, 2, 0)


def same_convolution(x: np.ndarray, weights: np.ndarray, stride: int, *, depthwise: bool = False) -> np.ndarray:
    height, width = (-(-side // stride) for side in x.shape[:2])
    kernel = weights.shape[0]
    total = max((height - 1) * stride + kernel - x.shape[0], 0)
    before = total // 2
    padded = np.pad(x, ((before, total - before), (before, total - before), (0, 0)))
    channels = weights.shape[2] * weights.shape[3] if depthwise else weights.shape[3]
    out = np.zeros((height, width, channels))
    for row in range(height):
        for column in range(width):
            patch = padded[row * stride : row * stride + kernel, column * stride : column * stride + kernel]
            if depthwise:
                out[row, column] = np.einsum("ijc,ijcm->cm", patch, weights).ravel()
            else:
                out[row, column] = np.einsum("ijc,ijco->o", patch, weights)
    return out


def normal(*shape: int) -> np.ndarray:
    return random.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_fused_convolution(graph_model: Any, tmp_path: Path, stride: int) -> None:
    weights, bias = normal(3, 3, CHANNELS, 4), normal(4)
    graph_model.constant("w", weights)
    graph_model.constant("b", bias)
    graph_model.node(
        "y", "_FusedConv2D", "x", "w", "b", padding="SAME", strides=[1, stride, stride, 1], fused_ops=["BiasAdd", "Relu6"]
    )
    expected = np.clip(same_convolution(PICTURE, weights, stride) + bias, 0, 6)
    assert np.allclose(converted(graph_model, tmp_path, "y"), expected, atol=1e-4)


@pytest.mark.parametrize(("stride", "multiplier"), [(1, 1), (2, 1), (1, 2)])
def test_a_depthwise_convolution(graph_model: Any, tmp_path: Path, stride: int, multiplier: int) -> None:
    weights = normal(5, 5, CHANNELS, multiplier)
    graph_model.constant("w", weights)
    graph_model.node("y", "DepthwiseConv2dNative", "x", "w", padding="SAME", strides=[1, stride, stride, 1])
    expected = same_convolution(PICTURE, weights, stride, depthwise=True)
    assert np.allclose(converted(graph_model, tmp_path, "y"), expected, atol=1e-4)


def test_a_convolution_without_padding_then_a_second_one(graph_model: Any, tmp_path: Path) -> None:
    first, second = normal(3, 3, CHANNELS, 4), normal(1, 1, 4, 2)
    graph_model.constant("w1", first)
    graph_model.constant("w2", second)
    graph_model.node("a", "Conv2D", "x", "w1", padding="VALID", strides=[1, 2, 2, 1])
    graph_model.node("y", "Conv2D", "a", "w2", padding="SAME", strides=ONES)
    inner = same_convolution(PICTURE, first, 1)[1:-1, 1:-1][::2, ::2]
    assert np.allclose(converted(graph_model, tmp_path, "y"), inner @ second[0, 0], atol=1e-4)


def test_squeeze_and_excite_scales_each_channel(graph_model: Any, tmp_path: Path) -> None:
    graph_model.constant("axes", np.array([1, 2], np.int32))
    graph_model.constant("offset", np.array([0.5, -1, 2], np.float32))
    graph_model.node("mean", "Mean", "x", "axes", keep_dims=True)
    graph_model.node("shifted", "Add", "mean", "offset")
    graph_model.node("factor", "Sigmoid", "shifted")
    graph_model.node("y", "Mul", "x", "factor")
    factor = 1 / (1 + np.exp(-(PICTURE.mean(axis=(0, 1)) + np.array([0.5, -1, 2]))))
    assert np.allclose(converted(graph_model, tmp_path, "y"), PICTURE * factor, atol=1e-5)


def test_hard_swish_and_hard_sigmoid_are_recognised(graph_model: Any, tmp_path: Path) -> None:
    graph_model.constant("three", np.array([3], np.float32))
    graph_model.constant("sixth", np.array([1 / 6], np.float32), {"dtype": "float16"})
    graph_model.node("plus", "Add", "x", "three")
    graph_model.node("clipped", "Relu6", "plus")
    graph_model.node("x_sixth", "Mul", "sixth", "x")
    graph_model.node("swish", "Mul", "x_sixth", "clipped")
    graph_model.node("sigmoid", "Mul", "sixth", "clipped")
    hard_sigmoid = np.clip(PICTURE + 3, 0, 6) / 6
    assert np.allclose(converted(graph_model, tmp_path, "swish"), PICTURE * hard_sigmoid, atol=1e-5)
    assert np.allclose(converted(graph_model, tmp_path, "sigmoid"), hard_sigmoid, atol=1e-5)


def test_a_legacy_bilinear_resize_and_a_concatenation(graph_model: Any, tmp_path: Path) -> None:
    graph_model.constant("size", np.array([18, 18], np.int32))
    graph_model.constant("axis", np.array(3, np.int32))
    graph_model.node("big", "ResizeBilinear", "x", "size", align_corners=False, half_pixel_centers=False)
    graph_model.node("y", "ConcatV2", "big", "big", "axis")
    where = np.arange(18) / 2
    low = np.floor(where).astype(int)
    high, part = np.minimum(low + 1, SIZE - 1), (where - low)[:, None]
    rows = PICTURE[low] * (1 - part[:, None]) + PICTURE[high] * part[:, None]
    expected = rows[:, low] * (1 - part) + rows[:, high] * part
    result = converted(graph_model, tmp_path, "y")
    assert np.allclose(result[..., :3], expected, atol=1e-5)
    assert np.allclose(result[..., 3:], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("quantisation", "tolerance"), [({"dtype": "float16"}, 2e-3), ({"dtype": "uint8", "scale": 0.02, "min": -2.5}, 1.1e-2)]
)
def test_quantised_weights_are_restored(
    graph_model: Any, tmp_path: Path, quantisation: dict[str, Any], tolerance: float
) -> None:
    value = random.uniform(-2, 2, (4, 5)).astype(np.float32)
    graph_model.constant("w", value, quantisation)
    restored = read_graph_model(graph_model.write(tmp_path)).constants["w"]
    assert restored.dtype == np.float32
    assert np.abs(restored - value).max() < tolerance


@pytest.mark.parametrize(
    ("op", "attributes", "says"),
    [
        ("Softmax", {}, "'y': operation Softmax cannot be converted"),
        ("Conv2D", {"padding": "EXPLICIT"}, "'y': a convolution with explicit padding"),
        ("Conv2D", {"padding": "SAME", "dilations": [1, 2, 2, 1]}, "'y': a convolution with explicit padding or dilation"),
        ("_FusedConv2D", {"padding": "SAME", "fused_ops": ["Elu"]}, "'y': activation Elu cannot be converted"),
    ],
)
def test_what_is_not_known_is_refused_by_name(
    graph_model: Any, tmp_path: Path, op: str, attributes: dict[str, Any], says: str
) -> None:
    graph_model.constant("w", normal(1, 1, CHANNELS, 2))
    graph_model.node("y", op, "x", "w", **attributes)
    with pytest.raises(ModelError, match=says):
        converted(graph_model, tmp_path, "y")


def test_a_file_that_is_no_graph_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text("{}")
    with pytest.raises(ModelError, match=r"model\.json: is not a TensorFlow\.js graph model"):
        read_graph_model(path)


def test_weights_that_are_cut_off_are_noticed(graph_model: Any, tmp_path: Path) -> None:
    graph_model.constant("w", normal(10))
    path = graph_model.write(tmp_path)
    (tmp_path / "shard2.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="with its weights"):
        read_graph_model(path)
