"""Which detections the centre gets. What is withheld is counted, in the message and in the heartbeat.

Frames always go: an empty frame was seen, and completeness needs it. Of a message that is chosen in full for the sake of the
rest, nothing is withheld: a second of whole frames is a fair sample, single detections would not be.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sightline_contract.batch import Frames, get_frames, set_frames
from sightline_contract.camera import CameraConfig
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.errors import ConfigError
from sightline_contract.labels import label_names
from sightline_edge.config import ForwardConfig, WatchRule


class Selection:
    """Decides detection by detection; any thread may ask."""

    def __init__(self, config: ForwardConfig, watch_list: Sequence[WatchRule], cameras: Sequence[CameraConfig]) -> None:
        _check(config.classes, cameras)
        self._config = config
        self._class_ids = {camera.camera_id: _ids(config.classes, camera.site_labels) for camera in cameras}
        self._other_ids = _ids(config.classes, {})
        self._watched = [(label_names().index(rule.class_name), rule.min_score) for rule in watch_list]
        self._open_until_s = 0.0
        self._lock = threading.Lock()
        self.withheld: Counter[str] = Counter()

    def open_until(self, monotonic_s: float) -> None:
        """Withhold nothing until then: a neighbour has warned."""
        self._open_until_s = max(self._open_until_s, monotonic_s)

    def select(self, batch: DetectionBatch) -> DetectionBatch:
        """The batch as the centre gets it: itself, or a copy without what is withheld."""
        if self._config.everything or time.monotonic() < self._open_until_s or self._is_sample(batch):
            return batch
        frames = get_frames(batch)
        wanted = self._wanted(frames, self._class_ids.get(batch.camera_id, self._other_ids))
        withheld = int(np.count_nonzero(~wanted))
        if not withheld:
            return batch
        with self._lock:
            self.withheld[batch.camera_id] += withheld
        selected = DetectionBatch()
        selected.CopyFrom(batch)
        selected.detections_withheld = withheld
        set_frames(selected, _only(frames, wanted))
        return selected

    def _is_sample(self, batch: DetectionBatch) -> bool:
        every = self._config.rest_every
        return every > 0 and batch.seq % every == 0

    def _wanted(self, frames: Frames, class_ids: frozenset[int]) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        wanted = frames.scores >= self._config.min_score
        if class_ids:
            wanted &= np.isin(frames.classes, list(class_ids))
        for class_id, min_score in self._watched:
            wanted |= (frames.classes == class_id) & (frames.scores >= min_score)
        return wanted


def _check(classes: Sequence[str], cameras: Sequence[CameraConfig]) -> None:
    known = {name for camera in cameras for name in camera.site_labels.values()} | set(label_names())
    if unknown := [name for name in classes if name not in known]:
        raise ConfigError(f"forward.classes: {unknown[0]!r} is neither one of COCO's 80 nor in a camera's site_labels")


def _only(frames: Frames, wanted: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Frames:
    frame_of = np.repeat(np.arange(len(frames.counts)), frames.counts)
    return replace(
        frames,
        counts=np.bincount(frame_of[wanted], minlength=len(frames.counts)).astype(np.uint16),
        boxes=frames.boxes[wanted],
        scores=frames.scores[wanted],
        classes=frames.classes[wanted],
        appearance=None if frames.appearance is None else frames.appearance[wanted],
    )


def _ids(names: Sequence[str], site_labels: dict[int, str]) -> frozenset[int]:
    known = label_names(site_labels)
    return frozenset(known.index(name) for name in names if name in known)
