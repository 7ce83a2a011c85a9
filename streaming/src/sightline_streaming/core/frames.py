"""The frames of a message, one by one, as the tracker takes them."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline_streaming.core.kernel import Record, inner, leaf
from sightline_streaming.core.wire import Bytes, u16_at


class Detections(NamedTuple):
    """Detections of a frame, N places."""

    boxes: npt.NDArray[np.float32]  # (N, 4) x1 y1 x2 y2, px
    scores: npt.NDArray[np.float32]  # (N,) 0..1
    classes: npt.NDArray[np.uint8]  # (N,)
    looks: npt.NDArray[np.int8]  # (N, D) appearance vectors


@inner
def no_detections(header: Record) -> Detections:
    """Room for the detections of one of the message's frames."""
    n = header.detections
    return Detections(
        np.empty((n, 4), np.float32),
        np.empty(n, np.float32),
        np.empty(n, np.uint8),
        np.empty((n, header.appearance_size), np.int8),
    )


@leaf
def frame_at(buffer: Bytes, header: Record, frame: int) -> tuple[int, int]:
    """When a frame was captured, and how many detections it has."""
    t_us = header.captured_us + 1000 * u16_at(buffer, header.offsets_at + 2 * frame)
    return t_us, u16_at(buffer, header.counts_at + 2 * frame)


@leaf
def read_frame(site: Record, buffer: Bytes, header: Record, first: int, n: int, seen: Detections) -> int:
    """Read a frame's detections of the classes that count, whatever their score, as the tracker takes them: how many."""
    per_x, per_y = header.px_per_unit_x, header.px_per_unit_y
    boxes, scores, classes, looks = seen
    kept = 0
    for d in range(first, first + n):
        class_id = buffer[header.classes_at + d]
        if not site.counted[class_id]:
            continue
        at = header.boxes_at + 8 * d
        x, y = u16_at(buffer, at) * per_x, u16_at(buffer, at + 2) * per_y
        half_width, half_height = 0.5 * u16_at(buffer, at + 4) * per_x, 0.5 * u16_at(buffer, at + 6) * per_y
        boxes[kept, 0] = x - half_width
        boxes[kept, 1] = y - half_height
        boxes[kept, 2] = x + half_width
        boxes[kept, 3] = y + half_height
        scores[kept] = buffer[header.scores_at + d] / 255.0
        classes[kept] = class_id
        for k in range(looks.shape[1]):
            looks[kept, k] = np.int8(buffer[header.appearance_at + d * looks.shape[1] + k])
        kept += 1
    return kept
