"""The default detector: MobileNetV3-CenterNet from its TensorFlow.js graph model to one ONNX file.

The network gives two maps at a quarter of the input's size: for each cell a logit per class that an object's centre lies
there, and the four distances from the cell to the object's edges (Zhou et al., "Objects as Points", arXiv:1904.07850, with
boxes as in Liu et al., "Training-Time-Friendly Network", arXiv:1909.00700). The network is translated; reading boxes from
the maps is written here anew, channels first, on logits: a sigmoid keeps order, so 100 of them do instead of 1.3 million.
"""

from pathlib import Path

import onnx

from sightline_models.onnx_builder import OnnxBuilder
from sightline_models.tfjs import read_graph_model
from sightline_models.tfjs_to_onnx import Image, translate

INPUT_NAME = "image"
OUTPUT_NAME = "detections"
INPUT_SIZE_PX = 512
DETECTIONS = 100

_INPUT_NODE = "tower_0/images"
_CLASS_LOGITS_NODE = "tower_0/CenternetHead/centernet_cls_output/BiasAdd"
_EDGE_DISTANCES_NODE = "tower_0/wh"
_NO_PEAK_LOGIT = -1e4


def convert_centernet(path: Path) -> onnx.ModelProto:
    """ONNX model of the graph model ``path``; raises ModelError.

    Input [1, 512, 512, 3], RGB 0..255. Output [1, 100, 6]: x1, y1, x2, y2 in fractions of the input, score, class; best
    first, overlapping boxes not yet suppressed.
    """
    builder = OnnxBuilder()
    channels_first = builder.node("Transpose", INPUT_NAME, perm=[0, 3, 1, 2])
    image = Image(channels_first, 3, INPUT_SIZE_PX, INPUT_SIZE_PX)
    outputs = (_CLASS_LOGITS_NODE, _EDGE_DISTANCES_NODE)
    logits, distances = translate(read_graph_model(path), builder, {_INPUT_NODE: image}, outputs)
    builder.rename(boxes_at_peaks(builder, logits, distances), OUTPUT_NAME)
    shape = [1, INPUT_SIZE_PX, INPUT_SIZE_PX, 3]
    return builder.model("centernet", {INPUT_NAME: shape}, {OUTPUT_NAME: [1, DETECTIONS, 6]})


def boxes_at_peaks(b: OnnxBuilder, logits: Image, distances: Image) -> str:
    """Write the decoding: a cell whose logit is the largest among its neighbours is an object's centre."""
    around = b.node("MaxPool", logits.name, kernel_shape=[3, 3], strides=[1, 1], auto_pad="SAME_UPPER")
    is_peak = b.node("Equal", logits.name, around)
    peaks = b.node("Where", is_peak, logits.name, b.floats(_NO_PEAK_LOGIT))
    top, index = b.nodes("TopK", 2, b.node("Reshape", peaks, b.ints(-1)), b.ints(DETECTIONS))
    cells = b.ints(logits.height * logits.width)
    class_id, cell = b.node("Div", index, cells), b.node("Mod", index, cells)
    columns = [
        *_corners(b, cell, logits, distances),
        b.node("Sigmoid", top),
        b.node("Cast", class_id, to=onnx.TensorProto.FLOAT),
    ]
    rows = [b.node("Unsqueeze", column, b.ints(0, 2)) for column in columns]
    return b.node("Concat", *rows, axis=2)


def _corners(b: OnnxBuilder, cell: str, logits: Image, distances: Image) -> list[str]:
    """x1, y1, x2, y2 of the boxes at ``cell``, in fractions of the input."""
    width = b.ints(logits.width)
    row, column = b.node("Div", cell, width), b.node("Mod", cell, width)
    y, x = (b.node("Cast", i, to=onnx.TensorProto.FLOAT) for i in (row, column))
    centre = {"x": b.node("Div", x, b.floats(logits.width)), "y": b.node("Div", y, b.floats(logits.height))}
    by_cell = b.node("Reshape", distances.name, b.ints(4, -1))
    # Left, top, right and bottom distance, each pointing outwards.
    signed = b.node("Mul", b.node("Gather", by_cell, cell, axis=1), b.floats_column(-1, -1, 1, 1))
    offsets = b.nodes("Split", 4, b.node("Div", signed, b.floats(INPUT_SIZE_PX)), b.ints(1, 1, 1, 1), axis=0)
    flat = [b.node("Reshape", offset, b.ints(-1)) for offset in offsets]
    return [b.node("Add", centre[axis], offset) for axis, offset in zip("xyxy", flat, strict=True)]
