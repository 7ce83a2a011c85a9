"""What the shard kernel must know of the cameras' configuration, as flat arrays that pickle small and need no preparation.

Record 0 of every camera-wise array stands for cameras without a configuration: all classes count, no lines, no zones.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sightline_contract.camera import CameraConfig, Scene
from sightline_contract.errors import ConfigError

from sightline_streaming.core.geometry import Floats
from sightline_streaming.core.params import FIXED_CAMERA, MOVING_CAMERA, TrackerParams, for_detector

# Lateness is bounded by this many windows, which bounds what a shard keeps of a camera.
MAX_OPEN_WINDOWS = 1000

SITE = np.dtype(
    [
        ("width", np.float64),  # px of the camera file's frame, in which lines and zones are given
        ("height", np.float64),
        ("first_line", np.int32),
        ("n_lines", np.int32),
        ("first_zone", np.int32),
        ("n_zones", np.int32),
        ("places", np.uint32),  # digest of lines and zones: what is remembered of tracks at them holds while it is the same
        ("min_score", np.uint8),  # as on the wire
    ],
    align=True,
)


class Sites(NamedTuple):
    """Configuration of S - 1 cameras (and of all others, first), with L lines and Z zones of P corners in all."""

    sites: npt.NDArray[np.void]  # (S,) SITE
    params: Floats  # (S, fields of TrackerParams)
    counted: npt.NDArray[np.bool_]  # (S, 256) whether a class counts
    configured: npt.NDArray[np.bool_]  # (S, 256) whether a class has a row in every counting window
    lines: Floats  # (L, 4) x1 y1 x2 y2
    first_corner: npt.NDArray[np.int64]  # (Z + 1,)
    corners: Floats  # (P, 2)


class Rules(NamedTuple):
    """Numbers that hold for all cameras."""

    window_us: int
    lateness_us: int
    open_windows: int
    crossing_margin: float
    visit_gap_us: int


@dataclass(frozen=True)
class ShardConfig:
    """Configuration of ``process_shard``, made by ``shard_config``."""

    sites: Sites
    rules: Rules
    site_of: dict[bytes, int]
    line_names: tuple[str, ...]
    forward_names: tuple[str, ...]
    backward_names: tuple[str, ...]
    zone_names: tuple[str, ...]
    max_future_us: int
    forget_after_us: int


def shard_config(
    cameras: Iterable[CameraConfig],
    *,
    window_s: float = 60.0,
    allowed_lateness_s: float = 10.0,
    max_future_s: float = 300.0,
    forget_after_s: float = 7 * 86400.0,
    min_score: float = 0.3,
    crossing_margin: float = 0.1,
    visit_gap_s: float = 0.5,
) -> ShardConfig:
    """Prepare the cameras' configuration.

    A counting window closes when its camera's event time has passed its end by ``allowed_lateness_s``, which should cover the
    time that the tracker looks back (its ``lost_s``). ``max_future_s``: how far a message's times may lie ahead of its arrival.
    ``forget_after_s``: silence after which a camera's state is dropped. ``min_score`` holds for cameras without a
    configuration. A track has crossed a line when it is beyond it by ``crossing_margin`` heights of its box. A stay in a zone
    ends when the track was outside for ``visit_gap_s``.
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
        rules=Rules(window_us, lateness_us, lateness_us // window_us + 3, crossing_margin, round(visit_gap_s * 1e6)),
        site_of={camera.camera_id.encode(): k for k, camera in enumerate(cameras, start=1)},
        line_names=tuple(line.name for line in lines),
        forward_names=tuple(line.forward for line in lines),
        backward_names=tuple(line.backward for line in lines),
        zone_names=tuple(zone.name for camera in cameras for zone in camera.zones),
        max_future_us=round(max_future_s * 1e6),
        forget_after_us=round(forget_after_s * 1e6),
    )


def tracker_params(scene: Scene, min_score: float) -> TrackerParams:
    """The scene's parameters for a camera whose detections can be trusted from ``min_score`` on."""
    base = FIXED_CAMERA if scene is Scene.FIXED else MOVING_CAMERA
    return for_detector(base, min(max(min_score, 0.01), 0.99))


def _sites(cameras: tuple[CameraConfig, ...], min_score: float) -> Sites:
    n = len(cameras) + 1
    sites = np.zeros(n, SITE)
    params = np.empty((n, len(TrackerParams._fields)))
    counted, configured = np.zeros((n, 256), np.bool_), np.zeros((n, 256), np.bool_)
    sites[0]["width"] = sites[0]["height"] = 1.0
    sites[0]["min_score"] = _on_the_wire(min_score)
    params[0] = tracker_params(Scene.FIXED, min_score)
    counted[0] = True
    n_lines = n_zones = 0
    for k, camera in enumerate(cameras, start=1):
        places = zlib.crc32(repr((camera.frame_size, camera.lines, camera.zones)).encode())
        sites[k] = (
            *camera.frame_size, n_lines, len(camera.lines), n_zones, len(camera.zones), places, _on_the_wire(camera.min_score),
        )  # fmt: skip
        params[k] = tracker_params(camera.scene, camera.min_score)
        counted[k, list(camera.class_ids)] = configured[k, list(camera.class_ids)] = True
        n_lines += len(camera.lines)
        n_zones += len(camera.zones)
    lines = [(*line.start, *line.end) for camera in cameras for line in camera.lines]
    polygons = [zone.polygon for camera in cameras for zone in camera.zones]
    return Sites(
        sites,
        params,
        counted,
        configured,
        np.array(lines, np.float64).reshape(-1, 4),
        np.cumsum([0, *map(len, polygons)], dtype=np.int64),
        np.array([corner for polygon in polygons for corner in polygon], np.float64).reshape(-1, 2),
    )


def _on_the_wire(score: float) -> int:
    return round(score * 255)
