"""OpenVINO on the CPU. It reads the ONNX file itself and compiles it when it loads."""

from pathlib import Path

import numpy as np

from sightline_contract.errors import ModelError, ToolMissingError
from sightline_contract.model_card import ModelCard
from sightline_contract.targets import Precision, Target
from sightline_edge.backends import BackendError, Batch, Floats, first_line
from sightline_edge.backends.onnxruntime import check_names, fixed_batch

# An 8-bit model says by its own quantizing nodes what runs with 8 bits; the rest stays at fp32.
_HINTS = {Precision.FP32: "f32", Precision.FP16: "f16", Precision.INT8: "f32"}


class OpenVinoBackend:
    """A compiled model and one request."""

    def __init__(self, content: bytes, path: Path, card: ModelCard, target: Target, threads: int) -> None:
        """Load and compile an ONNX file's content; raises ModelError or ToolMissingError."""
        try:
            import openvino as ov
        except ImportError as error:
            raise ToolMissingError(f"{target}: OpenVINO is not installed: install sightline[edge-openvino]") from error
        if target.precision not in _HINTS:
            raise ModelError(f"{target}: OpenVINO runs no {target.precision} on a CPU: choose fp32, fp16 or int8")
        try:
            core = ov.Core()
            model = core.read_model(content)
            check_names(path, card, {name for port in (*model.inputs, *model.outputs) for name in port.get_names()})
            batch = model.input(card.input.name).get_partial_shape()[0]
            self.max_batch = fixed_batch(path, None if batch.is_dynamic else batch.get_length())
            compiled = core.compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": _HINTS[target.precision],
                    "INFERENCE_NUM_THREADS": threads,
                    "PERFORMANCE_HINT": "LATENCY",
                    "ENABLE_CPU_PINNING": False,  # a node shares its cores with decoding
                    "CACHE_DIR": "",  # a compiled model in a cache would be a sealed one's content on the disk
                },
            )
        except RuntimeError as error:
            raise ModelError(f"{path}: is not a model that OpenVINO can run ({first_line(error)}): compile it again") from error
        self._request = compiled.create_infer_request()
        self._input, self._output = card.input.name, card.output.name

    def run(self, batch: Batch) -> Floats:
        """The output [B, ...] to B inputs; raises BackendError."""
        try:
            outputs = self._request.infer({self._input: np.asarray(batch, np.float32)})
        except RuntimeError as error:
            raise BackendError(first_line(error)) from error
        return np.asarray(outputs[self._output], np.float32)

    def close(self) -> None:
        """A request is freed with its last reference."""
