"""Reading a TensorFlow.js graph model: its nodes, their attributes, and its weights with the quantisation undone.

A graph model is a JSON file (``modelTopology``: TensorFlow's GraphDef as JSON, byte strings in base64; ``weightsManifest``:
names, shapes and types of the weights) and the binary files that the manifest names, beside it. Layout is NHWC throughout.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline_contract.errors import ModelError

Array = npt.NDArray[Any]

_DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "int32": np.dtype("<i4"), "bool": np.dtype("?")}
_QUANTISED: dict[str, np.dtype[Any]] = {"float16": np.dtype("<f2"), "uint8": np.dtype("u1"), "uint16": np.dtype("<u2")}


@dataclass(frozen=True)
class Node:
    """One operation. ``inputs`` are names of nodes or constants; control inputs are left out."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def text(self, key: str, default: str = "") -> str:
        """A string attribute."""
        encoded = self.attributes.get(key, {}).get("s")
        return default if encoded is None else base64.b64decode(encoded).decode()

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(base64.b64decode(s).decode() for s in self.attributes.get(key, {}).get("list", {}).get("s", []))

    def ints(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """A list of integers."""
        return tuple(int(i) for i in self.attributes.get(key, {}).get("list", {}).get("i", [])) or default

    def flag(self, key: str) -> bool:
        """A boolean; False where it is absent."""
        return bool(self.attributes.get(key, {}).get("b", False))


@dataclass(frozen=True)
class GraphModel:
    """Nodes by name, and constants by name."""

    nodes: Mapping[str, Node]
    constants: Mapping[str, Array]

    def needed_for(self, outputs: Iterable[str], given: Iterable[str]) -> list[Node]:
        """The nodes between the values ``given`` and ``outputs``, each after its inputs."""
        known = {*given, *self.constants}
        done: dict[str, Node] = {}
        stack = [self._node(name) for name in reversed(list(outputs))]
        while stack:
            node = stack[-1]
            waiting = [name for name in node.inputs if name not in known and name not in done]
            if waiting:
                stack.extend(self._node(name) for name in waiting)
            else:
                done[node.name] = stack.pop()
        return list(done.values())

    def scalar(self, name: str) -> float | None:
        """Value of a constant of one element; None for anything else."""
        value = self.constants.get(name)
        return float(value.reshape(())) if value is not None and value.size == 1 else None

    def _node(self, name: str) -> Node:
        if name not in self.nodes:
            raise ModelError(f"the graph model has no node {name!r}: is it another model than expected?")
        return self.nodes[name]


def read_graph_model(path: Path) -> GraphModel:
    """Read ``path`` (the JSON file) and its weight files; raises ModelError where they do not fit together."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        groups = document["weightsManifest"]
        constants = {name: value for group in groups for name, value in _read_group(path.parent, group)}
        nodes = {entry["name"]: _node(entry) for entry in document["modelTopology"]["node"] if entry["op"] != "Const"}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: is not a TensorFlow.js graph model with its weights ({error})") from error
    return GraphModel(nodes, constants)


def _node(entry: Mapping[str, Any]) -> Node:
    inputs = tuple(name for name in entry.get("input", []) if not name.startswith("^"))
    return Node(entry["name"], entry["op"], inputs, entry.get("attr", {}))


def _read_group(folder: Path, group: Mapping[str, Any]) -> Iterable[tuple[str, Array]]:
    data = b"".join((folder / shard).read_bytes() for shard in group["paths"])
    offset = 0
    for weight in group["weights"]:
        quantisation = weight.get("quantization")
        stored = _QUANTISED[quantisation["dtype"]] if quantisation else _DTYPES[weight["dtype"]]
        count = int(np.prod(weight["shape"], dtype=np.int64))
        value = np.frombuffer(data, dtype=stored, count=count, offset=offset).reshape(weight["shape"])
        offset += value.nbytes
        yield weight["name"], _dequantised(value, quantisation) if quantisation else value


def _dequantised(value: Array, quantisation: Mapping[str, Any]) -> Array:
    if quantisation["dtype"] == "float16":
        return value.astype(np.float32)
    return (value * np.float64(quantisation["scale"]) + np.float64(quantisation["min"])).astype(np.float32)
