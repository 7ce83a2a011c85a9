"""Freeing the batch size of a model that was exported for one picture.

Exporters write the batch into the shape of Reshape nodes. Where it stands first it can be copied from the input instead (a 0
in ONNX, "Reshape"); the decoding of the default detector, which flattens the batch away, is written anew. Whatever was done,
several pictures at once must give what each gives alone: a model for which they do not is refused.
"""

from typing import Any, Final

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from sightline_contract.errors import ModelError
from sightline_models.centernet import free_peak_decoding

BATCH: Final = "batch"
_CHECKED_BATCH = 3
_TOLERANCE = 1e-3


def free_batch(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model with a free batch size; ``name`` is for messages. Raises ModelError where it cannot be had.

    A model whose batch is free already is given back as it is.
    """
    (fixed, *more) = _inputs(model)
    batch = fixed.type.tensor_type.shape.dim[0]
    if not batch.HasField("dim_value"):
        return model
    if more or batch.dim_value != 1:
        raise ModelError(f"{name}: its batch of {batch.dim_value} cannot be freed: export it with one picture and one input")
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    del freed.graph.value_info[:]  # they state the old shapes
    free_peak_decoding(freed.graph)
    _copy_batch_in_reshapes(freed.graph)
    _drop_unused(freed.graph)
    for value in (*_inputs(freed), *freed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    _check_equal(model, freed, name)
    return freed


def _copy_batch_in_reshapes(graph: onnx.GraphProto) -> None:
    """Write 0, "as the input has it", for the 1 that Reshape nodes give the first axis."""
    constants = {initializer.name: initializer for initializer in graph.initializer}
    written: set[str] = set()
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        shape = numpy_helper.to_array(constants[node.input[1]]).copy()
        if shape.size < 2 or shape[0] != 1 or any(attribute.name == "allowzero" for attribute in node.attribute):
            continue
        shape[0] = 0
        own = f"{node.input[1]}_{BATCH}"
        if own not in written:
            graph.initializer.append(numpy_helper.from_array(shape, own))
            written.add(own)
        node.input[1] = own


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Drop the constants that the nodes written anew left behind: runtimes warn of each."""
    if any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        return  # a branch or loop may use them
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for initializer in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(initializer)


def _check_equal(one: onnx.ModelProto, many: onnx.ModelProto, name: str) -> None:
    """Raise ModelError unless several pictures at once give what each gives alone."""
    try:
        alone, together = (_session(model) for model in (one, many))
        (first,) = alone.get_inputs()
        pictures = np.random.default_rng(0).uniform(0, 255, (_CHECKED_BATCH, *first.shape[1:])).astype(np.float32)
        expected = [
            np.concatenate(rows) for rows in zip(*(alone.run(None, {first.name: p[None]}) for p in pictures), strict=True)
        ]
        got = together.run(None, {first.name: pictures})
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ModelError(f"{name}: its batch cannot be freed ({reason}): export it with a free batch size") from error
    for there, here in zip(expected, got, strict=True):
        if there.shape != here.shape or not np.allclose(there, here, rtol=_TOLERANCE, atol=_TOLERANCE):
            raise ModelError(f"{name}: says other things to several pictures at once: export it with a free batch size")


def _session(model: onnx.ModelProto) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what is wrong is said in one line
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {initializer.name for initializer in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]
