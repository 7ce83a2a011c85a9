"""Translating the convolutional part of a TensorFlow.js graph model into ONNX: one function per operation.

Images are NHWC on TensorFlow's side and NCHW on ours: the input is transposed once and nothing after it, since
ONNX Runtime and TensorRT compute convolutions channels first. Only what a convolutional network is made of is translated;
anything else is refused by name, so that a model is converted wholly or not at all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from sightline_contract.errors import ModelError
from sightline_models.onnx_builder import OnnxBuilder
from sightline_models.tfjs import GraphModel, Node

_AUTO_PAD = {"SAME": "SAME_UPPER", "VALID": "VALID"}


@dataclass(frozen=True)
class Image:
    """A value of shape [1, channels, height, width] in the ONNX graph."""

    name: str
    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class Translation:
    """The graph that is read, the graph that is written, and what has been translated so far, by TensorFlow's name."""

    graph: GraphModel
    builder: OnnxBuilder
    images: dict[str, Image]

    def operand(self, name: str) -> str:
        """ONNX name of an element-wise operand: an image, a number, or one number per channel."""
        if name in self.images:
            return self.images[name].name
        value = self.graph.constants[name]
        if value.size > 1 and value.size != value.shape[-1]:
            raise ModelError(f"constant {name!r} of shape {value.shape} is neither one number nor one per channel")
        return self.builder.constant(value.reshape(()) if value.size == 1 else value.reshape(-1, 1, 1))


def translate(
    graph: GraphModel, builder: OnnxBuilder, inputs: Mapping[str, Image], outputs: tuple[str, ...]
) -> tuple[Image, ...]:
    """Write the part of ``graph`` between ``inputs`` and ``outputs``; raises ModelError at an operation not known here."""
    graph = fuse_hard_activations(graph)
    translation = Translation(graph, builder, dict(inputs))
    for node in graph.needed_for(outputs, given=inputs):
        if node.op not in OPERATIONS:
            raise ModelError(f"node {node.name!r}: operation {node.op} cannot be converted to ONNX")
        translation.images[node.name] = OPERATIONS[node.op](translation, node)
    return tuple(translation.images[name] for name in outputs)


def fuse_hard_activations(graph: GraphModel) -> GraphModel:
    """Replace ``relu6(x + 3) / 6`` by HardSigmoid and ``x * relu6(x + 3) / 6`` by HardSwish (Howard et al., MobileNetV3).

    ONNX Runtime computes these inside the convolution before them. Their sixth is exact, where float16 weights hold 0.16663.
    """
    fused = dict(graph.nodes)
    for node in graph.nodes.values():
        if node.op != "Mul":
            continue
        left, right = node.inputs
        if (shifted := _relu6_of_x_plus_3(graph, right)) is None:
            continue
        if _is_a_sixth(graph, left):
            fused[node.name] = replace(node, op="HardSigmoid", inputs=(shifted,))
        elif left in graph.nodes and graph.nodes[left].op == "Mul":
            sixth, x = graph.nodes[left].inputs
            if _is_a_sixth(graph, sixth) and x == shifted:
                fused[node.name] = replace(node, op="HardSwish", inputs=(x,))
    return replace(graph, nodes=fused)


def _relu6_of_x_plus_3(graph: GraphModel, name: str) -> str | None:
    relu6 = graph.nodes.get(name)
    plus = graph.nodes.get(relu6.inputs[0]) if relu6 and relu6.op == "Relu6" else None
    return plus.inputs[0] if plus and plus.op == "Add" and graph.scalar(plus.inputs[1]) == 3.0 else None


def _is_a_sixth(graph: GraphModel, name: str) -> bool:
    value = graph.scalar(name)
    return value is not None and abs(value - 1 / 6) < 1e-4  # float16 has 11 significant bits


def _convolution(t: Translation, node: Node) -> Image:
    weights = t.graph.constants[node.inputs[1]]  # height, width, input channels, output channels
    return _convolve(t, node, weights.transpose(3, 2, 0, 1).astype(np.float32), groups=1)


def _depthwise_convolution(t: Translation, node: Node) -> Image:
    weights = t.graph.constants[node.inputs[1]]  # height, width, input channels, multiplier
    height, width, channels, multiplier = weights.shape
    per_channel = weights.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    return _convolve(t, node, per_channel.astype(np.float32), groups=channels)


