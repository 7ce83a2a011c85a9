"""The scenes: where the camera stands, where lanes and walkways run, what is counted and watched, and how a detector sees it.

Lengths are metres on the ground (x to the right, y away from the camera), speeds metres a second. Three kinds of scene in
five layouts: a road seen along and across, a walkway seen along and across, a shop's shelf.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from sightline.simulate.kernel import Floats, Record, Records
from sightline.simulate.motion import LANE
from sightline.simulate.objects import LOOKS_LIKE, PERSON
from sightline.simulate.optics import Optics
from sightline.simulate.sensing import VIEW, sensor
from sightline.simulate.truth import ZONE
from sightline_contract.camera import CameraConfig, Line, Zone
from sightline_contract.rules import (
    AccidentRule,
    CongestionRule,
    RestrictedRule,
    Rule,
    SpeedingRule,
    StoppedRule,
    WrongWayRule,
)

LIMIT_KM_H = 72.0
_TOLERANCE_KM_H = 8.0
MIN_SCORE = 0.5
CLASSES = ("person", "bicycle", "car", "motorcycle", "bus", "truck")
Point = tuple[float, float]


class Traffic(StrEnum):
    """How much goes on."""

    LIGHT = "light"
    DENSE = "dense"


class SceneKind(StrEnum):
    """The three kinds of world."""

    ROAD = "road"
    WALKWAY = "walkway"
    SHELF = "shelf"


@dataclass(frozen=True)
class Lane:
    """A lane from start to end; ``stop`` is the light's place along it, None without."""

    start: Point
    end: Point
    stop: float | None = None


@dataclass(frozen=True)
class Area:
    """A zone on the ground with its rules; ``heading`` is the way that is allowed there, for the wrong-way rule."""

    name: str
    polygon: tuple[Point, ...]
    rules: tuple[str, ...] = ()
    heading: Point | None = None


@dataclass(frozen=True)
class Layout:
    """A scene before anybody comes."""

    name: str
    kind: SceneKind
    optics: Optics
    line: tuple[Point, Point]  # on the ground, the counting line
    areas: tuple[Area, ...]
    lanes: tuple[Lane, ...] = ()
    # Of scenes where people walk: the corridor's near left and far right corner, and the way (unit vector) through it.
    corridor: tuple[Point, Point] = ((0.0, 0.0), (0.0, 0.0))
    along_x: bool = True
    slots: tuple[Point, ...] = ()  # where shoppers stand
    has_queue: bool = False  # stop and go over the counting line


_HD = (1280, 720)


def road_along(queue: bool) -> Layout:
    """A road that runs towards the camera: each way a shoulder, a lane and a faster lane."""
    far, near = 78.0, 4.0
    lanes = (
        Lane((-5.2, far), (-5.2, near), far - 17.0 if queue else None),
        Lane((5.2, near), (5.2, far), None),
        Lane((-1.7, far), (-1.7, near)),
        Lane((1.7, near), (1.7, far)),
        Lane((-8.6, far), (-8.6, near)),
        Lane((8.6, near), (8.6, far)),
    )
    areas = (
        Area("shoulder", ((7.0, 14.0), (10.2, 14.0), (10.2, 55.0), (7.0, 55.0)), ("stopped",)),
        Area("oncoming", ((-7.0, 13.0), (0.0, 13.0), (0.0, 50.0), (-7.0, 50.0)), ("wrong_way", "speeding"), (0.0, -1.0)),
        Area("departing", ((0.1, 13.0), (7.0, 13.0), (7.0, 50.0), (0.1, 50.0)), ("speeding", "accident")),
        Area("queue", ((-7.0, 17.0), (-3.4, 17.0), (-3.4, 48.0), (-7.0, 48.0)), ("congestion",)),
    )
    optics = Optics(_HD, 1000.0, 8.0, 17.0)
    return Layout("road-along", SceneKind.ROAD, optics, ((-7.2, 24.0), (7.2, 24.0)), areas, lanes, has_queue=queue)


