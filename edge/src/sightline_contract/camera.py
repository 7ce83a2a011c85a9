"""A camera as its site describes it: frame, counting lines, zones with rules, classes, scale. One YAML file a camera.

Coordinates are pixels of ``frame_size``, x to the right and y down; where an object stands is the middle of its box's lower
edge (its foot-point). A line has a direction: seen on the picture when walking from ``start`` to ``end``, an object that
goes from the left-hand side to the right-hand side crosses *forward*, the other way *backward*.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from sightline_contract.errors import ConfigError
from sightline_contract.labels import COCO_80, UNKNOWN_CLASS, class_ids
from sightline_contract.rules import MAX_RULES, Hours, Rule, needs_scale
from sightline_contract.settings import Settings, load_settings

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Point = tuple[float, float]
Score = Annotated[float, Field(ge=0, le=1)]

# Bits of a track's state say which lines it crossed and which zones it is in: 16 of each.
MAX_LINES = 16
MAX_ZONES = 16


class Scene(StrEnum):
    """Whether the camera stands still; chooses the tracker's parameters."""

    FIXED = "fixed"
    MOVING = "moving"


class Line(Settings):
    """A counting line."""

    name: Name
    start: Point
    end: Point
    forward: Name = "forward"
    backward: Name = "backward"

    @model_validator(mode="after")
    def _has_length(self) -> Self:
        if self.start == self.end:
            raise ValueError(f"line {self.name!r} starts where it ends: give two different points")
        if self.forward == self.backward:
            raise ValueError(f"line {self.name!r} calls both directions {self.forward!r}: give two names")
        return self


class AlertRule(Settings):
    """When a detection in a zone is an alert."""

    classes: tuple[str, ...] = ("person",)
    min_score: Score = 0.5
    hours: Hours = ""
    severity: Annotated[str, StringConstraints(pattern="^(info|warning|critical)$")] = "warning"
    # The zone must have been empty of these classes for so long before it alerts again.
    rearm_s: Annotated[float, Field(ge=0)] = 5.0


class Zone(Settings):
    """A polygon on the picture; visits to it are recorded, a detection in it can be an alert, a track can break its rules."""

    name: Name
    polygon: Annotated[tuple[Point, ...], Field(min_length=3, max_length=64)]
    alert: AlertRule | None = None
    rules: tuple[Rule, ...] = ()


class CameraConfig(Settings):
    """One camera."""

    camera_id: Name
    site: Name = "default"
    frame_size: tuple[Annotated[int, Field(gt=0, le=16384)], Annotated[int, Field(gt=0, le=16384)]]
    frame_rate: Annotated[float, Field(gt=0, le=1000)]
    scene: Scene = Scene.FIXED
    classes: Annotated[tuple[str, ...], Field(min_length=1)] = ("person", "bicycle", "car", "motorcycle", "bus", "truck")
    site_labels: dict[Annotated[int, Field(ge=len(COCO_80), lt=UNKNOWN_CLASS)], str] = Field(default_factory=dict)
    min_score: Score = 0.3
    lines: Annotated[tuple[Line, ...], Field(max_length=MAX_LINES)] = ()
    zones: Annotated[tuple[Zone, ...], Field(max_length=MAX_ZONES)] = ()
    metres_per_pixel: Annotated[float, Field(gt=0)] | None = None
    # Row-major 3 x 3 matrix from pixels to metres on the ground.
    homography: Annotated[tuple[float, ...], Field(min_length=9, max_length=9)] | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for what, names in (("line", [x.name for x in self.lines]), ("zone", [x.name for x in self.zones])):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"two {what}s are called {twice[0]!r}: names must differ")
        for where, point in self._points():
            if not (0 <= point[0] <= self.frame_size[0] and 0 <= point[1] <= self.frame_size[1]):
                raise ValueError(
                    f"{where} has a point {list(point)} outside the frame of {self.frame_size[0]}x{self.frame_size[1]}"
                )
        for classes in (self.classes, *(zone.alert.classes for zone in self.zones if zone.alert)):
            try:
                class_ids(classes, self.site_labels)
            except KeyError as error:
                raise ValueError(f"class {error.args[0]!r} is neither one of COCO's 80 nor in site_labels") from error
        if self.metres_per_pixel and self.homography:
            raise ValueError("give metres_per_pixel or homography, not both")
        if self.homography and abs(determinant(self.homography)) < 1e-12:
            raise ValueError(
                "homography cannot be inverted: give nine numbers from pixels to metres, measured at 4 points or more"
            )
        self._check_rules()
        return self

    def _check_rules(self) -> None:
        rules = [(zone.name, rule) for zone in self.zones for rule in zone.rules]
        if len(rules) > MAX_RULES:
            raise ValueError(f"its zones have {len(rules)} rules together: give at most {MAX_RULES}")
        counted = set(self.class_ids)
        for zone, rule in rules:
            what = f"zone {zone!r}: the {rule.kind} rule"
            try:
                watched = class_ids(rule.classes, self.site_labels)
            except KeyError as error:
                raise ValueError(f"{what} has a class {error.args[0]!r} neither of COCO's 80 nor in site_labels") from error
            if not counted.intersection(watched):
                raise ValueError(f"{what} watches none of the camera's classes: add one of them to the camera's 'classes'")
            if needs_scale(rule) and not (self.metres_per_pixel or self.homography):
                raise ValueError(f"{what} speaks of km/h: give the camera's homography or metres_per_pixel")

    def _points(self) -> list[tuple[str, Point]]:
        on_lines = [(f"line {line.name!r}", point) for line in self.lines for point in (line.start, line.end)]
        return on_lines + [(f"zone {zone.name!r}", point) for zone in self.zones for point in zone.polygon]

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Ids of the classes that count."""
        return class_ids(self.classes, self.site_labels)


def determinant(matrix: tuple[float, ...]) -> float:
    """Of a row-major 3 x 3 matrix."""
    a, b, c, d, e, f, g, h, i = matrix
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def load_cameras(path: Path) -> tuple[CameraConfig, ...]:
    """Every camera of a file or of a folder's ``*.yaml`` files; raises ConfigError, also where two share an id."""
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files:
        raise ConfigError(f"{path}: holds no *.yaml camera file")
    cameras = tuple(load_settings(file, CameraConfig) for file in files)
    seen: dict[str, Path] = {}
    for file, camera in zip(files, cameras, strict=True):
        if camera.camera_id in seen:
            raise ConfigError(f"{file}: camera_id {camera.camera_id!r} is already used by {seen[camera.camera_id]}")
        seen[camera.camera_id] = file
    return cameras
