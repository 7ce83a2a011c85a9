"""Models with 8-bit arithmetic: ranges of activations from a clip, written into the ONNX file as Q/DQ nodes.

A QuantizeLinear and a DequantizeLinear around a tensor say explicitly what runs with 8 bits and at which scale (Jacob et al.,
arXiv:1712.05877; NVIDIA's "Working with Quantized Types" calls it explicit quantization, and its implicit calibrators
deprecated since TensorRT 10.1). One file so serves TensorRT, OpenVINO and ONNX Runtime, and the gates judge the same numbers
everywhere. Scales are symmetric, which TensorRT asks for: int8 per output channel of weights, fp8 (E4M3) per tensor.

Convolutions are quantized, but for four kinds, which all do little of the arithmetic. The first one sees the picture, whose
256 steps of brightness its few channels need. Depthwise ones have ranges that differ by channel more than one scale can hold
(Sheng et al., arXiv:1803.08607). The ones that make the predictions give boxes and scores as they are. With these three
YOLOX-nano loses most of its objects, without them none. The ones that see one value a channel (squeeze and excitation, Hu et
al., arXiv:1709.01507) can be all but dead, and the scale of next to nothing is next to nothing: runtimes count the bias in
steps of both scales, where it overflows. One such layer cost CenterNet half of its objects at fp8.
"""

import io
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper, version_converter

from sightline_contract.errors import ModelError
from sightline_contract.targets import Precision

Floats = npt.NDArray[np.float32]

# The first that quantizes per channel is 13, and fp8 came with 19.
OPSETS: Final = {Precision.INT8: 17, Precision.FP8: 19}
# Of the activations' magnitudes: the rest is clipped, so that a few outliers do not cost all others their steps.
_PERCENTILE: Final = 99.999
_FP8_IR_VERSION = 9
_INT8_LARGEST, _FP8_LARGEST = 127.0, 448.0


def quantize(model: onnx.ModelProto, batches: Iterable[Floats], precision: Precision, name: str) -> onnx.ModelProto:
    """The model with Q/DQ nodes for ``precision``, int8 or fp8; ``batches`` [B, ...] are what it will see.

    Raises ModelError where it has no convolution or cannot be quantized.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    try:
        newer = version_converter.convert_version(model, OPSETS[precision])
        with tempfile.TemporaryDirectory(prefix="sightline-quantize-") as work:
            plain, quantized = Path(work) / "plain.onnx", Path(work) / "quantized.onnx"
            newer = onnx.shape_inference.infer_shapes(newer)
            onnx.save(newer, plain)
            with _hushed():
                quantize_static(
                    plain,
                    quantized,
                    _Reader(_input_name(newer), batches),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=["Conv"],
                    nodes_to_exclude=sensitive_layers(newer.graph),
                    per_channel=precision is Precision.INT8,
                    activation_type=QuantType.QInt8,
                    weight_type=QuantType.QInt8,
                    calibrate_method=CalibrationMethod.Percentile,
                    extra_options={
                        "ActivationSymmetric": True,
                        "WeightSymmetric": True,
                        "QuantizeBias": False,  # TensorRT adds it at full precision
                        "AddQDQPairToWeight": True,
                        "CalibPercentile": _PERCENTILE,
                    },
                )
            done = onnx.load(quantized)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(f"{name}: cannot be quantized to {precision} ({reason}): compile it for fp16") from error
    if not any(node.op_type == "QuantizeLinear" for node in done.graph.node):
        raise ModelError(f"{name}: has nothing to quantize to {precision}: compile it for fp16")
    return _as_fp8(done) if precision is Precision.FP8 else done


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep to itself what the calibrator tells of its histograms, and its advice to simplify the model beforehand."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def sensitive_layers(graph: onnx.GraphProto) -> list[str]:
    """Names of the convolutions that stay as they are; where no shapes are stated, none counts as squeezed."""
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    first = [node.name for node in convolutions[:1]]
    depthwise = [node.name for node in convolutions if any(a.name == "group" and a.i > 1 for a in node.attribute)]
    shapes = {value.name: value.type.tensor_type.shape.dim for value in graph.value_info}
    squeezed = [node.name for node in convolutions if _is_one_place(shapes.get(node.output[0], ()))]
    return sorted({*first, *depthwise, *squeezed, *prediction_layers(graph)})


def _is_one_place(shape: Sequence[onnx.TensorShapeProto.Dimension]) -> bool:
    """Whether a tensor (N, C, height, width) has one value a channel."""
    return len(shape) > 2 and all(size.dim_value == 1 for size in shape[2:])


def prediction_layers(graph: onnx.GraphProto) -> list[str]:
    """Names of the convolutions behind which there is no other one."""
    made = {output: node for node in graph.node for output in node.output}
    waiting, seen, last = [value.name for value in graph.output], set(), []
    while waiting:
        node = made.get(waiting.pop())
        if node is None or node.output[0] in seen:
            continue
        seen.add(node.output[0])
        if node.op_type == "Conv":
            last.append(node.name)
        else:
            waiting.extend(node.input)
    return sorted(last)


def _as_fp8(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same ranges in E4M3 instead of int8: the largest value becomes 448 instead of 127."""
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    scales, zeros = {node.input[1] for node in pairs}, {node.input[2] for node in pairs}
    for index, initializer in enumerate(model.graph.initializer):
        if initializer.name in scales:
            scale = numpy_helper.to_array(initializer) * np.float32(_INT8_LARGEST / _FP8_LARGEST)
            model.graph.initializer[index].CopyFrom(numpy_helper.from_array(scale.astype(np.float32), initializer.name))
        elif initializer.name in zeros:
            zero = onnx.helper.make_tensor(initializer.name, TensorProto.FLOAT8E4M3FN, initializer.dims, b"\0", raw=True)
            model.graph.initializer[index].CopyFrom(zero)
    del model.graph.value_info[:]  # they state the old types
    model.ir_version = max(model.ir_version, _FP8_IR_VERSION)
    return model


def _input_name(model: onnx.ModelProto) -> str:
    weights = {initializer.name for initializer in model.graph.initializer}
    return str(next(value.name for value in model.graph.input if value.name not in weights))


class _Reader:
    """What ONNX Runtime's calibrator asks for."""

    def __init__(self, name: str, batches: Iterable[Floats]) -> None:
        self._name = name
        self._batches: Iterator[Floats] = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}
