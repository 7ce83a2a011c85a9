"""What the shard kernel must know of the cameras' configuration, as flat arrays that pickle small and need no preparation.

A camera without a configuration counts all classes and has no lines and no zones.
"""

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sightline_contract.camera import MAX_LINES, MAX_ZONES, CameraConfig, Scene
from sightline_contract.errors import ConfigError
from sightline_contract.rules import EVENT_KINDS
from sightline_streaming.core.geometry import Floats
from sightline_streaming.core.kernel import Records
from sightline_streaming.core.params import FIXED_CAMERA, MOVING_CAMERA, TrackerParams, for_detector
from sightline_streaming.core.watches import limit_of, watches_of, zone_rules

# Lateness is bounded by this many windows, which bounds what a shard keeps of a camera.
MAX_OPEN_WINDOWS = 1000

SITE = np.dtype(
    [
        ("width", np.float64),  # px of the camera file's frame, in which lines and zones are given
        ("height", np.float64),
        ("params", np.float64, (len(TrackerParams._fields),)),
        ("lines", np.float64, (MAX_LINES, 4)),  # x1 y1 x2 y2
        ("first_corner", np.int64, (MAX_ZONES + 1,)),  # of each zone, and the end of the last
        ("first_line", np.int32),  # among the lines of all cameras
        ("n_lines", np.int32),
        ("first_zone", np.int32),  # among the zones of all cameras
        ("n_zones", np.int32),
        ("first_rule", np.int32),  # among the rules of all cameras
        ("n_rules", np.int32),
        ("to_ground", np.float64, (9,)),  # homography to metres, positive before the horizon
        ("has_scale", np.uint8),
        # Digest of lines, zones and rules: what is remembered of tracks at them holds while it is the same.
        ("places", np.uint32),
        ("min_score", np.uint8),  # as on the wire
        ("lists_classes", np.uint8),  # whether each class that counts has a row in every counting window
        ("counted", np.uint8, (256,)),  # whether a class counts
    ],
    align=True,
)


class Rules(NamedTuple):
    """Numbers that hold for all cameras."""

    window_us: int
    lateness_us: int
    open_windows: int
    crossing_margin: float
    visit_gap_us: int


@dataclass(frozen=True)
class RuleTexts:
    """What an event says of its rule, one of each per rule of all cameras."""

    kinds: tuple[str, ...]  # of the event
    names: tuple[str, ...]  # unique within the zone
    zones: tuple[str, ...]
    limits: tuple[float, ...]
    units: tuple[str, ...]
    numbers: tuple[str, ...]  # the rule itself, JSON


@dataclass(frozen=True)
class ShardConfig:
    """Configuration of ``process_shard``, made by ``shard_config``."""

    sites: Records  # SITE: of cameras without a configuration, then of each with one
    corners: Floats  # (P, 2) of all zones
    watches: Records  # WATCH: of all rules
    rules: Rules
    site_of: dict[bytes, int]
    line_names: tuple[str, ...]
    forward_names: tuple[str, ...]
    backward_names: tuple[str, ...]
    zone_names: tuple[str, ...]
    rule_texts: RuleTexts
    max_future_us: int
    forget_after_us: int


