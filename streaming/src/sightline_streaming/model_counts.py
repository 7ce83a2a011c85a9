"""Detection batches counted by node, model version and window: what of a model's detections reached the centre.

Bytes in, Arrow out, no Spark. Messages are decoded in bulk (core/wire.py) and counted by numpy: no Python object is made per
detection. A batch counts for the window into which its first frame falls. One that cannot be read is passed over here: the
tracking job dead-letters it. A site's own classes read ``class-N``. A batch that was sent twice counts once where one
micro-batch has both.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sightline_contract.batch import SCORE_SCALE
from sightline_contract.labels import label_names
from sightline_contract.rollout import SCORE_BINS
from sightline_lakehouse.arrow import arrow_schema
from sightline_lakehouse.tables import MODEL_DETECTIONS
from sightline_streaming.archived import at
from sightline_streaming.core.wire import decode

SCHEMA: Final = arrow_schema(MODEL_DETECTIONS)
_US: Final = 1_000_000
_LAST_US: Final = 253_402_300_799 * _US  # the year 9999 ends
_NAMES: Final = label_names()
_BIN_OF_SCORE: Final = np.minimum(np.arange(SCORE_SCALE + 1) * SCORE_BINS // SCORE_SCALE, SCORE_BINS - 1)

Counts = npt.NDArray[np.int64]


class _Key(NamedTuple):
    node_id: str
    model_name: str
    model_version: str
    window_us: int


class _Sums:
    """What one node's model did in one window."""

    def __init__(self, source: tuple[int, int]) -> None:
        self.source = source  # Kafka partition and offset of the first message
        self.cameras: set[str] = set()
        self.frames = 0
        self.scores: Counts = np.zeros(SCORE_SCALE + 1, np.int64)
        self.classes: Counter[str] = Counter()

    def row(self, key: _Key, window_s: int) -> dict[str, Any]:
        start = at(key.window_us)
        classes = sorted(self.classes)
        return {
            "node_id": key.node_id,
            "model_name": key.model_name,
            "model_version": key.model_version,
            "window_start": start,
            "window_s": window_s,
            "cameras": sorted(self.cameras),
            "frames": self.frames,
            "detections": int(self.scores.sum()),
            "score_counts": np.bincount(_BIN_OF_SCORE, self.scores, SCORE_BINS).astype(np.int64).tolist(),
            "class_names": classes,
            "class_counts": [self.classes[name] for name in classes],
            "source_partition": self.source[0],
            "source_offset": self.source[1],
            "event_date": start.date(),
        }


def count_batches(payloads: Sequence[bytes | None], sources: Sequence[tuple[int, int]], window_s: int) -> pa.Table:
    """Rows of gold.model_detections for messages, each with its Kafka partition and offset."""
    buffer, _, headers = decode(payloads)
    seen: set[tuple[str, int, int]] = set()
    sums: dict[_Key, _Sums] = {}

    def text(start: int, length: int) -> str:
        return buffer[start : start + length].tobytes().decode()

    for header, source in zip(headers, sources, strict=True):
        if not header["readable"] or not header["frames"] or header["captured_us"] > _LAST_US:
            continue
        camera = text(header["camera_at"], header["camera_length"])
        if (batch := (camera, int(header["session"]), int(header["seq"]))) in seen:
            continue
        seen.add(batch)
        key = _Key(
            text(header["node_at"], header["node_length"]),
            text(header["model_name_at"], header["model_name_length"]),
            text(header["model_at"], header["model_length"]),
            int(header["captured_us"]) // (window_s * _US) * window_s * _US,
        )
        into = sums.setdefault(key, _Sums(source))
        into.source = min(into.source, source)
        into.cameras.add(camera)
        into.frames += int(header["frames"])
        into.scores += np.bincount(_column(buffer, header, "scores_at"), minlength=SCORE_SCALE + 1)
        classes = np.bincount(_column(buffer, header, "classes_at"))
        for number in np.flatnonzero(classes).tolist():
            into.classes[_NAMES[number]] += int(classes[number])
    return pa.Table.from_pylist([into.row(key, window_s) for key, into in sums.items()], SCHEMA)


def _column(buffer: npt.NDArray[np.uint8], header: np.void, place: str) -> npt.NDArray[np.uint8]:
    return buffer[int(header[place]) :][: int(header["detections"])]