def _convolve(t: Translation, node: Node, weights: np.ndarray[tuple[int, ...], np.dtype[np.float32]], groups: int) -> Image:
    image = t.images[node.inputs[0]]
    padding = node.text("padding")
    if padding not in _AUTO_PAD or node.ints("dilations", (1, 1, 1, 1)) != (1, 1, 1, 1):
        raise ModelError(f"node {node.name!r}: a convolution with explicit padding or dilation cannot be converted")
    _, stride_y, stride_x, _ = node.ints("strides", (1, 1, 1, 1))
    height, width = image.height, image.width
    if padding == "VALID":
        height, width = height - weights.shape[2] + 1, width - weights.shape[3] + 1
    fused = list(node.texts("fused_ops"))
    inputs = [image.name, t.builder.constant(weights)]
    if fused[:1] == ["BiasAdd"]:
        inputs.append(t.builder.constant(t.graph.constants[node.inputs[2]].astype(np.float32)))
        fused.pop(0)
    shape = {"kernel_shape": weights.shape[2:], "strides": [stride_y, stride_x], "auto_pad": _AUTO_PAD[padding]}
    name = t.builder.node("Conv", *inputs, group=groups, **shape)
    for activation in fused:
        name = _activate(t.builder, activation, name, node)
    return Image(name, len(weights), -(-height // stride_y), -(-width // stride_x))


def _activate(builder: OnnxBuilder, activation: str, name: str, node: Node) -> str:
    match activation:
        case "Relu" | "Sigmoid" | "HardSwish":
            return builder.node(activation, name)
        case "HardSigmoid":
            return builder.node("HardSigmoid", name, alpha=1 / 6, beta=0.5)
        case "Relu6":
            return builder.node("Clip", name, builder.number(0), builder.number(6))
    raise ModelError(f"node {node.name!r}: activation {activation} cannot be converted to ONNX")


def _activation(t: Translation, node: Node) -> Image:
    image = t.images[node.inputs[0]]
    return replace(image, name=_activate(t.builder, node.op, image.name, node))


def _elementwise(t: Translation, node: Node) -> Image:
    images = [t.images[name] for name in node.inputs if name in t.images]
    # A squeeze-and-excite factor is 1 x 1 and stretches over the other operand.
    largest = max(images, key=lambda image: image.height * image.width)
    return replace(largest, name=t.builder.node(node.op, *(t.operand(name) for name in node.inputs)))


def _mean(t: Translation, node: Node) -> Image:
    axes = t.graph.constants[node.inputs[1]].tolist()
    if axes != [1, 2] or not node.flag("keep_dims"):
        raise ModelError(f"node {node.name!r}: only the mean over height and width can be converted")
    image = t.images[node.inputs[0]]
    return Image(t.builder.node("GlobalAveragePool", image.name), image.channels, 1, 1)


def _concatenation(t: Translation, node: Node) -> Image:
    *names, axis = node.inputs
    if t.graph.scalar(axis) not in (3, -1):
        raise ModelError(f"node {node.name!r}: only a concatenation of channels can be converted")
    images = [t.images[name] for name in names]
    joined = t.builder.node("Concat", *(image.name for image in images), axis=1)
    return replace(images[0], name=joined, channels=sum(image.channels for image in images))


def _bilinear_resize(t: Translation, node: Node) -> Image:
    if node.flag("align_corners"):
        raise ModelError(f"node {node.name!r}: a resize that aligns corners cannot be converted")
    image = t.images[node.inputs[0]]
    height, width = (int(i) for i in t.graph.constants[node.inputs[1]])
    # Scales and not sizes: ONNX Runtime keeps its fast channel-blocked layout over a resize by constant scales only.
    scales = t.builder.floats(1, 1, height / image.height, width / image.width)
    where = "half_pixel" if node.flag("half_pixel_centers") else "asymmetric"
    name = t.builder.node("Resize", image.name, "", scales, mode="linear", coordinate_transformation_mode=where)
    return Image(name, image.channels, height, width)


def _identity(t: Translation, node: Node) -> Image:
    return t.images[node.inputs[0]]


OPERATIONS: Mapping[str, Callable[[Translation, Node], Image]] = {
    "_FusedConv2D": _convolution,
    "Conv2D": _convolution,
    "FusedDepthwiseConv2dNative": _depthwise_convolution,
    "DepthwiseConv2dNative": _depthwise_convolution,
    "Add": _elementwise,
    "Sub": _elementwise,
    "Mul": _elementwise,
    "Relu": _activation,
    "Relu6": _activation,
    "Sigmoid": _activation,
    "HardSigmoid": _activation,
    "HardSwish": _activation,
    "Mean": _mean,
    "ConcatV2": _concatenation,
    "ResizeBilinear": _bilinear_resize,
    "Identity": _identity,
}
