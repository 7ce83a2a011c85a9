"""Where objects stood: a heat map of foot-points over the bare scene, as JPEG."""

from collections.abc import Sequence

import cv2
import numpy as np

from sightline.results.paths import TrackPath, feet

# A foot-point warms its surroundings by so much of the picture's width.
REACH = 1 / 90
JPEG_QUALITY = 82


def foot_point_heatmap(scene_jpeg: bytes, paths: Sequence[TrackPath], frame_size: tuple[int, int]) -> bytes:
    """Draw the boxes' foot-points, which are in pixels of ``frame_size``, over the scene."""
    scene = cv2.imdecode(np.frombuffer(scene_jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    if scene is None:
        raise ValueError("the scene is not a JPEG")
    height, width = scene.shape
    grey = cv2.cvtColor(scene, cv2.COLOR_GRAY2BGR)
    ground = cv2.addWeighted(grey, 0.6, np.zeros_like(grey), 0.4, 0)
    points = np.concatenate([np.empty((0, 2)), *(feet(path.boxes) for path in paths)]) * np.array((width, height)) / frame_size
    density, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=(height, width), range=((0, height), (0, width)))
    density = cv2.GaussianBlur(density.astype(np.float32), (0, 0), width * REACH)
    # Standing objects leave far more points than walking ones: the root keeps paths visible beside them.
    warmth = np.sqrt(density / max(float(density.max()), 1e-9))
    colours = cv2.applyColorMap(np.rint(warmth * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    weight = np.clip(warmth * 1.6, 0, 0.9)[..., None]
    mixed = ground * (1 - weight) + colours * weight
    _, jpeg = cv2.imencode(".jpg", mixed.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(jpeg)
