"""What runs a model on a node: one class a runtime, each in a file of its own, loaded only where it is wanted.

A backend takes the tensors of a batch and gives an output for each. It knows nothing of pictures and boxes. It is made of a
file's content, and of the file's path for messages: the content may have been opened into memory, and must not reach a disk.
"""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sightline_contract.errors import ModelError
from sightline_contract.manifest import ENGINE_PART
from sightline_contract.model_card import MODEL_FILE, ModelCard
from sightline_contract.model_files import ModelFiles, files_of
from sightline_contract.targets import Precision, Runtime, Target

Floats = npt.NDArray[np.float32]
# One tensor [B, ...], or B tensors that lie anywhere: who puts them together anyway need not find them stacked.
Batch = Floats | Sequence[Floats]


class BackendError(Exception):
    """A run that failed: one line of what the runtime said."""


class Backend(Protocol):
    """A loaded model. Use it in one thread at a time."""

    @property
    def max_batch(self) -> int | None:
        """The largest batch of one run; None where any goes."""

    def run(self, batch: Batch) -> Batch:
        """The outputs to B inputs, to be read before the next run, which may write over them; raises BackendError."""

    def close(self) -> None:
        """Give back what the runtime holds. It is not used after that."""


def cpu_target(runtime: Runtime = Runtime.ONNXRUNTIME, precision: Precision = Precision.FP32) -> Target:
    """The target of a runtime on this machine's processor."""
    return Target(runtime=runtime, version="any", architecture=platform.machine() or "unknown", precision=precision)


def open_backend(model: Path | ModelFiles, card: ModelCard, target: Target | None, threads: int) -> Backend:
    """What runs a model, mostly given by its folder: its ``engine`` where it has one for a target, else its ONNX file.

    Without a target ONNX Runtime runs the ONNX file on the CPU. Raises ModelError where this machine is not the target's.
    """
    files = files_of(model)
    name = ENGINE_PART if target and files.has(ENGINE_PART) else MODEL_FILE
    path = files.where(name)
    if target is None:
        target = cpu_target()
    elif target.runtime is not Runtime.TENSORRT and target.architecture != platform.machine():
        raise ModelError(f"{path}: is for {target}, and this is {platform.machine()}: compile it for this machine")
    if target.runtime is Runtime.TENSORRT:
        from sightline_edge.backends.tensorrt import TensorRtBackend

        return TensorRtBackend(files.read(name), path, card, target)
    if target.runtime is Runtime.OPENVINO:
        from sightline_edge.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(files.read(name), path, card, target, threads)
    from sightline_edge.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(files.read(name), path, card, threads)


def first_line(error: BaseException) -> str:
    """What a runtime said, short enough for one line."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
