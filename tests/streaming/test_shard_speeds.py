"""Speeds: metres where the camera has a scale, and jitter is no motion."""

import math

import numpy as np
import pytest
from seen import Camera, Path, Seen, walk
from shards import Row, Shard, camera

from sightline_contract.camera import Line

# A camera 8 m above a road that it looks along, 15 degrees down: 1280x720, focal length 900 px.
PITCH, HEIGHT_M, FOCAL = math.radians(15), 8.0, 900.0
_DOWN, _ALONG = (math.cos(PITCH), -math.sin(PITCH)), (math.sin(PITCH), math.cos(PITCH))
# Ground (right, ahead, 1) to picture.
PROJECTION = np.array(
    [
        [FOCAL, 640 * _ALONG[1], 640 * _ALONG[0] * HEIGHT_M],
        [0, FOCAL * _DOWN[1] + 360 * _ALONG[1], (FOCAL * _DOWN[0] + 360 * _ALONG[0]) * HEIGHT_M],
        [0, _ALONG[1], _ALONG[0] * HEIGHT_M],
    ]
)
HOMOGRAPHY = tuple(np.linalg.inv(PROJECTION).ravel().tolist())


def on_picture(right: float, ahead: float) -> tuple[float, float]:
    x, y, w = PROJECTION @ (right, ahead, 1)
    return x / w, y / w


def drive(speed_m_s: float, right: float = 2.0, start: float = 14.0) -> Path:
    """Along the road, away from the camera, for six seconds."""
    return lambda t: on_picture(right, start + speed_m_s * t) if t <= 6 else None


def segments(path: Path, *, homography: bool = True, seconds: int = 8, **settings: object) -> list[Row]:
    scale = {"homography": HOMOGRAPHY} if homography else {}
    shard = Shard(camera(**scale), window_s=60)
    seen = Camera([Seen(path)], **settings)  # type: ignore[arg-type]
    for batch in seen.batches(range(round(seconds * seen.fps / seen.frames)), end=True):
        shard.take([batch])
    return shard.of("segment")


@pytest.mark.parametrize("speed_m_s", [1.4, 5.0])
@pytest.mark.parametrize(("fps", "frames"), [(20.0, 20), (5.0, 5)])
def test_by_a_homography_a_known_speed_is_told_within_5_percent(speed_m_s: float, fps: float, frames: int) -> None:
    rows = segments(drive(speed_m_s), fps=fps, frames=frames)
    late = [row["speed_m_s"] for row in rows[2:-1]]
    assert late == pytest.approx([speed_m_s] * len(late), rel=0.05)
    assert max(row["max_speed_m_s"] for row in rows[1:]) == pytest.approx(speed_m_s, rel=0.08)
    assert sum(row["distance_m"] or 0 for row in rows) == pytest.approx(6 * speed_m_s, rel=0.12)


def test_frames_of_another_size_than_the_camera_file_s_have_the_same_speeds_in_metres() -> None:
    rows = segments(drive(5.0), size=(640, 360))
    assert [row["speed_m_s"] for row in rows[2:-1]] == pytest.approx([5.0] * (len(rows) - 3), rel=0.05)


def test_without_a_scale_there_are_pixels_only() -> None:
    rows = segments(walk((0, 200, 400), (6, 800, 400)), homography=False)
    assert [row["speed_px_s"] for row in rows[1:-1]] == pytest.approx([100.0] * (len(rows) - 2), rel=0.05)
    assert {row[name] for row in rows for name in ("speed_m_s", "distance_m", "max_speed_m_s")} == {None}


def test_metres_per_pixel_is_a_scale() -> None:
    shard = Shard(camera(metres_per_pixel=0.05, lines=(Line(name="l", start=(500, 720), end=(500, 0)),)), window_s=60)
    shard.take(Camera([Seen(walk((0, 200, 400), (6, 800, 400)))]).batches(range(8), end=True))
    assert shard.of("segment")[0]["speed_m_s"] == pytest.approx(5.0, rel=0.02)
    assert shard.of("crossing")[0]["speed_m_s"] == pytest.approx(5.0, rel=0.02)


def test_a_parked_car_s_jitter_is_no_motion() -> None:
    rng = np.random.default_rng(3)
    x, y = on_picture(2.0, 12.0)
    rows = segments(lambda t: (x + rng.normal(0, 1.5), y + rng.normal(0, 1.5)) if t < 19 else None, seconds=20)
    assert max(row["speed_m_s"] for row in rows[1:]) < 0.05
    assert sum(row["distance_m"] or 0 for row in rows) < 0.3
    assert sum(row["distance_px"] for row in rows) > 500  # which the path's length from box to box does not say


def test_a_point_above_the_horizon_has_no_speed_in_metres() -> None:
    rows = segments(walk((0, 200, 60), (6, 800, 60)), seconds=6)
    assert {row["speed_m_s"] for row in rows} == {None}
    assert all(row["speed_px_s"] > 50 for row in rows)
