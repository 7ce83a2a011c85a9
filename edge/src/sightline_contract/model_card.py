"""What a detector takes and gives: detectors differ only in what their card declares.

A model is a folder with ``model.onnx`` and ``card.yaml``. The edge reads the card and needs no code of its own for a model.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from sightline_contract.errors import ModelError
from sightline_contract.labels import COCO_80
from sightline_contract.model_files import ModelFiles, files_of
from sightline_contract.settings import Settings, parse_settings

CARD_FILE = "card.yaml"
MODEL_FILE = "model.onnx"

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class Layout(StrEnum):
    """Order of the input tensor's axes."""

    NHWC = "NHWC"
    NCHW = "NCHW"


class Resize(StrEnum):
    """How a frame is brought to the input size."""

    STRETCH = "stretch"
    LETTERBOX_TOP_LEFT = "letterbox_top_left"
    LETTERBOX_CENTER = "letterbox_center"


class Decode(StrEnum):
    """How the output tensor is read."""

    # [1, n, 6]: x1, y1, x2, y2 in fractions of the input, score, class.
    BOXES_SCORE_CLASS = "boxes_score_class"
    # [1, anchors, 5 + classes]: raw YOLOX heads, strides 8, 16, 32 (Ge et al., "YOLOX", arXiv:2107.08430).
    YOLOX = "yolox"


class ModelInput(Settings):
    """The input tensor: float32, values 0..255, then ``(value - mean) / std`` per channel."""

    name: str
    size: tuple[int, int]  # width, height, px
    layout: Layout
    channels: Annotated[str, StringConstraints(pattern="^(RGB|BGR)$")]
    resize: Resize
    pad_value: Annotated[int, Field(ge=0, le=255)] = 114
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


class ModelOutput(Settings):
    """The output tensor and how its boxes become detections."""

    name: str
    decode: Decode
    nms_iou: Annotated[float, Field(gt=0, le=1)] = 0.5
    max_detections: Annotated[int, Field(gt=0, le=1000)] = 100


class ModelCard(Settings):
    """A detector: its name, origin, licence, digest, input, output, labels, and what it was trained on."""

    name: str
    version: str
    source: str
    licence: str
    digest: Digest
    input: ModelInput
    output: ModelOutput
    labels: tuple[str, ...] = COCO_80
    training_data: str = ""  # which pictures, from where, under which licence


def load_card(model: Path | ModelFiles) -> ModelCard:
    """The card of a model, mostly given by its folder; raises ModelError where there is none, ConfigError where it is wrong."""
    files = files_of(model)
    where = files.where(CARD_FILE)
    if not files.has(CARD_FILE) or not files.has(MODEL_FILE):
        raise ModelError(
            f"{where.parent}: is not a model folder (no {CARD_FILE} with {MODEL_FILE}): run 'sightline models pull NAME'"
        )
    return parse_settings(files.read(CARD_FILE), where, ModelCard)
