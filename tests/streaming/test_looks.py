"""Tracking with appearance vectors: who meets, hides and parts keeps the number; without vectors nothing is different."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from seen import look_of

from sightline_streaming.core.params import FIXED_CAMERA
from sightline_streaming.core.tracker import EMISSION, LOOK, SCENE, TRACK, finish, step, step_with_looks

START_US = 1_000_000_000
FRAME_US = 40_000
SIZE = 32

# Foot-less boxes: (x, y, person, score); a frame is a list of them.
Seen = tuple[float, float, int, float]
Look = npt.NDArray[np.int8]


class Camera:
    """One camera's state, and all that was emitted for it; ``size`` 0: its node sends no vectors."""

    def __init__(self, size: int = SIZE) -> None:
        self.size = size
        self.scene, self.tracks, self.n_slots = np.zeros(1, SCENE), np.zeros(1, TRACK), 0
        self.emissions, self.n = np.zeros(1, EMISSION), 0
        self.looks = np.zeros(0, LOOK)

    def see(self, frame: int, seen: Sequence[Seen], looks: Look | None = None) -> None:
        rows = np.array([(x, y, x + 40, y + 100) for x, y, _, _ in seen], np.float32).reshape(-1, 4)
        scores = np.array([score for *_, score in seen], np.float32)
        if looks is None:
            looks = np.array([look_of(person, frame, SIZE) for _, _, person, _ in seen], np.int8).reshape(-1, SIZE)
        if self.size:
            self.looks = np.concatenate([self.looks, np.zeros(max(self.n_slots + len(seen) - len(self.looks), 0), LOOK)])
        self.tracks, self.n_slots, self.emissions, self.n = step_with_looks(
            FIXED_CAMERA, self.scene, self.tracks, self.n_slots, self.emissions, self.n, START_US + frame * FRAME_US,
            rows, scores, np.zeros(len(seen), np.uint8), self.looks, np.ascontiguousarray(looks[:, : self.size]), 0.5,
        )  # fmt: skip

    def restored(self) -> "Camera":
        """A camera that goes on from a copy of the saved state."""
        other = Camera(self.size)
        other.scene = np.frombuffer(self.scene.tobytes(), SCENE).copy()
        other.tracks = np.frombuffer(self.tracks[: self.n_slots].tobytes(), TRACK).copy()
        other.looks = np.frombuffer(self.looks[: self.n_slots].tobytes(), LOOK).copy()
        other.n_slots = self.n_slots
        return other

    def emitted(self, since: int = 0) -> npt.NDArray[np.void]:
        return self.emissions[since : self.n]


def number_near(camera: Camera, frame: int, x: float) -> int:
    """Number of the track at ``x`` in a frame."""
    there = camera.emitted()[camera.emitted()["t_us"] == START_US + frame * FRAME_US]
    nearest = there[np.argmin(np.abs(there["x1"] - x))]
    assert abs(nearest["x1"] - x) < 5
    return int(nearest["track_no"])


def meet_hide_and_turn_back(frame: int) -> list[Seen]:
    """Two walk towards each other, are hidden behind something for 0.4 s, and walk back whence they came."""
    if frame < 50:
        return [(100 + 4 * frame, 200, 1, 0.97), (500 - 4 * frame, 200, 2, 0.97)]
    if frame < 60:
        return []
    back = frame - 60
    return [(280 - 4 * back, 200, 1, 0.97), (320 + 4 * back, 200, 2, 0.97)]


def test_two_who_turn_back_behind_something_swap_numbers_without_vectors_and_keep_them_with() -> None:
    swapped = []
    for size in (0, SIZE):
        camera = Camera(size)
        for frame in range(110):
            camera.see(frame, meet_hide_and_turn_back(frame))
        before = [number_near(camera, 40, x) for x in (260, 340)]
        after = [number_near(camera, 99, x) for x in (124, 476)]
        assert set(before) == set(after) == {1, 2}
        swapped.append(before != after)
    assert swapped == [True, False]


def test_somebody_lost_for_long_is_found_again_by_looks_alone() -> None:
    for size, expected in ((0, 2), (SIZE, 1)):
        camera = Camera(size)
        for frame in range(250):
            if not 30 <= frame < 180:  # six seconds
                camera.see(frame, [(100 + (frame if frame < 30 else 40), 200, 1, 0.97)])
            else:
                camera.see(frame, [])
        assert number_near(camera, 249, 140) == expected