def road_across(queue: bool) -> Layout:
    """A road that runs across the picture: near lanes to the right, far lanes to the left, faster lanes beside."""
    side = 34.0
    lanes = (
        Lane((-side, 17.0), (side, 17.0), side + 5.0 if queue else None),
        Lane((side, 27.0), (-side, 27.0), None),
        Lane((-side, 20.2), (side, 20.2)),
        Lane((side, 23.8), (-side, 23.8)),
        Lane((-side, 14.0), (side, 14.0)),
        Lane((side, 30.2), (-side, 30.2)),
    )
    areas = (
        Area("shoulder", ((-12.0, 12.6), (12.0, 12.6), (12.0, 15.2), (-12.0, 15.2)), ("stopped",)),
        Area("rightwards", ((-13.0, 15.3), (13.0, 15.3), (14.0, 21.9), (-14.0, 21.9)), ("wrong_way", "speeding"), (1.0, 0.0)),
        Area("leftwards", ((-14.0, 22.0), (14.0, 22.0), (16.0, 28.6), (-16.0, 28.6)), ("speeding", "accident")),
        Area("queue", ((-13.0, 15.3), (5.0, 15.3), (5.0, 18.6), (-13.0, 18.6)), ("congestion",)),
    )
    optics = Optics(_HD, 650.0, 8.5, 22.0)
    return Layout("road-across", SceneKind.ROAD, optics, ((0.0, 13.0), (0.0, 32.0)), areas, lanes, has_queue=queue)


def walkway_across() -> Layout:
    """A pavement across the picture, with a yard behind where none may be."""
    areas = (
        Area("pavement", ((-4.0, 7.5), (4.0, 7.5), (5.5, 14.4), (-5.5, 14.4))),
        Area("yard", ((-6.0, 15.5), (6.0, 15.5), (6.0, 19.0), (-6.0, 19.0)), ("restricted",)),
    )
    optics = Optics(_HD, 900.0, 4.8, 20.0)
    corridor = ((-14.0, 7.5), (14.0, 14.0))
    return Layout("walkway-across", SceneKind.WALKWAY, optics, ((0.0, 6.3), (0.0, 15.2)), areas, corridor=corridor)


def walkway_along() -> Layout:
    """A path that runs away from the camera, with a verge where none may be."""
    areas = (
        Area("path", ((-3.2, 10.5), (3.2, 10.5), (3.2, 22.0), (-3.2, 22.0))),
        Area("verge", ((4.6, 10.5), (7.0, 10.5), (7.0, 22.0), (4.6, 22.0)), ("restricted",)),
    )
    optics = Optics(_HD, 1000.0, 5.5, 18.0)
    corridor = ((-3.0, 5.0), (3.0, 36.0))
    line = ((-3.8, 14.0), (3.8, 14.0))
    return Layout("walkway-along", SceneKind.WALKWAY, optics, line, areas, corridor=corridor, along_x=False)


def shelf() -> Layout:
    """A shop's aisle: people come in on the left over the line, stand before the shelves, and leave on either side."""
    areas = tuple(
        Area(f"shelf-{k}", ((x, 6.9), (x + 1.9, 6.9), (x + 1.9, 8.6), (x, 8.6)))
        for k, x in enumerate((-2.0, 0.2, 2.4), start=1)
    )
    slots = tuple((x, y) for x in (-1.6, -0.5, 0.6, 1.7, 2.8, 3.9) for y in (7.3, 8.1))
    optics = Optics(_HD, 800.0, 3.6, 22.0)
    corridor = ((-9.0, 5.0), (9.5, 8.4))
    return Layout("shelf", SceneKind.SHELF, optics, ((-3.0, 4.4), (-3.0, 9.4)), areas, corridor=corridor, slots=slots)


def camera_config(layout: Layout, camera_id: str, frame_rate: float) -> CameraConfig:
    """The camera's file, as its site would write it."""
    start, end = layout.optics.pixels(layout.line)
    zones = tuple(
        Zone(name=area.name, polygon=tuple(layout.optics.pixels(area.polygon)), rules=_rules(layout, area))
        for area in layout.areas
    )
    return CameraConfig(
        camera_id=camera_id,
        site="simulated",
        frame_size=layout.optics.frame_size,
        frame_rate=frame_rate,
        classes=CLASSES,
        min_score=MIN_SCORE,
        lines=(Line(name="count", start=start, end=end),),
        zones=zones,
        homography=layout.optics.to_ground,
    )


