"""The detector: a model with the pre- and post-processing that its card declares, on the runtime of its target."""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from sightline_contract.errors import ModelError
from sightline_contract.manifest import THRESHOLDS_PART, Thresholds
from sightline_contract.model_card import MODEL_FILE, ModelCard, load_card
from sightline_contract.model_files import ModelFiles, files_of
from sightline_contract.settings import parse_settings
from sightline_contract.targets import Target
from sightline_edge.backends import BackendError, Floats, first_line, open_backend
from sightline_edge.frame import Pixels
from sightline_edge.postprocessing import Detections, read_output
from sightline_edge.preprocessing import Prepared, prepare

# Enough for a percentile, and the same memory after a year.
TIMINGS_KEPT = 4096


class Detector:
    """Finds objects in pictures. ``prepare`` may run in any thread, ``detect`` and ``see`` in one at a time."""

    def __init__(
        self,
        model: Path | ModelFiles,
        min_score: float,
        threads: int,
        max_batch: int,
        target: Target | None = None,
        clock_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Load a model, mostly given by its folder; raises ModelError, ConfigError, TrustError or ToolMissingError.

        Without a ``target`` ONNX Runtime runs ``model.onnx`` on the CPU; with one its runtime runs the model's ``engine``,
        or ``model.onnx`` where there is none. Its ``thresholds.yaml``, if any, raises ``min_score``, and classes' own.
        ``clock_s`` times inference.
        """
        files = files_of(model)
        self.card = load_card(files)
        self.target = target
        self._clock_s = clock_s
        self.digest = hashlib.sha256(files.read(MODEL_FILE)).digest()
        if f"sha256:{self.digest.hex()}" != self.card.digest:
            where = files.where(MODEL_FILE)
            raise ModelError(f"{where}: is not the file that its card names: run 'sightline models pull' again")
        self._least = least_scores(files, self.card, min_score)
        self._backend = open_backend(files, self.card, target, threads)
        self.max_batch = min(max_batch, self._backend.max_batch or max_batch)
        self.inference_ms: deque[float] = deque(maxlen=TIMINGS_KEPT)

    def prepare(self, pixels: Pixels) -> Prepared:
        """The tensor of a BGR picture."""
        return prepare(pixels, self.card.input)

    def detect(self, pictures: Sequence[Prepared]) -> list[Detections]:
        """Detections of each picture, of which there are at most ``max_batch``; raises ModelError where the model fails."""
        return [found[found.scores >= self._least[found.labels]] for found in self._run(pictures, float(self._least.min()))]

    def see(self, frames: Iterable[Pixels], min_score: float) -> list[Detections]:
        """Detections of BGR pictures, of any number, with a score of at least ``min_score``, whatever the thresholds say.

        For comparing engines: see sightline_contract.parity. Raises ModelError where the model fails.
        """
        prepared = [self.prepare(frame) for frame in frames]
        chunks = [prepared[first : first + self.max_batch] for first in range(0, len(prepared), self.max_batch)]
        return [found for chunk in chunks for found in self._run(chunk, min_score)]

    def inference_percentile_ms(self, percent: float) -> float:
        """Time of one call of the model, of the latest calls; 0 before the first."""
        return float(np.percentile(list(self.inference_ms), percent)) if self.inference_ms else 0.0

    def close(self) -> None:
        """Give back what the runtime holds, memory of a GPU above all. The detector is not used after that."""
        self._backend.close()

    def _run(self, pictures: Sequence[Prepared], min_score: float) -> list[Detections]:
        started_s = self._clock_s()
        try:
            outputs = self._backend.run([picture.tensor for picture in pictures])
            self.inference_ms.append((self._clock_s() - started_s) * 1000)
            return [
                read_output(output, self.card, picture.placement, min_score)
                for output, picture in zip(outputs, pictures, strict=True)
            ]
        except (BackendError, IndexError, ValueError) as error:
            raise ModelError(
                f"model {self.card.name}: does not take or give what its card says ({first_line(error)}): mend the card"
            ) from error


def least_scores(files: ModelFiles, card: ModelCard, min_score: float) -> Floats:
    """The least score of each of the card's labels, (labels,): what the node wants, raised by the model's own thresholds.

    Raises ConfigError where ``thresholds.yaml`` is wrong, ModelError where it names a label that the model does not know.
    """
    least = np.full(max(1, len(card.labels)), min_score, np.float32)
    if not files.has(THRESHOLDS_PART):
        return least
    path = files.where(THRESHOLDS_PART)
    thresholds = parse_settings(files.read(THRESHOLDS_PART), path, Thresholds)
    least = np.maximum(least, np.float32(thresholds.min_score))
    for label, score in thresholds.by_class.items():
        if label not in card.labels:
            raise ModelError(f"{path}: has a score for {label!r}, which is no label of {card.name}: correct it")
        index = card.labels.index(label)
        least[index] = max(float(least[index]), score)
    return least