def test_a_stranger_where_somebody_was_lost_is_somebody_else() -> None:
    camera = Camera()
    for frame in range(250):
        camera.see(frame, [] if 30 <= frame < 180 else [(140, 200, 1 if frame < 30 else 2, 0.97)])
    assert number_near(camera, 249, 140) == 2


def learned_from(camera: Camera, seen: Sequence[Seen], looks: Look) -> bool:
    """Whether another frame changes what the first track looks like."""
    before = camera.looks[0].tobytes()
    camera.see(20, seen, looks)
    return camera.looks[0].tobytes() != before


def test_a_track_learns_only_from_sure_detections_that_show_it_alone() -> None:
    def walked() -> Camera:
        camera = Camera()
        for frame in range(20):
            camera.see(frame, [(100, 200, 1, 0.97)])
        return camera

    look, other = look_of(3, 0, SIZE), look_of(4, 0, SIZE)
    assert learned_from(walked(), [(100, 200, 1, 0.97)], np.array([look]))
    assert not learned_from(walked(), [(100, 200, 1, 0.5)], np.array([look]))
    assert not learned_from(walked(), [(100, 200, 1, 0.97), (115, 200, 2, 0.97)], np.array([look, other]))
    assert not learned_from(walked(), [(100, 200, 1, 0.97)], np.zeros((1, SIZE), np.int8))


def test_what_a_track_looks_like_stays_a_direction_and_follows_slowly() -> None:
    camera = Camera()
    for frame in range(200):
        camera.see(frame, [(100, 200, 1 if frame < 100 else 3, 0.97)])
        if frame == 105:
            halfway = camera.looks[0]["vector"].astype(float)
    for vector in (halfway, camera.looks[0]["vector"].astype(float)):
        assert abs(np.linalg.norm(vector) - 16384) < 50
    assert number_near(camera, 199, 100) == 1
    new = look_of(3, 0, SIZE).astype(float)
    cosine = [
        v[:SIZE] @ new / np.linalg.norm(v) / np.linalg.norm(new) for v in (halfway, camera.looks[0]["vector"].astype(float))
    ]
    assert cosine[0] < 0.6
    assert cosine[1] > 0.9


people = st.lists(
    st.tuples(st.floats(0, 600), st.floats(0, 300), st.integers(0, 3), st.sampled_from([0.97, 0.95, 0.85, 0.5])), max_size=5
)
streams = st.lists(people, min_size=1, max_size=30)


@settings(max_examples=60)
@given(streams, st.data())
def test_a_restored_camera_goes_on_as_if_nothing_had_been(frames: list[list[Seen]], data: st.DataObject) -> None:
    one = Camera()
    cut = data.draw(st.integers(0, len(frames)))
    for k, seen in enumerate(frames[:cut]):
        one.see(k, seen)
    other, since = one.restored(), one.n
    for k, seen in enumerate(frames[cut:], start=cut):
        one.see(k, seen)
        other.see(k, seen)
    assert one.emitted(since).tobytes() == other.emitted().tobytes()
    assert one.tracks[: one.n_slots].tobytes() == other.tracks[: other.n_slots].tobytes()
    live = one.tracks["live"][: one.n_slots] > 0
    assert one.looks[: one.n_slots][live].tobytes() == other.looks[: other.n_slots][live].tobytes()
    numbers = one.tracks["number"][: one.n_slots][live]
    confirmed = numbers[numbers > 0]
    assert len(set(confirmed.tolist())) == len(confirmed)


@settings(max_examples=60)
@given(streams)
def test_vectors_of_nothing_and_no_vectors_are_the_same(frames: list[list[Seen]]) -> None:
    without, unknown = Camera(0), Camera()
    scene, tracks, n_slots, emissions, n = np.zeros(1, SCENE), np.zeros(1, TRACK), 0, np.zeros(1, EMISSION), 0
    for k, seen in enumerate(frames):
        without.see(k, seen)
        unknown.see(k, seen, np.zeros((len(seen), SIZE), np.int8))
        rows = np.array([(x, y, x + 40, y + 100) for x, y, _, _ in seen], np.float32).reshape(-1, 4)
        scores = np.array([score for *_, score in seen], np.float32)
        tracks, n_slots, emissions, n = step(
            FIXED_CAMERA, scene, tracks, n_slots, emissions, n, START_US + k * FRAME_US, rows, scores,
            np.zeros(len(seen), np.uint8),
        )  # fmt: skip
    finish(scene, tracks, n_slots, emissions, n)
    assert without.emitted().tobytes() == unknown.emitted().tobytes() == emissions[:n].tobytes()
