"""Critical detections: somebody enters a zone that has an alert rule, or a class of the watch list shows up.

An event is sent when the zone (or the picture) has been empty of the rule's classes for ``rearm_s`` before: presence is one
event, however long it lasts. Whether an event is an alert (hours, severity) is decided by the streaming job.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sightline_contract.camera import AlertRule, CameraConfig, Zone
from sightline_contract.events import DetectionEvent, EventKind
from sightline_contract.grid import cell_of, cells_in
from sightline_contract.labels import class_ids, label_names
from sightline_edge.batching import FrameDetections, Origin
from sightline_edge.config import WatchRule


@dataclass
class Rule:
    """What makes a detection critical, and when it was last seen. ``cells`` is None where the whole picture counts."""

    kind: EventKind
    name: str
    cells: frozenset[int] | None
    class_ids: tuple[int, ...]
    min_score: float
    rearm_us: int
    last_seen_us: int | None = None

    def entered_by(self, frame: FrameDetections) -> int | None:
        """Index of the strongest detection that meets the rule, if the rule was armed; remembers the presence."""
        wanted = np.flatnonzero(np.isin(frame.classes, self.class_ids) & (frame.scores >= self.min_score))
        present = [int(i) for i in wanted if self.cells is None or foot_cell(frame, int(i)) in self.cells]
        if not present:
            return None
        armed = self.last_seen_us is None or frame.captured_us - self.last_seen_us >= self.rearm_us
        self.last_seen_us = frame.captured_us
        return max(present, key=lambda i: float(frame.scores[i])) if armed else None


class EventFinder:
    """Finds one camera's events, frame by frame in order."""

    def __init__(self, camera: CameraConfig, watch_list: Iterable[WatchRule], origin: Origin) -> None:
        self._origin = origin
        self._labels = label_names(camera.site_labels)
        zones = [_zone_rule(zone, zone.alert, camera) for zone in camera.zones if zone.alert]
        self._rules = zones + [_watch_rule(rule) for rule in watch_list]

    def use(self, origin: Origin) -> None:
        """Events from now on are of ``origin``: another model's."""
        self._origin = origin

    def find(self, frame: FrameDetections, received_us: int, now_us: int) -> list[DetectionEvent]:
        """Events of a frame, to be sent at once."""
        found = [(rule, rule.entered_by(frame)) for rule in self._rules]
        return [self._event(rule, frame, i, received_us, now_us) for rule, i in found if i is not None]

    def _event(self, rule: Rule, frame: FrameDetections, i: int, received_us: int, now_us: int) -> DetectionEvent:
        origin = self._origin
        cx, cy, width, height = (float(value) for value in frame.boxes[i])
        return DetectionEvent(
            event_id=f"{origin.camera_id}/{origin.session}/{frame.ordinal}/{rule.kind}/{rule.name}",
            kind=rule.kind,
            node_id=origin.node_id,
            camera_id=origin.camera_id,
            session=origin.session,
            frame=frame.ordinal,
            captured_us=frame.captured_us,
            received_us=received_us,
            emitted_us=now_us,
            class_name=self._labels[frame.classes[i]],
            score=float(frame.scores[i]),
            cx=cx,
            cy=cy,
            w=width,
            h=height,
            cell=foot_cell(frame, i),
            zone=rule.name if rule.kind is EventKind.ZONE_ENTERED else None,
            model_version=origin.model_version,
        )


def foot_cell(frame: FrameDetections, i: int) -> int:
    """Grid cell of where the object stands: the middle of its box's lower edge."""
    cx, cy, _, height = (float(value) for value in frame.boxes[i])
    return cell_of(cx, cy + height / 2)


def _zone_rule(zone: Zone, alert: AlertRule, camera: CameraConfig) -> Rule:
    polygon = np.array(zone.polygon) / np.array(camera.frame_size)
    classes = class_ids(alert.classes, camera.site_labels)
    rearm_us = round(alert.rearm_s * 1e6)
    return Rule(EventKind.ZONE_ENTERED, zone.name, frozenset(cells_in(polygon)), classes, alert.min_score, rearm_us)


def _watch_rule(rule: WatchRule) -> Rule:
    watched = class_ids((rule.class_name,))
    return Rule(EventKind.WATCH_LIST, rule.class_name, None, watched, rule.min_score, round(rule.rearm_s * 1e6))
