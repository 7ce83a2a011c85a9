"""Writing an ONNX graph node by node. Equal input gives equal bytes, so that the result's digest can be pinned."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

# Opset 14 brought HardSwish; 17 and IR version 8 are read by every runtime in use (ONNX Runtime, TensorRT, OpenVINO).
OPSET = 17
IR_VERSION = 8


class OnnxBuilder:
    """Collects nodes and constants; every value is known by its name."""

    def __init__(self, prefix: str = "") -> None:
        """``prefix`` stands before all names: for nodes that are added to a graph with names of its own."""
        self._prefix = prefix
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[onnx.TensorProto] = []

    def constant(self, value: npt.NDArray[Any]) -> str:
        """Name of a constant; equal constants are stored once."""
        key = (str(value.dtype), value.shape, value.tobytes())
        if key not in self._constants:
            name = f"{self._prefix}constant_{len(self._constants)}"
            self._initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
            self._constants[key] = name
        return self._constants[key]

    def number(self, value: float) -> str:
        """Name of a float32 scalar."""
        return self.constant(np.array(value, np.float32))

    def floats(self, *values: float) -> str:
        """Name of a float32 vector."""
        return self.constant(np.array(values, np.float32))

    def floats_column(self, *values: float) -> str:
        """Name of a float32 matrix of one column."""
        return self.constant(np.array(values, np.float32).reshape(-1, 1))

    def ints(self, *values: int) -> str:
        """Name of an int64 vector, which is what ONNX takes for axes, shapes and counts."""
        return self.constant(np.array(values, np.int64))

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        return self.nodes(op, 1, *inputs, **attributes)[0]

    def nodes(self, op: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Append a node with several outputs; returns their names."""
        names = [f"{self._prefix}{op.lower()}_{len(self._nodes)}{f'_{i}' if outputs > 1 else ''}" for i in range(outputs)]
        self._nodes.append(helper.make_node(op, list(inputs), names, name=names[0], **attributes))
        return names

    def rename(self, value: str, name: str) -> None:
        """Give ``value`` the name by which users of the model know it."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=name))

    def add_to(self, graph: onnx.GraphProto) -> None:
        """Append all nodes and constants to a graph."""
        graph.node.extend(self._nodes)
        graph.initializer.extend(self._initializers)

    def model(self, name: str, inputs: dict[str, list[int]], outputs: dict[str, list[int]]) -> onnx.ModelProto:
        """The checked model; all inputs and outputs are float32."""
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in outputs.items()],
            self._initializers,
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="sightline")
        onnx.checker.check_model(model, full_check=True)
        return model
