"""A detector of three real convolutions: it finds the bright ones among 8 x 8 cells of the picture.

Exported for one picture, as detectors often are. The score of a cell is its mean brightness over 255.
"""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

SIDE, CELLS = 64, 8
_CELL = SIDE // CELLS
_CHANNELS = 4


def cell_detector() -> onnx.ModelProto:
    """The model: input [1, 3, 64, 64] BGR 0..255, output [1, 64, 6] as boxes_score_class, all of class 0."""
    share = np.array([0.5, 1.0, 1.5, 2.0], np.float32)
    corners = np.stack(np.meshgrid(np.arange(CELLS), np.arange(CELLS)), axis=-1).reshape(-1, 2) / CELLS
    boxes = np.concatenate([corners, corners + 1 / CELLS], axis=1)[None].astype(np.float32)
    constants = {
        "grey": np.repeat(share[:, None] / 3, 3, axis=1).reshape(_CHANNELS, 3, 1, 1),
        "mix": np.diag(1 / share).reshape(_CHANNELS, _CHANNELS, 1, 1),
        "mean": np.full((1, _CHANNELS, _CELL, _CELL), 1 / (_CHANNELS * _CELL**2 * 255)),
        "boxes": boxes,
        "zero": np.array(0),
    }
    nodes = [
        helper.make_node("Conv", ["image", "grey"], ["shades"], name="first"),
        helper.make_node("Conv", ["shades", "mix"], ["mixed"], name="middle"),
        helper.make_node("Relu", ["mixed"], ["lit"]),
        helper.make_node("Conv", ["lit", "mean"], ["cells"], name="last", strides=[_CELL, _CELL]),
        helper.make_node("Reshape", ["cells", "rows"], ["scores"]),
        helper.make_node("Mul", ["scores", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "boxes"], ["all_boxes"]),
        helper.make_node("Concat", ["all_boxes", "scores", "nothing"], ["found"], axis=2),
    ]
    graph = helper.make_graph(
        nodes,
        "cells",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, [1, CELLS**2, 6])],
        [
            *(numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()),
            numpy_helper.from_array(np.array([1, CELLS**2, 1], np.int64), "rows"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def write_cell_detector(folder: Path, model: onnx.ModelProto | None = None) -> Path:
    """A model folder with it."""
    folder.mkdir()
    content = (model or cell_detector()).SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    card = {
        "name": "cells",
        "version": "1",
        "source": "test",
        "licence": "none",
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "input": {"name": "image", "size": [SIDE, SIDE], "layout": "NCHW", "channels": "BGR", "resize": "stretch"},
        "output": {"name": "found", "decode": "boxes_score_class"},
    }
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    return folder


def pictures(count: int, bright: int = 220, dark: int = 15) -> list[npt.NDArray[np.uint8]]:
    """Pictures in which about a third of the cells are bright, with a little noise; another one each."""
    chance = np.random.default_rng(count)
    made = []
    for _ in range(count):
        lit = chance.random((CELLS, CELLS)) < 0.3
        cells = np.where(lit, bright - chance.integers(0, 20, lit.shape), dark)
        picture = np.kron(cells, np.ones((_CELL, _CELL)))[..., None] + chance.integers(-5, 6, (SIDE, SIDE, 3))
        made.append(np.clip(picture, 0, 255).astype(np.uint8))
    return made
