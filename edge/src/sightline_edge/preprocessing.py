"""From a camera's picture to the tensor that a model's card asks for, and the way back for its boxes."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sightline_contract.model_card import Layout, ModelInput, Resize
from sightline_edge.frame import Pixels

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Placement:
    """Where the picture lies in the model's input, in fractions of the input."""

    left: float
    top: float
    width: float
    height: float

    def to_frame(self, boxes: Floats) -> Floats:
        """Boxes x1, y1, x2, y2 in fractions of the input as fractions of the picture."""
        origin = np.array([self.left, self.top, self.left, self.top], np.float32)
        size = np.array([self.width, self.height, self.width, self.height], np.float32)
        return (boxes - origin) / size


@dataclass(frozen=True)
class Prepared:
    """A tensor without its batch axis, where the picture lies in it, and the input for which it was made."""

    tensor: Floats
    placement: Placement
    spec: ModelInput | None = None


def prepare(pixels: Pixels, spec: ModelInput) -> Prepared:
    """Resize, order channels and normalise a BGR picture as ``spec`` declares."""
    resized, placement = _fit(pixels, spec)
    if spec.channels == "RGB":
        resized = np.asarray(cv2.cvtColor(resized, cv2.COLOR_BGR2RGB), np.uint8)
    tensor = resized.astype(np.float32)
    if any(spec.mean) or spec.std != (1.0, 1.0, 1.0):
        tensor -= np.array(spec.mean, np.float32)
        tensor /= np.array(spec.std, np.float32)
    if spec.layout is Layout.NCHW:
        tensor = np.ascontiguousarray(tensor.transpose(2, 0, 1))
    return Prepared(tensor, placement, spec)


def _fit(pixels: Pixels, spec: ModelInput) -> tuple[Pixels, Placement]:
    width, height = spec.size
    if spec.resize is Resize.STRETCH:
        return _resize(pixels, spec.size), Placement(0, 0, 1, 1)
    ratio = min(width / pixels.shape[1], height / pixels.shape[0])
    fitted = max(1, int(pixels.shape[1] * ratio)), max(1, int(pixels.shape[0] * ratio))
    left, top = 0, 0
    if spec.resize is Resize.LETTERBOX_CENTER:
        left, top = (width - fitted[0]) // 2, (height - fitted[1]) // 2
    canvas = np.full((height, width, 3), spec.pad_value, np.uint8)
    canvas[top : top + fitted[1], left : left + fitted[0]] = _resize(pixels, fitted)
    return canvas, Placement(left / width, top / height, fitted[0] / width, fitted[1] / height)


def _resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), np.uint8)
