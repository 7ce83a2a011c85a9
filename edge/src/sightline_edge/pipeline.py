"""One camera's way from detections to messages: classes, events, batches, heartbeats."""

from dataclasses import dataclass, replace

import numpy as np

from sightline_contract.camera import CameraConfig
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.errors import ConfigError
from sightline_contract.events import NodeStatus
from sightline_contract.labels import UNKNOWN_CLASS, label_names
from sightline_contract.model_card import ModelCard
from sightline_edge.appearance import Appearance
from sightline_edge.batching import Batcher, FrameDetections, Origin
from sightline_edge.config import NodeConfig
from sightline_edge.delivery.delivery import Delivery, Health
from sightline_edge.delivery.records import Lane
from sightline_edge.events import EventFinder
from sightline_edge.frame import Frame
from sightline_edge.health.metrics import Metrics, Stage
from sightline_edge.postprocessing import Detections


@dataclass
class Counters:
    """What went through since the start."""

    frames: int = 0
    frames_skipped: int = 0
    detections: int = 0
    batches: int = 0
    events: int = 0


class CameraPipeline:
    """Turns what the detector found in one camera's frames into messages. Frames come in order."""

    def __init__(
        self,
        camera: CameraConfig,
        config: NodeConfig,
        origin: Origin,
        labels: tuple[str, ...],
        delivery: Delivery,
        metrics: Metrics,
        appearance: Appearance | None = None,
    ) -> None:
        self.camera = camera
        self.origin = origin
        self.counters = Counters()
        self._delivery = delivery
        self._metrics = metrics
        self._appearance = appearance
        self._batcher = Batcher(origin, round(config.batch_s * 1e6))
        self._events = EventFinder(camera, config.watch_list, origin)
        self._labels = labels
        self._class_ids = class_ids_of(labels, camera)
        watched = [label_names().index(rule.class_name) for rule in config.watch_list]
        self._wanted = np.array(sorted({*camera.class_ids, *watched}), np.uint8)

    def check(self, frame: Frame) -> None:
        """Raise ConfigError where the frame is not of the size in which zones and lines are drawn."""
        if frame.size != self.camera.frame_size:
            says = "x".join(map(str, self.camera.frame_size))
            raise ConfigError(
                f"camera {self.camera.camera_id}: frames are {frame.size[0]}x{frame.size[1]} and its camera file says {says}: "
                "correct frame_size, and with it zones and lines"
            )

    def use(self, card: ModelCard, digest: bytes) -> None:
        """Frames from now on were seen by this model; no batch holds frames of two."""
        origin = self.origin
        if (card.name, card.version, digest) == (origin.model_name, origin.model_version, origin.model_digest):
            return
        self.origin = replace(origin, model_name=card.name, model_version=card.version, model_digest=digest)
        self._batcher.use(self.origin)
        self._events.use(self.origin)
        if card.labels != self._labels:
            self._labels, self._class_ids = card.labels, class_ids_of(card.labels, self.camera)

    def observe(self, frame: Frame, found: Detections, now_us: int) -> None:
        """Send the frame's events, and the batch that it closes."""
        detections = self._of_contract(frame, found)
        for event in self._events.find(detections, frame.received_us, now_us):
            self._delivery.send_event(event)
            self.counters.events += 1
            self._metrics.stage(Stage.EVENT, (now_us - frame.received_us) / 1e6)
        self._metrics.scores(detections.scores, detections.classes)
        self.counters.frames += 1
        self.counters.detections += len(detections.scores)
        self._send(self._batcher.add(detections, now_us))

    def tick(self, now_us: int) -> None:
        """Send the open batch of a camera that has fallen silent."""
        self._send(self._batcher.overdue(now_us))

    def end(self) -> None:
        """Send what is left, and that the session is over."""
        self._send(self._batcher.end())

    def status(
        self, state: str, frames_read: int, inference_ms: tuple[float, float], health: Health, now_us: int
    ) -> NodeStatus:
        """The camera's heartbeat; ``inference_ms`` are the 50th and 95th percentile."""
        origin, counters = self.origin, self.counters
        return NodeStatus(
            node_id=origin.node_id,
            camera_id=origin.camera_id,
            session=origin.session,
            reported_us=now_us,
            state=state,
            frames_read=frames_read,
            frames_analysed=counters.frames,
            frames_skipped=counters.frames_skipped,
            batches_sent=counters.batches,
            batches_pending=health.depth.messages[Lane.DETECTIONS],
            events_sent=counters.events,
            inference_ms_p50=inference_ms[0],
            inference_ms_p95=inference_ms[1],
            model_name=origin.model_name,
            model_version=origin.model_version,
            spool_messages=health.depth.total,
            spool_bytes=health.depth.content_bytes,
            spool_oldest_s=health.depth.oldest_s,
            spool_dropped=health.dropped,
            detections_withheld=self._delivery.selection.withheld[origin.camera_id],
            clock_offset_ms=round(health.clock.offset_s * 1000, 3) if health.clock else None,
        )

    def _send(self, batch: DetectionBatch | None) -> None:
        if batch is not None:
            self._delivery.send_batch(batch)
            self.counters.batches += 1
            self.counters.frames_skipped += batch.frames_skipped
            if batch.frames_skipped:
                self._metrics.dropped(batch.camera_id, "busy", batch.frames_skipped)

    def _of_contract(self, frame: Frame, found: Detections) -> FrameDetections:
        classes = self._class_ids[found.labels]
        wanted = np.isin(classes, self._wanted)
        corners = found.boxes[wanted]
        scores, kept = found.scores[wanted], classes[wanted]
        looks = self._appearance.look(frame.pixels, corners, scores, kept) if self._appearance else None
        centre, size = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        return FrameDetections(frame.ordinal, frame.captured_us, np.hstack([centre, size]), scores, kept, looks)


def class_ids_of(labels: tuple[str, ...], camera: CameraConfig) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Class id of the contract for each of a model's labels; a label that is no class becomes unknown."""
    index = {name: class_id for class_id, name in enumerate(label_names(camera.site_labels))}
    return np.array([index.get(label, UNKNOWN_CLASS) for label in labels], np.uint8)
