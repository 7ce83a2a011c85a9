from collections.abc import Callable

import cv2
import numpy as np
import pytest
from clip_rig import Rig, decoded

from sightline_contract.errors import ConfigError
from sightline_edge.clips.blur import CELLS, STEPS, BlurredClasses, blur
from sightline_edge.postprocessing import Detections

SIZE = (320, 240)
BOX = (120.0, 60.0, 180.0, 180.0)
REACH = (100, 30, 200, 210)  # the box with its margin and a codec's block


def scene(seed: int = 0) -> np.ndarray:
    """A soft background, and a figure with a face and a striped coat in BOX."""
    rng = np.random.default_rng(seed)
    pixels = cv2.resize(rng.integers(60, 200, (12, 16, 3), np.uint8), SIZE, interpolation=cv2.INTER_CUBIC)
    for y in range(90, 180, 8):
        cv2.rectangle(pixels, (124, y), (176, y + 3), (20, 220, 240), -1)
    cv2.circle(pixels, (150, 75), 14, (140, 170, 220), -1)
    for x in (144, 156):
        cv2.circle(pixels, (x, 72), 3, (0, 0, 0), -1)
    cv2.ellipse(pixels, (150, 80), (7, 3), 0, 0, 180, (0, 0, 200), 2)
    return pixels


def match(picture: np.ndarray, template: np.ndarray) -> tuple[float, tuple[int, int]]:
    """Best normalised correlation, and where (x, y)."""
    found = cv2.matchTemplate(picture, template, cv2.TM_CCOEFF_NORMED)
    _, best, _, where = cv2.minMaxLoc(found)
    return best, where


def sharpened(pixels: np.ndarray) -> np.ndarray:
    return cv2.addWeighted(pixels, 5.0, cv2.GaussianBlur(pixels, (0, 0), 5), -4.0, 0)


def test_a_stored_clip_shows_no_person_and_everything_else(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(blur=("person",))
    original = scene()
    for _ in range(5):
        rig.add("blurred", original, np.array([BOX], np.float32))
        rig.add("clear", original)
        rig.clock.advance(0.2)
    rig.store.close(rig.clock())
    shown = {file.split("/")[0]: decoded(rig.folder / file)[-1][1] for file in rig.files()}

    left, top, right, bottom = (round(value) for value in BOX)
    person, face = original[top:bottom, left:right], original[60:90, 135:165]
    for template, at in ((person, (left, top)), (face, (135, 60))):
        score, where = match(shown["clear"], template)
        assert score > 0.9, "the test itself can see the person"
        assert where == at
        for picture in (shown["blurred"], sharpened(shown["blurred"])):
            assert match(picture, template)[0] < 0.5

    outside = np.ones(SIZE[::-1], bool)
    outside[REACH[1] : REACH[3], REACH[0] : REACH[2]] = False
    loss = np.abs(shown["clear"].astype(int) - original)[outside].mean()
    assert np.abs(shown["blurred"].astype(int) - original)[outside].mean() < loss + 1


def test_a_region_keeps_a_handful_of_rounded_colours(make_rig: Callable[..., Rig]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    region = blur(pixels, np.array([[50, 50, 150, 150]], np.float32))[40:160, 40:160]
    colours = np.unique(region.reshape(-1, 3), axis=0)
    assert len(colours) <= CELLS[0] * CELLS[1]
    assert set(np.unique(colours % (256 // STEPS))) == {256 // STEPS // 2}


def test_details_that_a_cell_averages_out_leave_no_trace() -> None:
    one, other = scene(), scene()
    other[66:84, 138:162] = other[66:84, 138:162][:, ::-1]  # another face, of the same mean
    box = np.array([BOX], np.float32)
    assert not np.array_equal(one, other)
    assert np.array_equal(blur(one, box), blur(other, box))


def test_the_picture_that_is_given_stays_as_it_is_and_the_margin_is_blurred_too() -> None:
    original = scene()
    kept = original.copy()
    done = blur(original, np.array([BOX], np.float32))
    assert np.array_equal(original, kept)
    changed = np.argwhere((done != original).any(axis=2))
    assert changed[:, 0].min() < 60 - 10
    assert changed[:, 1].min() < 120 - 5


def test_boxes_at_the_edge_and_outside_and_of_no_size_are_taken() -> None:
    boxes = np.array(
        [[-20, -20, 10, 10], [310, 230, 400, 300], [500, 500, 600, 600], [40, 40, 40, 40], [0, 0, 1, 1]], np.float32
    )
    done = blur(scene(), boxes)
    assert done.shape == (240, 320, 3)
    assert len(np.unique(done[:14, :14].reshape(-1, 3), axis=0)) <= CELLS[0] * CELLS[1] * 2


def test_every_score_counts_and_only_the_classes_named() -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0.1, 0.1, 0.2, 0.2], [0.5, 0.5, 1, 1]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.1, 0.8], np.float32), np.array([0, 0, 1]))
    assert BlurredClasses(("person",), ("person", "car")).boxes(found, (100, 50)) == pytest.approx(
        np.array([[0, 0, 50, 25], [10, 5, 20, 10]], np.float32)
    )
    assert BlurredClasses((), ("person",)).boxes(found, (100, 50)).shape == (0, 4)


def test_a_class_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"clips\.blur: 'persons' is no label of the model \(person, car, \.\.\.\)"):
        BlurredClasses(("persons",), ("person", "car"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_box_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        blur(scene(), np.array([[0, 0, value, 5]], np.float32))
