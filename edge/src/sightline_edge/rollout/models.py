"""A model that is loaded and can run, and what a running model has to offer: what switch, shadow and agent have in common."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sightline_contract.errors import SightlineError
from sightline_contract.model_card import ModelCard
from sightline_contract.model_files import ModelFiles
from sightline_contract.rollout import ModelRef
from sightline_contract.targets import Target
from sightline_edge.frame import Pixels
from sightline_edge.postprocessing import Detections
from sightline_edge.preprocessing import Prepared


class Engine(Protocol):
    """What runs a model, such as sightline_edge.detector.Detector."""

    card: ModelCard
    digest: bytes  # of the ONNX model
    max_batch: int
    inference_ms: deque[float]  # of the latest calls, newest last

    def prepare(self, pixels: Pixels) -> Prepared:
        """The tensor of a BGR picture; may run in any thread."""

    def detect(self, pictures: Sequence[Prepared]) -> list[Detections]:
        """Detections of at most ``max_batch`` pictures; raises where the model fails."""

    def inference_percentile_ms(self, percent: float) -> float:
        """Time of one call of the model, of the latest calls."""

    def close(self) -> None:
        """Give back what the runtime holds; the engine is not used after that."""


class Load(Protocol):
    """Makes an engine of a model's files. Raises SightlineError, ModelError above all, where it cannot."""

    def __call__(self, files: ModelFiles, target: Target) -> Engine: ...  # noqa: D102


class CheckParity(Protocol):
    """Raises ModelError where an engine does not see on its model's golden clip what the model sees."""

    def __call__(self, files: ModelFiles, target: Target, engine: Engine) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class Loaded:
    """A model, ready to run. ``name`` is its manifest's digest in hex, empty for the model of the node's own settings."""

    ref: ModelRef
    engine: Engine
    name: str = ""

    def prepared(self, pixels: Pixels, made: Prepared) -> Prepared:
        """``made`` where it is what this model takes, else the picture prepared anew."""
        spec = self.engine.card.input
        return made if made.spec is spec or made.spec == spec else self.engine.prepare(pixels)


def one_line(error: BaseException) -> str:
    """What an error says, in one line that can be logged and sent."""
    lines = str(error).splitlines()
    text = lines[0][:300] if lines else ""
    return text if isinstance(error, SightlineError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
