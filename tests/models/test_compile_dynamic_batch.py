import numpy as np
import onnx
import onnxruntime as ort
import pytest
from cell_detector import cell_detector, pictures
from onnx import helper, numpy_helper

from sightline_contract.errors import ModelError
from sightline_models.centernet import boxes_at_peaks
from sightline_models.compile.dynamic_batch import free_batch
from sightline_models.onnx_builder import OnnxBuilder
from sightline_models.tfjs_to_onnx import Image


def run(model: onnx.ModelProto, tensor: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: tensor})[0])


def test_several_pictures_at_once_give_what_each_gives_alone() -> None:
    model = cell_detector()
    free = free_batch(model, "cells")
    batch = np.stack([picture.transpose(2, 0, 1) for picture in pictures(5)]).astype(np.float32)
    alone = np.concatenate([run(model, picture[None]) for picture in batch])
    assert np.array_equal(run(free, batch), alone)
    assert free.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_no_constant_is_left_that_nothing_uses() -> None:
    graph = free_batch(cell_detector(), "cells").graph
    used = {name for node in graph.node for name in node.input}
    assert {initializer.name for initializer in graph.initializer} <= used
    assert "rows" in {initializer.name for initializer in cell_detector().graph.initializer}, "which the new shape replaces"


def test_a_batch_that_is_free_already_is_left_alone() -> None:
    free = free_batch(cell_detector(), "cells")
    assert free_batch(free, "cells") is free


def centernet_head() -> onnx.ModelProto:
    """The default detector's decoding, behind a picture of 84 channels at a quarter of its input's size."""
    b = OnnxBuilder()
    logits, distances = b.nodes("Split", 2, "maps", b.ints(80, 4), axis=1)
    b.rename(boxes_at_peaks(b, Image(logits, 80, 128, 128), Image(distances, 4, 128, 128)), "detections")
    return b.model("head", {"maps": [1, 84, 128, 128]}, {"detections": [1, 100, 6]})


def test_the_default_detectors_decoding_is_the_same_for_several_pictures() -> None:
    model = centernet_head()
    maps = np.random.default_rng(3).normal(0, 3, (3, 84, 128, 128)).astype(np.float32)
    alone = np.concatenate([run(model, each[None]) for each in maps])
    together = run(free_batch(model, "head"), maps)
    assert together.shape == (3, 100, 6)
    assert np.allclose(together, alone, atol=1e-5)


def test_a_model_that_mixes_its_pictures_is_refused() -> None:
    model = cell_detector()
    for node in model.graph.node:
        if "found" in node.output:
            node.output[0] = "plain"
    model.graph.node.append(helper.make_node("ReduceMax", ["plain"], ["most"], axes=[0, 1], keepdims=1))
    model.graph.node.append(helper.make_node("Add", ["plain", "most"], ["found"]))
    with pytest.raises(ModelError, match="cells: says other things to several pictures at once"):
        free_batch(model, "cells")


def test_a_model_that_flattens_its_batch_away_is_refused_in_one_line() -> None:
    model = cell_detector()
    shape = next(each for each in model.graph.initializer if each.name == "rows")
    shape.CopyFrom(numpy_helper.from_array(np.array([64, 1], np.int64), "rows"))
    for node in model.graph.node:
        if node.op_type == "Reshape":
            node.output[0] = "flat"
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "front"))
    unsqueeze = helper.make_node("Unsqueeze", ["flat", "front"], ["scores"])
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:5], unsqueeze, *nodes[5:]])
    with pytest.raises(ModelError, match=r"^cells: its batch cannot be freed \(.*\): export it with a free batch size$"):
        free_batch(model, "cells")


def test_a_model_for_several_pictures_always_is_refused() -> None:
    model = cell_detector()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    with pytest.raises(ModelError, match="its batch of 4 cannot be freed"):
        free_batch(model, "cells")
