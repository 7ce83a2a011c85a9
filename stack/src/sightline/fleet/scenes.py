"""What simulated cameras see: pictures of eight rows, one object a row, whose pixels say where it is and how clear.

A row's bytes: x1, y1, x2, y2 in 1/255 of the picture, how clearly the object shows (0..255; 0: no object), its class, the light
of the scene, the picture's grain, and four that mean nothing. Light and traffic follow the hour of the day, and at night all
that is seen is a little less clear: for every version alike.
"""

import numpy as np
import numpy.typing as npt

from sightline.fleet.detectors import COLUMNS, ROWS

Pictures = npt.NDArray[np.uint8]

_DAY_LIGHT, _NIGHT_LIGHT = 170.0, 25.0
_SUNRISE_H, _SUNSET_H = 6.0, 20.0
# Classes of labels.COCO_80 and their shares: person, bicycle, car.
_CLASSES, _SHARES = (0, 1, 2), (0.6, 0.1, 0.3)
_HOUR_US = 3_600_000_000


def streets(nodes: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A factor of traffic for each node: places differ, and stay what they are."""
    return rng.lognormal(0.0, 0.35, nodes)


def pictures(
    at_us: int, traffic: npt.NDArray[np.float64], per_node: int, rng: np.random.Generator, grain_below: int = 256
) -> Pictures:
    """(nodes, per_node, 8, 4, 3): what each node's camera sees at ``at_us``, UTC us."""
    hour = (at_us / _HOUR_US) % 24
    nodes = len(traffic)
    rows = np.zeros((nodes, per_node, ROWS, COLUMNS * 3), np.uint8)
    shape = rows.shape[:3]
    busy = np.clip((0.18 + 0.32 * _daylight(hour)) * traffic, 0.02, 0.95)
    there = rng.random(shape) < busy[:, None, None]
    clear = rng.beta(6, 3, shape) - 0.06 * (1 - _daylight(hour))
    rows[..., 0] = np.arange(ROWS) % 4 * 62 + rng.integers(0, 8, shape)
    rows[..., 1] = np.arange(ROWS) // 4 * 120 + rng.integers(0, 20, shape)
    rows[..., 2] = rows[..., 0] + rng.integers(25, 50, shape)
    rows[..., 3] = rows[..., 1] + rng.integers(50, 100, shape)
    rows[..., 4] = np.where(there, np.clip(clear, 0.05, 1) * 255, 0)
    rows[..., 5] = rng.choice(_CLASSES, p=_SHARES, size=shape)
    light = _NIGHT_LIGHT + (_DAY_LIGHT - _NIGHT_LIGHT) * _daylight(hour)
    rows[..., 6] = np.clip(light + rng.normal(0, 8, (nodes, per_node, 1)), 0, 255)
    rows[..., 7] = rng.integers(0, grain_below, (nodes, per_node, 1))
    return rows.reshape(nodes, per_node, ROWS, COLUMNS, 3)


def _daylight(hour: float) -> float:
    """0 at night, 1 by day, with an hour of twilight around sunrise and sunset."""
    return float(np.clip(min(hour - _SUNRISE_H, _SUNSET_H - hour) + 0.5, 0, 1))
