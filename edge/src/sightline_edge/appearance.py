"""What detections look like: a re-identification model on their crops, as small vectors whose cosines compare.

Optional, and off by default: the second model runs on every crop. Of each frame the surest detections of the chosen classes
are looked at, up to a number, all in one call where the model takes several pictures. A vector longer than what is sent is
turned into a shorter one by a random projection with orthonormal columns, always the same one for the same lengths, which
keeps cosines nearly as they are (Johnson and Lindenstrauss, 1984), and sent as bytes.
"""

import numpy as np
import numpy.typing as npt

from sightline_contract.errors import ModelError
from sightline_contract.labels import label_names
from sightline_contract.model_card import ModelInput, Resize
from sightline_edge.backends.onnxruntime import RUNTIME_ERRORS, open_model
from sightline_edge.config import AppearanceConfig
from sightline_edge.frame import Pixels
from sightline_edge.preprocessing import Floats, prepare

# A unit vector's components as bytes.
SCALE = 127.0

_SEED = 4


class Appearance:
    """Looks at detections. Use it in one thread at a time."""

    def __init__(self, config: AppearanceConfig, threads: int) -> None:
        """Load the model; raises ModelError."""
        self._config = config
        self.size = config.bytes_per_detection
        self.even = config.same_from
        try:
            content = config.model.read_bytes()
        except OSError as error:
            raise ModelError(f"{config.model}: cannot be read ({error.strerror}): name an ONNX file") from error
        self._session = open_model(config.model, content, threads)
        (first, *more) = self._session.get_inputs()
        if more or len(self._session.get_outputs()) != 1:
            raise ModelError(f"{config.model}: has several inputs or outputs: name a model from one picture to one vector")
        self._input = ModelInput(
            name=first.name, size=config.size, layout=config.layout, channels=config.channels, resize=Resize.STRETCH,
            mean=config.mean, std=config.std,
        )  # fmt: skip
        self._takes_several = not isinstance(first.shape[0], int)
        self._classes = np.array([label_names().index(name) for name in config.classes], np.uint8)

    def look(self, pixels: Pixels, corners: Floats, scores: Floats, classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
        """Vectors (N, size) of a frame's N detections, ``corners`` x1 y1 x2 y2 in fractions; 0 where nobody looked.

        Raises ModelError where the model does not take or give what the configuration says.
        """
        found = np.zeros((len(scores), self.size), np.int8)
        wanted = np.flatnonzero((scores >= self._config.min_score) & np.isin(classes, self._classes))
        surest = wanted[np.argsort(-scores[wanted], kind="stable")][: self._config.max_crops]
        crops = {int(d): crop for d in surest if (crop := _crop(pixels, corners[d])).size}
        if crops:
            tensors = np.stack([prepare(crop, self._input).tensor for crop in crops.values()])
            found[list(crops)] = _as_bytes(_shortened(self._run(tensors), self.size))
        return found

    def _run(self, tensors: Floats) -> Floats:
        calls = [tensors] if self._takes_several else np.split(tensors, len(tensors))
        try:
            vectors = np.concatenate([self._session.run(None, {self._input.name: call})[0] for call in calls])
            return np.asarray(vectors, np.float32).reshape(len(tensors), -1)
        except (*RUNTIME_ERRORS, ValueError) as error:
            reason = str(error).splitlines()[0][:200]
            raise ModelError(
                f"{self._config.model}: does not take or give what the configuration says ({reason}): correct 'appearance'"
            ) from error


def _crop(pixels: Pixels, corners: Floats) -> Pixels:
    height, width = pixels.shape[:2]
    left, top, right, bottom = (np.clip(corners, 0, 1) * (width, height, width, height)).round().astype(int)
    return pixels[top:bottom, left:right]


def _shortened(vectors: Floats, size: int) -> Floats:
    """Vectors of ``size`` numbers: projected where they are longer, followed by zeros where they are shorter."""
    length = vectors.shape[1]
    if length <= size:
        return np.pad(vectors, ((0, 0), (0, size - length)))
    return vectors @ projection(length, size)


def projection(length: int, size: int) -> Floats:
    """(length, size) with orthonormal columns, the same ones in every process."""
    columns, triangle = np.linalg.qr(np.random.default_rng(_SEED).standard_normal((length, size)))
    return np.asarray(columns * np.sign(np.diag(triangle)), np.float32)  # the signs are the library's choice otherwise


def _as_bytes(vectors: Floats) -> npt.NDArray[np.int8]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    usable = np.isfinite(lengths) & (lengths > 0)
    units = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=usable)
    return np.asarray(np.rint(units * SCALE), np.int8)
