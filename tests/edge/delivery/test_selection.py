"""Selection: what the centre gets, and that what it does not get is counted."""

from pathlib import Path

import numpy as np
import pytest

from sightline_contract.batch import Frames, get_frames, set_frames
from sightline_contract.camera import CameraConfig
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.errors import ConfigError
from sightline_contract.ids import SCHEMA_VERSION
from sightline_edge.config import ForwardConfig, WatchRule
from sightline_edge.delivery.selection import Selection

PERSON, CAR, TRUCK, SITE = 0, 2, 7, 80
CAMERA = CameraConfig(camera_id="gate", frame_size=(640, 480), frame_rate=10, site_labels={SITE: "forklift"})


def batch(seq: int = 1, camera_id: str = "gate", version: int = SCHEMA_VERSION) -> DetectionBatch:
    """Three frames: a sure person and a doubtful car; nothing; a truck and two doubtful persons."""
    made = DetectionBatch(
        schema_version=version, camera_id=camera_id, node_id="n", session=1, seq=seq, captured_us=10, frame_width=640,
        frame_height=480,
    )  # fmt: skip
    boxes = [[0.1 * (i + 1), 0.5, 0.1, 0.2] for i in range(5)]
    frames = Frames(
        offset_ms=np.array([0, 100, 200], np.uint16),
        counts=np.array([2, 0, 3], np.uint16),
        boxes=np.array(boxes, np.float32),
        scores=np.array([0.9, 0.3, 0.7, 0.2, 0.3], np.float32),
        classes=np.array([PERSON, CAR, TRUCK, PERSON, SITE], np.uint8),
        appearance=np.arange(20, dtype=np.int8).reshape(5, 4),
    )
    set_frames(made, frames)
    return made


def select(made: DetectionBatch, watch: tuple[WatchRule, ...] = (), **config: object) -> tuple[DetectionBatch, Selection]:
    selection = Selection(ForwardConfig.model_validate(config), watch, [CAMERA])
    return selection.select(made), selection


def scores(made: DetectionBatch) -> list[float]:
    return [round(float(score), 1) for score in get_frames(made).scores]


def test_without_settings_everything_goes_as_it_is() -> None:
    made = batch()
    chosen, selection = select(made)
    assert chosen is made
    assert selection.withheld == {}


@pytest.mark.parametrize("version", [1, SCHEMA_VERSION])
def test_doubtful_detections_stay_and_are_counted_while_frames_go(version: int) -> None:
    chosen, selection = select(batch(version=version), min_score=0.5)
    frames = get_frames(chosen)
    assert frames.counts.tolist() == [1, 0, 1]
    assert scores(chosen) == [0.9, 0.7]
    assert chosen.detections_withheld == selection.withheld["gate"] == 3
    assert frames.appearance is not None
    assert frames.appearance.tolist() == [[0, 1, 2, 3], [8, 9, 10, 11]]
    assert (chosen.seq, chosen.session, chosen.captured_us) == (1, 1, 10)


def test_boxes_that_go_are_those_that_were_seen() -> None:
    everything = get_frames(batch())
    chosen = get_frames(select(batch(), min_score=0.5)[0])
    assert chosen.boxes.tolist() == everything.boxes[[0, 2]].tolist()
    assert chosen.offset_ms.tolist() == everything.offset_ms.tolist()


def test_classes_are_chosen_by_name_those_of_the_site_too() -> None:
    assert scores(select(batch(), classes=["truck", "forklift"])[0]) == [0.7, 0.3]


def test_the_watch_list_goes_whatever_its_class_and_by_its_own_score() -> None:
    watch = (WatchRule(class_name="car", min_score=0.2),)
    assert scores(select(batch(), watch, min_score=0.8)[0]) == [0.9, 0.3]


def test_of_the_rest_every_nth_message_goes_in_full() -> None:
    selection = Selection(ForwardConfig(min_score=0.95, rest_every=4), (), [CAMERA])
    kept = [len(get_frames(selection.select(batch(seq))).scores) for seq in range(8)]
    assert kept == [5, 0, 0, 0, 5, 0, 0, 0]
    assert selection.withheld["gate"] == 6 * 5


def test_a_neighbours_warning_lets_everything_through(tmp_path: Path) -> None:
    selection = Selection(ForwardConfig(min_score=0.95), (), [CAMERA])
    selection.open_until(1e18)
    assert len(get_frames(selection.select(batch())).scores) == 5


def test_another_machines_camera_is_judged_by_the_same_rules() -> None:
    chosen, selection = select(batch(camera_id="elsewhere"), classes=["person"])
    assert scores(chosen) == [0.9, 0.2]
    assert selection.withheld == {"elsewhere": 3}


def test_a_class_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"forward\.classes: 'lorry' is neither"):
        Selection(ForwardConfig(classes=("person", "lorry")), (), [CAMERA])