def _rules(layout: Layout, area: Area) -> tuple[Rule, ...]:
    made: dict[str, Rule] = {
        "stopped": StoppedRule(kind="stopped", after_s=20.0),
        "speeding": SpeedingRule(kind="speeding", limit_km_h=LIMIT_KM_H, tolerance_km_h=_TOLERANCE_KM_H),
        "accident": AccidentRule(kind="accident", from_km_h=20.0, within_s=2.0, stay_s=10.0),
        "congestion": CongestionRule(kind="congestion", min_objects=3, below_km_h=10.0, for_s=20.0),
        "restricted": RestrictedRule(kind="restricted", after_s=1.0),
    }
    if area.heading is not None:
        middle = np.mean(area.polygon, axis=0)
        (x0, y0), (x1, y1) = layout.optics.pixels([middle, middle + area.heading])
        made["wrong_way"] = WrongWayRule(kind="wrong_way", heading=(x1 - x0, y1 - y0), after_sizes=2.0)
    return tuple(made[name] for name in area.rules)


def lane_records(layout: Layout, traffic: Traffic) -> Records:
    """(K,) LANE; one that nobody uses where the scene has none."""
    lanes = np.zeros(max(len(layout.lanes), 1), LANE)
    for record, lane in zip(lanes, layout.lanes, strict=False):
        way = np.subtract(lane.end, lane.start)
        length = float(np.hypot(*way))
        record["x"], record["y"] = lane.start
        record["dx"], record["dy"] = way / length
        record["length"] = length
        record["stop"] = length + 1e6 if lane.stop is None else lane.stop
        record["cycle_s"], record["green_s"] = 70.0, 38.0
        record["creep_s"] = 3.0 if traffic is Traffic.DENSE else 7.0
    return lanes


def zone_records(config: CameraConfig) -> Records:
    """(Z,) ZONE of the camera's zones and rules, on the picture."""
    zones = np.zeros(len(config.zones), ZONE)
    for record, zone in zip(zones, config.zones, strict=True):
        record["n_corners"] = len(zone.polygon)
        record["corners"][: len(zone.polygon)] = zone.polygon
        for rule in zone.rules:
            _note_rule(record, rule)
    return zones


def _note_rule(record: Record, rule: Rule) -> None:
    if isinstance(rule, StoppedRule):
        record["stopped_us"] = round(rule.after_s * 1e6)
    elif isinstance(rule, RestrictedRule):
        record["restricted_us"] = round(rule.after_s * 1e6)
    elif isinstance(rule, AccidentRule):
        record["accident_us"] = round(rule.stay_s * 1e6)
    elif isinstance(rule, SpeedingRule):
        record["limit_mps"] = (rule.limit_km_h + rule.tolerance_km_h) / 3.6
    elif isinstance(rule, WrongWayRule):
        record["heading"] = np.divide(rule.heading, np.hypot(*rule.heading))
        record["against_sizes"] = rule.after_sizes
    elif isinstance(rule, CongestionRule):
        record["congestion_us"] = round(rule.for_s * 1e6)
        record["congestion_objects"] = rule.min_objects
        record["congestion_mps"] = (rule.below_km_h or 0.0) / 3.6


def line_array(config: CameraConfig) -> Floats:
    """(L, 4) of the camera's lines, px."""
    return np.array([(*line.start, *line.end) for line in config.lines], np.float64).reshape(-1, 4)


def view_record(layout: Layout) -> Records:
    """(1,) VIEW."""
    view = np.zeros(1, VIEW)
    view["to_picture"] = layout.optics.to_picture
    view["width"], view["height"] = layout.optics.frame_size
    view["false_class"] = PERSON.class_id if layout.kind is not SceneKind.ROAD else 2
    view["alike"] = np.arange(256)
    for one, other in LOOKS_LIKE.items():
        view["alike"][0, one.class_id] = other.class_id
    return view


def sensor_record(traffic: Traffic) -> Record:
    """A SENSOR record: in dense traffic 10 % of the clear boxes are missed, a third of them in bursts."""
    common = {"burst_s": 0.8, "ghost_s": 3.0, "duplicate": 0.01, "confusion": 0.004, "jitter": 0.025}
    scores = {"score": 2.2, "score_spread": 0.9, "score_cover": 2.0, "false_score": -1.2, "ghost_score": -0.4}
    if traffic is Traffic.LIGHT:
        noise = {"miss": 0.02, "bursts_per_s": 0.02, "false_per_frame": 0.02, "ghosts_per_s": 1 / 180}
    else:
        noise = {"miss": 0.075, "bursts_per_s": 0.05, "false_per_frame": 0.05, "ghosts_per_s": 1 / 60}
    return sensor(**common, **scores, **noise)
