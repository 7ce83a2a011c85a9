"""From a model's output tensor to detections: decoding as its card declares, then non-maximum suppression per class."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from sightline_contract.agreement import iou_matrix
from sightline_contract.model_card import Decode, ModelCard
from sightline_edge.preprocessing import Floats, Placement

Ints = npt.NDArray[np.int64]

YOLOX_STRIDES_PX = (8, 16, 32)
# Suppression compares all pairs: more candidates than this are cut to the best.
MAX_CANDIDATES = 1000


@dataclass(frozen=True)
class Detections:
    """N detections of one frame, best first."""

    boxes: Floats  # (N, 4) x1, y1, x2, y2 in fractions of the frame, within it
    scores: Floats  # (N,) 0..1
    labels: Ints  # (N,) index among the card's labels

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Detections":
        return Detections(self.boxes[chosen], self.scores[chosen], self.labels[chosen])


def read_output(output: Floats, card: ModelCard, placement: Placement, min_score: float) -> Detections:
    """Detections in one frame's output tensor (without the batch axis) with a score of at least ``min_score``.

    Raises ValueError where the model gives a class that its card has no label for.
    """
    decode = _decode_boxes_score_class if card.output.decode is Decode.BOXES_SCORE_CLASS else _decode_yolox
    found = decode(output, card, min_score)
    if len(found) and not 0 <= found.labels.min() <= found.labels.max() < len(card.labels):
        raise ValueError(f"class {found.labels.max()} is not one of the card's {len(card.labels)} labels")
    found = found[np.argsort(-found.scores, kind="stable")[:MAX_CANDIDATES]]
    boxes = np.clip(placement.to_frame(found.boxes), 0, 1)
    found = Detections(boxes, found.scores, found.labels)
    found = found[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
    return found[suppress(found, card.output.nms_iou)[: card.output.max_detections]]


def suppress(found: Detections, max_iou: float) -> npt.NDArray[np.intp]:
    """Indices that stay when of two overlapping detections of a class the weaker goes; ``found`` is sorted best first."""
    weaker = np.triu((iou_matrix(found.boxes, found.boxes) > max_iou) & (found.labels[:, None] == found.labels[None, :]), 1)
    stays = np.ones(len(found), dtype=bool)
    for i in np.flatnonzero(weaker.any(axis=1)):
        if stays[i]:
            stays &= ~weaker[i]
    return np.flatnonzero(stays)


def _decode_boxes_score_class(output: Floats, card: ModelCard, min_score: float) -> Detections:  # noqa: ARG001
    rows = output[output[:, 4] >= min_score]
    return Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))


def _decode_yolox(output: Floats, card: ModelCard, min_score: float) -> Detections:
    """Raw heads: centre offset in cells, log size in cells, objectness and class scores (Ge et al., arXiv:2107.08430)."""
    size = card.input.size
    objectness = output[:, 4]
    # No class scores more than 1, so that most anchors need no look at their classes.
    likely = np.flatnonzero(objectness >= min_score)
    by_class = output[likely, 5:]
    labels = by_class.argmax(axis=1)
    scores = objectness[likely] * by_class[np.arange(len(likely)), labels]
    strong = scores >= min_score
    likely, labels, scores = likely[strong], labels[strong], scores[strong]
    cells, strides = _yolox_grid(size)
    centre = (output[likely, :2] + cells[likely]) * strides[likely]
    half = np.exp(output[likely, 2:4]) * strides[likely] / 2
    scale = np.array([*size, *size], np.float32)
    boxes = np.asarray(np.hstack([centre - half, centre + half]) / scale, np.float32)
    return Detections(boxes, scores, labels.astype(np.int64))


@cache
def _yolox_grid(size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Cell (x, y) and stride in px of each anchor, (anchors, 2) and (anchors, 1)."""
    cells, strides = [], []
    for stride in YOLOX_STRIDES_PX:
        y, x = np.mgrid[: size[1] // stride, : size[0] // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32))
        strides.append(np.full((x.size, 1), stride, np.float32))
    return np.concatenate(cells), np.concatenate(strides)
