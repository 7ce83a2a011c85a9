"""Small ONNX models and a small TensorFlow.js graph model, made on the spot."""

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper


@pytest.fixture
def onnx_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model that declares these shapes; it is read, never run."""

    def write(name: str, input_shape: list[int | str], output_shape: list[int | str]) -> Path:
        graph = helper.make_graph(
            [helper.make_node("Identity", ["images"], ["output"])],
            "declared",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, input_shape)],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, output_shape)],
        )
        path = tmp_path / name
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    return write


class GraphModelWriter:
    """Builds a TensorFlow.js graph model file node by node."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.weights: list[dict[str, Any]] = []
        self.content = b""

    def constant(self, name: str, value: np.ndarray, quantization: Mapping[str, Any] | None = None) -> str:
        stored = {"float16": np.float16, "uint8": np.uint8}[quantization["dtype"]] if quantization else value.dtype
        if quantization and "scale" in quantization:
            value = np.rint((value - quantization["min"]) / quantization["scale"])
        self.content += value.astype(stored).tobytes()
        dtype = "float32" if quantization else str(value.dtype)
        entry: dict[str, Any] = {"name": name, "shape": list(value.shape), "dtype": dtype}
        self.weights.append(entry | ({"quantization": dict(quantization)} if quantization else {}))
        self.nodes.append({"name": name, "op": "Const"})
        return name

    def node(self, name: str, op: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(
            {"name": name, "op": op, "input": list(inputs), "attr": {k: _encoded(v) for k, v in attributes.items()}}
        )
        return name

    def write(self, folder: Path) -> Path:
        half = len(self.content) // 2
        (folder / "shard1.bin").write_bytes(self.content[:half])
        (folder / "shard2.bin").write_bytes(self.content[half:])
        manifest = [{"paths": ["shard1.bin", "shard2.bin"], "weights": self.weights}]
        path = folder / "model.json"
        path.write_text(json.dumps({"modelTopology": {"node": self.nodes}, "weightsManifest": manifest}))
        return path


def _encoded(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"b": value}
        case str():
            return {"s": base64.b64encode(value.encode()).decode()}
        case [str(), *_]:
            return {"list": {"s": [base64.b64encode(one.encode()).decode() for one in value]}}
        case _:
            return {"list": {"i": [str(one) for one in value]}}


@pytest.fixture
def graph_model() -> GraphModelWriter:
    return GraphModelWriter()