def shard_config(
    cameras: Iterable[CameraConfig],
    *,
    window_s: float = 60.0,
    allowed_lateness_s: float = 10.0,
    max_future_s: float = 60.0,
    forget_after_s: float = 7 * 86400.0,
    min_score: float = 0.3,
    crossing_margin: float = 0.1,
    visit_gap_s: float = 0.5,
) -> ShardConfig:
    """Prepare the cameras' configuration.

    A counting window closes when its camera's event time has passed its end by ``allowed_lateness_s``, which should cover the
    time that the tracker looks back (its ``lost_s``). ``max_future_s``: how far a message's times may lie ahead of its arrival.
    ``forget_after_s``: silence after which a camera's state is dropped. ``min_score`` holds for cameras without a
    configuration. A track has crossed a line when it is beyond it by ``crossing_margin`` of its box's extent across it. A stay
    in a zone ends when the track was outside for ``visit_gap_s``.
    """
    cameras = tuple(cameras)
    if not 1e-3 <= window_s <= 86400 or not 0 <= allowed_lateness_s <= MAX_OPEN_WINDOWS * window_s:
        raise ConfigError(
            f"window_s {window_s:g} with allowed_lateness_s {allowed_lateness_s:g}: give a window of 0.001 to 86400 s and a "
            f"lateness of 0 to {MAX_OPEN_WINDOWS} windows"
        )
    window_us, lateness_us = round(window_s * 1e6), round(allowed_lateness_s * 1e6)
    lines = [line for camera in cameras for line in camera.lines]
    return ShardConfig(
        sites=_sites(cameras, min_score),
        corners=_corners(cameras),
        watches=watches_of(cameras),
        rules=Rules(window_us, lateness_us, lateness_us // window_us + 3, crossing_margin, round(visit_gap_s * 1e6)),
        site_of={camera.camera_id.encode(): k for k, camera in enumerate(cameras, start=1)},
        line_names=tuple(line.name for line in lines),
        forward_names=tuple(line.forward for line in lines),
        backward_names=tuple(line.backward for line in lines),
        zone_names=tuple(zone.name for camera in cameras for zone in camera.zones),
        rule_texts=_rule_texts(cameras),
        max_future_us=round(max_future_s * 1e6),
        forget_after_us=round(forget_after_s * 1e6),
    )


def tracker_params(scene: Scene, min_score: float) -> TrackerParams:
    """The scene's parameters for a camera whose detections can be trusted from ``min_score`` on."""
    base = FIXED_CAMERA if scene is Scene.FIXED else MOVING_CAMERA
    return for_detector(base, min(max(min_score, 0.01), 0.99))


def _sites(cameras: tuple[CameraConfig, ...], min_score: float) -> Records:
    sites = np.zeros(len(cameras) + 1, SITE)
    sites[0]["width"] = sites[0]["height"] = 1.0
    sites[0]["min_score"] = _on_the_wire(min_score)
    sites[0]["params"] = tracker_params(Scene.FIXED, min_score)
    sites[0]["counted"] = 1
    n_lines = n_zones = n_corners = n_rules = 0
    for site, camera in zip(sites[1:], cameras, strict=True):
        site["width"], site["height"] = camera.frame_size
        site["params"] = tracker_params(camera.scene, camera.min_score)
        site["first_line"], site["n_lines"] = n_lines, len(camera.lines)
        site["first_zone"], site["n_zones"] = n_zones, len(camera.zones)
        site["first_rule"], site["n_rules"] = n_rules, sum(len(zone.rules) for zone in camera.zones)
        site["has_scale"], site["to_ground"] = _to_ground(camera)
        site["places"] = zlib.crc32(repr((camera.frame_size, camera.lines, camera.zones)).encode())
        site["min_score"] = _on_the_wire(camera.min_score)
        site["lists_classes"] = 1
        site["counted"][list(camera.class_ids)] = 1
        for k, line in enumerate(camera.lines):
            site["lines"][k] = (*line.start, *line.end)
        site["first_corner"] = n_corners
        for k, zone in enumerate(camera.zones, start=1):
            n_corners += len(zone.polygon)
            site["first_corner"][k:] = n_corners
        n_lines += len(camera.lines)
        n_zones += len(camera.zones)
        n_rules += int(site["n_rules"])
    return sites


def _to_ground(camera: CameraConfig) -> tuple[bool, tuple[float, ...]]:
    """Whether the camera has a scale, and its matrix from pixels to metres, so signed that the picture's foot is before it."""
    if camera.metres_per_pixel:
        return True, (camera.metres_per_pixel, 0, 0, 0, camera.metres_per_pixel, 0, 0, 0, 1)
    if not camera.homography:
        return False, (0.0,) * 9
    h, (width, height) = camera.homography, camera.frame_size
    ahead = h[6] * width / 2 + h[7] * height + h[8]
    return True, tuple(value if ahead > 0 else -value for value in h)


def _rule_texts(cameras: tuple[CameraConfig, ...]) -> RuleTexts:
    rules = [(camera.zones[zone].name, name, rule) for camera in cameras for zone, name, rule in zone_rules(camera)]
    limits = [limit_of(rule) for _, _, rule in rules]
    return RuleTexts(
        kinds=tuple(EVENT_KINDS[rule.kind] for _, _, rule in rules),
        names=tuple(name for _, name, _ in rules),
        zones=tuple(zone for zone, _, _ in rules),
        limits=tuple(limit for limit, _ in limits),
        units=tuple(unit for _, unit in limits),
        numbers=tuple(json.dumps(rule.model_dump(exclude_none=True)) for _, _, rule in rules),
    )


def _corners(cameras: tuple[CameraConfig, ...]) -> Floats:
    corners = [corner for camera in cameras for zone in camera.zones for corner in zone.polygon]
    return np.array(corners, np.float64).reshape(-1, 2)


def _on_the_wire(score: float) -> int:
    return round(score * 255)
