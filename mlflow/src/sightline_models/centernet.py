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
_STRIDE_PX = 4


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


def free_peak_decoding(graph: onnx.GraphProto) -> bool:
    """Write the decoding anew, for any batch, where ``graph`` has the one above, which is for one picture; False elsewhere.

    The batch stays the first axis: the best of each picture's peaks, and a gather within each picture.
    """
    made = {output: node for node in graph.node for output in node.output}
    top = [node for node in graph.node if node.op_type == "TopK"]
    flat = made.get(top[0].input[0]) if len(top) == 1 else None
    peaks = made.get(flat.input[0]) if flat is not None and flat.op_type == "Reshape" else None
    gathers = [made.get(node.input[0]) for node in graph.node if node.op_type == "Gather"]
    if peaks is None or peaks.op_type != "Where" or len(gathers) != 1 or gathers[0] is None:
        return False
    output = graph.output[0].name
    _keep_what_makes(graph, {peaks.output[0], gathers[0].input[0]})
    b = OnnxBuilder(prefix="batch_")
    b.rename(_batched_boxes(b, peaks.output[0], gathers[0].input[0]), output)
    b.add_to(graph)
    return True


def _batched_boxes(b: OnnxBuilder, peaks: str, distances: str) -> str:
    """[n, 100, 6] of maps [n, classes, side, side] and [n, 4, side, side]."""
    side = INPUT_SIZE_PX // _STRIDE_PX
    cells, width = b.ints(side * side), b.ints(side)
    top, index = b.nodes("TopK", 2, b.node("Reshape", peaks, b.ints(0, -1)), b.ints(DETECTIONS), axis=1)
    class_id = b.node("Div", index, cells)
    cell = b.node("Sub", index, b.node("Mul", class_id, cells))
    row = b.node("Div", cell, width)
    column = b.node("Sub", cell, b.node("Mul", row, width))
    x, y = (
        b.node("Unsqueeze", b.node("Div", b.node("Cast", i, to=onnx.TensorProto.FLOAT), b.floats(side)), b.ints(1))
        for i in (column, row)
    )
    by_cell = b.node("Reshape", distances, b.ints(0, 4, -1))
    where = b.node("Expand", b.node("Unsqueeze", cell, b.ints(1)), b.ints(1, 4, 1))
    offsets = b.node("Div", b.node("GatherElements", by_cell, where, axis=2), b.floats(INPUT_SIZE_PX))
    signed = b.node("Mul", offsets, b.floats_column(-1, -1, 1, 1))
    corners = b.node("Transpose", b.node("Add", b.node("Concat", x, y, x, y, axis=1), signed), perm=[0, 2, 1])
    scores = b.node("Unsqueeze", b.node("Sigmoid", top), b.ints(2))
    classes = b.node("Unsqueeze", b.node("Cast", class_id, to=onnx.TensorProto.FLOAT), b.ints(2))
    return b.node("Concat", corners, scores, classes, axis=2)


def _keep_what_makes(graph: onnx.GraphProto, tensors: set[str]) -> None:
    """Drop the nodes that none of ``tensors`` needs."""
    needed, kept = set(tensors), []
    for node in reversed(graph.node):  # a node comes after what makes its inputs
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
