"""Whether two models see the same: detections of one frame matched by class, overlap and score.

What parity gates (an engine against ONNX Runtime) and shadows (a candidate against the live model) have in common.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]

MATCH_IOU = 0.5


@dataclass(frozen=True)
class Agreement:
    """Counts over frames: detections that match, and of one side alone; sums over the matched ones."""

    matched: int = 0
    only_first: int = 0
    only_second: int = 0
    iou_sum: float = 0.0
    score_gap_sum: float = 0.0

    def __add__(self, other: "Agreement") -> "Agreement":
        return Agreement(
            self.matched + other.matched,
            self.only_first + other.only_first,
            self.only_second + other.only_second,
            self.iou_sum + other.iou_sum,
            self.score_gap_sum + other.score_gap_sum,
        )

    @property
    def rate(self) -> float:
        """Matched pairs among all objects that either side saw (the Jaccard index); 1 where neither saw any."""
        seen = self.matched + self.only_first + self.only_second
        return self.matched / seen if seen else 1.0

    @property
    def mean_iou(self) -> float:
        """Mean overlap of the matched pairs; 1 where there are none."""
        return self.iou_sum / self.matched if self.matched else 1.0

    @property
    def mean_score_gap(self) -> float:
        """Mean difference of the matched pairs' scores; 0 where there are none."""
        return self.score_gap_sum / self.matched if self.matched else 0.0


def iou_matrix(first: Floats, second: Floats) -> Floats:
    """(N, M) intersection over union of boxes (N, 4) and (M, 4) as x1, y1, x2, y2."""
    (left, top, right, bottom), (left_, top_, right_, bottom_) = first.T[..., None], second.T
    common = np.maximum(np.minimum(right, right_) - np.maximum(left, left_), 0)
    common = common * np.maximum(np.minimum(bottom, bottom_) - np.maximum(top, top_), 0)
    union = _area(first)[:, None] + _area(second) - common
    return np.asarray(common / np.maximum(union, np.finfo(np.float32).tiny))


def _area(boxes: Floats) -> Floats:
    return np.asarray(np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0))


def compare(first: tuple[Floats, Floats, Ints], second: tuple[Floats, Floats, Ints], match_iou: float = MATCH_IOU) -> Agreement:
    """Agreement on one frame of two sides' (boxes (N, 4) x1 y1 x2 y2, scores (N,), labels (N,)), paired best overlap first."""
    boxes, scores, labels = first
    other_boxes, other_scores, other_labels = second
    overlap = iou_matrix(boxes, other_boxes)
    overlap = np.where(labels[:, None] == other_labels[None, :], overlap, 0.0)
    pairs = _best_first(overlap, match_iou)
    return Agreement(
        matched=len(pairs),
        only_first=len(scores) - len(pairs),
        only_second=len(other_scores) - len(pairs),
        iou_sum=float(sum(overlap[i, j] for i, j in pairs)),
        score_gap_sum=float(sum(abs(float(scores[i]) - float(other_scores[j])) for i, j in pairs)),
    )


def _best_first(overlap: Floats, least: float) -> list[tuple[int, int]]:
    """Pairs in falling order of overlap, each row and column at most once."""
    rows, columns = np.nonzero(overlap >= least)
    order = np.argsort(-overlap[rows, columns], kind="stable")
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    pairs = []
    for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if i not in taken_rows and j not in taken_columns:
            taken_rows.add(i)
            taken_columns.add(j)
            pairs.append((i, j))
    return pairs
