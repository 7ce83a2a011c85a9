"""What two drones see: windows that wander over the sample clip, so that people come into the picture and leave it."""

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av

from sightline_contract.camera import CameraConfig, Scene

FRAME_SIZE = (240, 180)  # px, of the picture that a drone takes
FRAME_RATE = 10
# A window's centre goes round in so many seconds, across and along: the way repeats itself only after minutes.
_PERIODS_S = (11.0, 17.0)


def drone_camera(name: str) -> CameraConfig:
    """The camera file of a drone."""
    return CameraConfig(
        camera_id=f"{name}-camera", site="harbour", frame_size=FRAME_SIZE, frame_rate=FRAME_RATE, scene=Scene.MOVING
    )


def write_flight(clip: Path, out: Path, seconds: float, phase: float, progress: Callable[[], None]) -> None:
    """Write the flight over ``clip`` whose way begins at ``phase`` (of a round) as an H.264 file."""
    width, height = FRAME_SIZE
    with av.open(str(clip)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream("libx264", rate=FRAME_RATE, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, FRAME_RATE)
        for number, picture in enumerate(source.decode(video=0)):
            if number >= seconds * FRAME_RATE:
                break
            pixels = picture.to_ndarray(format="bgr24")
            left, top = _window(number / FRAME_RATE, phase, pixels.shape[1] - width, pixels.shape[0] - height)
            frame = av.VideoFrame.from_ndarray(pixels[top : top + height, left : left + width].copy(), format="bgr24")
            frame.pts = number
            target.mux(stream.encode(frame))
            progress()
        target.mux(stream.encode())


def _window(time_s: float, phase: float, room_x: int, room_y: int) -> tuple[int, int]:
    """Left and upper edge of the window."""
    across, along = (0.5 + 0.5 * math.sin(2 * math.pi * (time_s / period + phase)) for period in _PERIODS_S)
    return round(across * room_x), round(along * room_y)
