"""A detector small enough to write down: it finds one bright square in the upper half of the picture and one in the lower.

A real ONNX model for the real runtime, so that what a run must find is known exactly.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 64
BRIGHT = 128.0
SCORE = 0.9
BOX = 0.125  # width and height of a found square, fraction of the picture


def write_blob_detector(path: Path) -> Path:
    """Write the model: input [1, 64, 64, 3], output [1, 100, 6] as boxes_score_class, both squares of class 0."""
    constants = {
        "bright": np.float32(BRIGHT),
        "columns": ((np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE).reshape(1, 1, SIDE),
        "rows": ((np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE).reshape(1, SIDE, 1),
        "half": np.float32(BOX / 2),
        "one": np.float32(1),
        "zero": np.float32(0),
        "score": np.float32(SCORE),
        "channels": np.array([3]),
        "area": np.array([1, 2]),
        "middle": np.array([1]),
        "top_from": np.array([0]),
        "top_to": np.array([SIDE // 2]),
        "bottom_from": np.array([SIDE // 2]),
        "bottom_to": np.array([SIDE]),
        "no_class": np.zeros((1, 1), np.float32),
        "row_shape": np.array([1, 1, 6]),
        "nothing": np.zeros((1, 98, 6), np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["image", "channels"], ["grey"], keepdims=0),
        helper.make_node("Greater", ["grey", "bright"], ["lit"]),
        helper.make_node("Cast", ["lit"], ["mask"], to=TensorProto.FLOAT),
    ]
    for part in ("top", "bottom"):
        nodes += _half(part)
    nodes.append(helper.make_node("Concat", ["top_found", "bottom_found", "nothing"], ["detections"], axis=1))
    graph = helper.make_graph(
        nodes,
        "blobs",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("detections", TensorProto.FLOAT, [1, 100, 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def _half(part: str) -> list[onnx.NodeProto]:
    """Box around the centroid of the lit pixels of one half; its score is 0 where none is lit."""

    def name(what: str) -> str:
        return f"{part}_{what}"

    def node(operator: str, inputs: list[str], output: str, **options: int) -> onnx.NodeProto:
        return helper.make_node(operator, inputs, [name(output)], **options)

    return [
        node("Slice", ["mask", name("from"), name("to"), "middle"], "mask"),
        node("Slice", ["rows", name("from"), name("to"), "middle"], "rows"),
        node("ReduceSum", [name("mask"), "area"], "lit", keepdims=0),
        node("Max", [name("lit"), "one"], "weight"),
        node("Mul", [name("mask"), "columns"], "mask_x"),
        node("Mul", [name("mask"), name("rows")], "mask_y"),
        node("ReduceSum", [name("mask_x"), "area"], "sum_x", keepdims=0),
        node("ReduceSum", [name("mask_y"), "area"], "sum_y", keepdims=0),
        node("Div", [name("sum_x"), name("weight")], "cx"),
        node("Div", [name("sum_y"), name("weight")], "cy"),
        node("Sub", [name("cx"), "half"], "x1"),
        node("Sub", [name("cy"), "half"], "y1"),
        node("Add", [name("cx"), "half"], "x2"),
        node("Add", [name("cy"), "half"], "y2"),
        node("Clip", [name("lit"), "zero", "one"], "seen"),
        node("Mul", [name("seen"), "score"], "score"),
        *(node("Unsqueeze", [name(what), "middle"], f"{what}_column") for what in ("x1", "y1", "x2", "y2", "score")),
        node("Concat", [*(name(f"{what}_column") for what in ("x1", "y1", "x2", "y2", "score")), "no_class"], "row", axis=1),
        node("Reshape", [name("row"), "row_shape"], "found"),
    ]
