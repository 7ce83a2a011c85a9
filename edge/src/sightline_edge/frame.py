"""A frame on its way through the node."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """One picture of a camera. ``ordinal`` counts all frames that the camera gave in this session, analysed or not."""

    ordinal: int
    captured_us: int  # event time, UTC
    received_us: int  # wall clock when it reached the node, UTC
    pixels: Pixels  # (height, width, 3), BGR

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return self.pixels.shape[1], self.pixels.shape[0]
