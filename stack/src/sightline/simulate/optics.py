"""The camera's eye: from metres on the ground to pixels and back.

The ground has x to the right and y away from the camera, which stands above (0, 0). A pinhole without distortion maps it by
one homography, whose third row gives the depth: an upright length of L metres at a place is L * focal / depth pixels there.
"""

from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np
import numpy.typing as npt

from sightline.simulate.kernel import Floats


@dataclass(frozen=True)
class Optics:
    """A pinhole camera."""

    frame_size: tuple[int, int]  # px
    focal_px: float
    height_m: float  # above the ground
    pitch_deg: float  # below the horizontal

    @property
    def to_picture(self) -> Floats:
        """(3, 3) from (x, y, 1) in metres to pixels, times the depth in metres."""
        width, height = self.frame_size
        s, c = sin(radians(self.pitch_deg)), cos(radians(self.pitch_deg))
        f, up = self.focal_px, self.height_m
        return np.array(
            [
                [f, width / 2 * c, width / 2 * up * s],
                [0.0, -f * s + height / 2 * c, f * up * c + height / 2 * up * s],
                [0.0, c, up * s],
            ]
        )

    @property
    def to_ground(self) -> tuple[float, ...]:
        """Row-major 3 x 3 from pixels to metres, as a camera file has it."""
        inverse = np.linalg.inv(self.to_picture)
        return tuple(float(x) for x in (inverse / inverse[2, 2]).ravel())

    def pixels(self, points: npt.ArrayLike) -> list[tuple[float, float]]:
        """Pixels of (n, 2) ground points, clipped to the frame and rounded to tenths."""
        ground = np.atleast_2d(np.asarray(points, np.float64))
        seen = np.column_stack([ground, np.ones(len(ground))]) @ self.to_picture.T
        on_picture = np.clip(seen[:, :2] / seen[:, 2:], 0, self.frame_size)
        return [(round(float(u), 1), round(float(v), 1)) for u, v in on_picture]
