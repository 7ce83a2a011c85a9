"""The detector: an ONNX model with the pre- and post-processing that its card declares, on ONNX Runtime."""

import hashlib
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from sightline_contract.errors import ModelError
from sightline_contract.model_card import MODEL_FILE, load_card
from sightline_edge.frame import Pixels
from sightline_edge.postprocessing import Detections, read_output
from sightline_edge.preprocessing import Prepared, prepare

# Enough for a percentile, and the same memory after a year.
TIMINGS_KEPT = 4096
# ONNX Runtime's errors share no base but Exception.
RUNTIME_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class Detector:
    """Finds objects in pictures. ``prepare`` may run in any thread, ``detect`` in one at a time."""

    def __init__(self, folder: Path, min_score: float, threads: int, max_batch: int) -> None:
        """Load the model folder ``folder``; raises ModelError or ConfigError."""
        self.card = load_card(folder)
        content = (folder / MODEL_FILE).read_bytes()
        self.digest = hashlib.sha256(content).digest()
        if f"sha256:{self.digest.hex()}" != self.card.digest:
            raise ModelError(f"{folder / MODEL_FILE}: is not the file that its card names: run 'sightline models pull' again")
        self._session = open_model(folder / MODEL_FILE, content, threads)
        self._check_tensors(folder)
        self.max_batch = self._max_batch(folder, max_batch)
        self._min_score = min_score
        self.inference_ms: deque[float] = deque(maxlen=TIMINGS_KEPT)

    def prepare(self, pixels: Pixels) -> Prepared:
        """The tensor of a BGR picture."""
        return prepare(pixels, self.card.input)

    def detect(self, pictures: Sequence[Prepared]) -> list[Detections]:
        """Detections of each picture, of which there are at most ``max_batch``; raises ModelError where the model fails."""
        tensor = np.stack([picture.tensor for picture in pictures])
        started = time.perf_counter()
        try:
            (outputs,) = self._session.run([self.card.output.name], {self.card.input.name: tensor})
            self.inference_ms.append((time.perf_counter() - started) * 1000)
            return [
                read_output(output, self.card, picture.placement, self._min_score)
                for output, picture in zip(outputs, pictures, strict=True)
            ]
        except (*RUNTIME_ERRORS, IndexError, ValueError) as error:
            reason = str(error).splitlines()[0][:200]
            raise ModelError(
                f"model {self.card.name}: does not take or give what its card says ({reason}): mend the card"
            ) from error

    def inference_percentile_ms(self, percent: float) -> float:
        """Time of one call of the model, of the latest calls; 0 before the first."""
        return float(np.percentile(list(self.inference_ms), percent)) if self.inference_ms else 0.0

    def _max_batch(self, folder: Path, wanted: int) -> int:
        batch = self._session.get_inputs()[0].shape[0]
        if not isinstance(batch, int) or batch < 1:
            return wanted
        if batch > 1:
            raise ModelError(
                f"{folder / MODEL_FILE}: takes {batch} pictures at once, always: export it with a batch of 1 or a free one"
            )
        return 1

    def _check_tensors(self, folder: Path) -> None:
        names = {tensor.name for tensor in (*self._session.get_inputs(), *self._session.get_outputs())}
        for name in (self.card.input.name, self.card.output.name):
            if name not in names:
                raise ModelError(f"{folder / MODEL_FILE}: has no tensor {name!r} as its card says: correct the card")


def open_model(path: Path, content: bytes, threads: int) -> ort.InferenceSession:
    """An ONNX model, ready to run; raises ModelError."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Idle threads sleep instead of spinning: a node shares its cores with decoding and with whatever else runs there.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except RUNTIME_ERRORS as error:
        reason = str(error).splitlines()[0][:200]
        raise ModelError(
            f"{path}: is not an ONNX model that can run here ({reason}): pull it again or export it anew"
        ) from error
