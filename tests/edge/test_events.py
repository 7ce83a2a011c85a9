import numpy as np
import pytest

from sightline_contract.camera import CameraConfig
from sightline_contract.events import EventKind
from sightline_edge.batching import FrameDetections, Origin
from sightline_edge.config import WatchRule
from sightline_edge.events import EventFinder

ORIGIN = Origin("node", "camera", 42, "model", "7", b"", (100, 100), 10.0)
PERSON, CAR = 0, 2
INSIDE, OUTSIDE = (0.25, 0.7, 0.1, 0.2), (0.8, 0.2, 0.1, 0.2)  # foot-points (0.25, 0.8) and (0.8, 0.3)


def camera(rearm_s: float = 2.0) -> CameraConfig:
    alert = {"classes": ["person"], "min_score": 0.5, "rearm_s": rearm_s}
    zone = {"name": "gate", "polygon": [[0, 50], [50, 50], [50, 100], [0, 100]], "alert": alert}
    quiet = {"name": "yard", "polygon": [[0, 0], [100, 0], [100, 100], [0, 100]]}
    return CameraConfig.model_validate(
        {"camera_id": "camera", "frame_size": [100, 100], "frame_rate": 10, "zones": [zone, quiet]}
    )


def frame(second: float, *found: tuple[tuple[float, float, float, float], float, int]) -> FrameDetections:
    boxes = np.array([box for box, _, _ in found], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in found], np.float32)
    classes = np.array([class_id for _, _, class_id in found], np.uint8)
    return FrameDetections(round(second * 10), round(second * 1e6), boxes, scores, classes)


def times_of_events(finder: EventFinder, frames: list[FrameDetections]) -> list[float]:
    return [one.captured_us / 1e6 for one in frames if finder.find(one, 0, 0)]


def test_entering_a_zone_is_one_event_however_long_one_stays() -> None:
    finder = EventFinder(camera(), [], ORIGIN)
    stay = [frame(t / 10, (INSIDE, 0.9, PERSON)) for t in range(100)]
    assert times_of_events(finder, stay) == [0.0]


def test_a_zone_alerts_again_only_after_it_was_empty_for_long_enough() -> None:
    finder = EventFinder(camera(rearm_s=2), [], ORIGIN)
    seen_at = [0, 1.9, 3.8, 5.8]  # gaps of 1.9, 1.9 and 2.0 s
    assert times_of_events(finder, [frame(t, (INSIDE, 0.9, PERSON)) for t in seen_at]) == [0.0, 5.8]


@pytest.mark.parametrize("found", [(OUTSIDE, 0.9, PERSON), (INSIDE, 0.4, PERSON), (INSIDE, 0.9, CAR)])
def test_who_stands_elsewhere_is_too_faint_or_of_another_class_is_no_event(found: tuple) -> None:
    assert EventFinder(camera(), [], ORIGIN).find(frame(0, found), 0, 0) == []


def test_the_event_is_about_the_strongest_detection_and_has_the_same_id_when_made_again() -> None:
    one = frame(3, (INSIDE, 0.6, PERSON), (INSIDE, 0.8, PERSON))
    (event,) = EventFinder(camera(), [], ORIGIN).find(one, received_us=5, now_us=9)
    (again,) = EventFinder(camera(), [], ORIGIN).find(one, received_us=6, now_us=10)
    assert event.score == pytest.approx(0.8)
    assert (event.zone, event.class_name, event.frame) == ("gate", "person", 30)
    assert (event.captured_us, event.received_us, event.emitted_us) == (3_000_000, 5, 9)
    assert event.event_id == again.event_id


def test_a_class_of_the_watch_list_is_an_event_anywhere() -> None:
    finder = EventFinder(camera(), [WatchRule(class_name="car", min_score=0.5, rearm_s=1)], ORIGIN)
    (event,) = finder.find(frame(0, (OUTSIDE, 0.7, CAR)), 0, 0)
    assert (event.kind, event.class_name, event.zone) == (EventKind.WATCH_LIST, "car", None)
