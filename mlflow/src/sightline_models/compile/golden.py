"""Frames of a clip for compiling: some for the golden clip, others for calibration; and what the model says to the former.

What runs a model is not known here: a detector is handed in (see ``Detects``), and so are the frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from sightline_contract.errors import ModelError
from sightline_contract.model_card import ModelCard
from sightline_contract.parity import GOLDEN_MIN_SCORE, Found, Golden, Pixels, Seen
from sightline_contract.targets import Target

GOLDEN_FRAMES: Final = 16
# The calibrator keeps what every layer says to each of them: about 100 MB a frame of 512 x 512 px.
CALIBRATION_FRAMES: Final = 32


class Prepares(Protocol):
    """A picture as an input tensor without its batch axis."""

    @property
    def tensor(self) -> npt.NDArray[np.float32]: ...  # noqa: D102


class Detects(Protocol):
    """A detector on some target."""

    @property
    def card(self) -> ModelCard: ...  # noqa: D102

    def prepare(self, pixels: Pixels) -> Prepares:
        """The input tensor of a BGR picture."""

    def detect(self, pictures: Any) -> Sequence[Found]:
        """Detections of prepared pictures with the scores that the model's thresholds ask for."""

    def see(self, frames: Any, min_score: float) -> Sequence[Found]:
        """Detections of BGR pictures with a score of at least ``min_score``, whatever the thresholds of the model."""

    def close(self) -> None:
        """Give back what the runtime holds."""


# A detector of a model folder on a target; without one at full precision on ONNX Runtime.
OpenDetector = Callable[[Path, Target | None], Detects]


@dataclass(frozen=True)
class Clip:
    """Frames (height, width, 3) BGR, all of one size, in the clip's order. No frame is in both."""

    golden: tuple[Pixels, ...]
    calibration: tuple[Pixels, ...]


def split_clip(frames: Sequence[Pixels], name: str) -> Clip:
    """Divide frames that are spread over a clip; raises ModelError where there are too few to do both."""
    if len(frames) < 2:
        raise ModelError(f"{name}: has {len(frames)} frames: give a longer clip")
    step = max(2, len(frames) // GOLDEN_FRAMES)
    golden = tuple(frames[::step][:GOLDEN_FRAMES])
    rest = [frame for index, frame in enumerate(frames) if index % step or index // step >= GOLDEN_FRAMES]
    return Clip(golden, tuple(rest[:CALIBRATION_FRAMES]))


def make_golden(frames: Sequence[Pixels], detector: Detects) -> Golden:
    """What ``detector``, which shall be ONNX Runtime at full precision, says to the frames."""
    found = detector.see(frames, GOLDEN_MIN_SCORE)
    return Golden(np.stack(frames), tuple(Seen(each.boxes, each.scores, each.labels) for each in found))
