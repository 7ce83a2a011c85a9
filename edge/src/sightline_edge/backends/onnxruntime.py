"""ONNX Runtime on the CPU."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from sightline_contract.errors import ModelError
from sightline_contract.model_card import ModelCard
from sightline_edge.backends import BackendError, Batch, Floats, first_line

# ONNX Runtime's errors share no base but Exception.
RUNTIME_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class OnnxRuntimeBackend:
    """A session with the tensors that the card names."""

    def __init__(self, content: bytes, path: Path, card: ModelCard, threads: int) -> None:
        """Load an ONNX file's content; raises ModelError."""
        self._session = open_model(path, content, threads)
        self._input, self._output = card.input.name, card.output.name
        names = {tensor.name for tensor in (*self._session.get_inputs(), *self._session.get_outputs())}
        check_names(path, card, names)
        self.max_batch = fixed_batch(path, self._session.get_inputs()[0].shape[0])

    def run(self, batch: Batch) -> Floats:
        """The output [B, ...] to B inputs; raises BackendError."""
        try:
            (outputs,) = self._session.run([self._output], {self._input: np.asarray(batch, np.float32)})
        except RUNTIME_ERRORS as error:
            raise BackendError(first_line(error)) from error
        return np.asarray(outputs, np.float32)

    def close(self) -> None:
        """A session is freed with its last reference."""


def open_model(path: Path, content: bytes, threads: int) -> ort.InferenceSession:
    """An ONNX model, ready to run; raises ModelError."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Idle threads sleep instead of spinning: a node shares its cores with decoding and with whatever else runs there.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Its errors are raised, and told in one line: on stderr it would say them again, in colour.
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except RUNTIME_ERRORS as error:
        raise ModelError(
            f"{path}: is not an ONNX model that can run here ({first_line(error)}): pull it again or export it anew"
        ) from error


def check_names(path: Path, card: ModelCard, names: set[str]) -> None:
    """Raise ModelError unless the file has the tensors that the card names."""
    for name in (card.input.name, card.output.name):
        if name not in names:
            raise ModelError(f"{path}: has no tensor {name!r} as its card says: correct the card")


def fixed_batch(path: Path, batch: object) -> int | None:
    """1 of a model whose first dimension is 1, None of one whose is free; raises ModelError for any other."""
    if not isinstance(batch, int) or batch < 1:
        return None
    if batch > 1:
        raise ModelError(f"{path}: takes {batch} pictures at once, always: export it with a batch of 1 or a free one")
    return 1
