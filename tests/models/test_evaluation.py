"""Figures of a detector on a labelled set, against numbers that were worked out by hand."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from blob_detector import BOX, write_blob_detector

from sightline_contract.errors import ConfigError, ModelError
from sightline_contract.model_card import Decode, Layout, ModelCard, ModelInput, ModelOutput, Resize
from sightline_edge.detector import Detector
from sightline_models.evaluation import Evaluation, evaluate, load_labelled_set
from sightline_models.pull import pull_file

SIZE = (200, 100)  # width, height of the pictures, px

# Average precision when precision is 1 up to a recall of one half and 0 beyond: 51 of the 101 recalls that COCO looks at.
HALF = 51 / 101


@dataclass(frozen=True)
class Told:
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class ToldDetector:
    """Says of each picture, in order, what it was told to; rows are x1, y1, x2, y2 in px, score, label."""

    def __init__(self, labels: tuple[str, ...], rows: Sequence[Sequence[Sequence[float]]]) -> None:
        self.card = ModelCard(
            name="told",
            version="1",
            source="test",
            licence="MIT",
            digest="sha256:" + "0" * 64,
            input=ModelInput(name="i", size=(64, 64), layout=Layout.NHWC, channels="RGB", resize=Resize.STRETCH),
            output=ModelOutput(name="o", decode=Decode.BOXES_SCORE_CLASS),
            labels=labels,
        )
        self._rows = rows
        self._pictures = 0

    def prepare(self, pixels: np.ndarray) -> int:
        assert pixels.shape == (SIZE[1], SIZE[0], 3)
        self._pictures += 1
        return self._pictures - 1

    def detect(self, pictures: Sequence[Any]) -> list[Told]:
        rows = [np.array(self._rows[picture], float).reshape(-1, 6) for picture in pictures]
        return [Told(each[:, :4] / (SIZE * 2), each[:, 4], each[:, 5].astype(int)) for each in rows]


def write_set(
    folder: Path, boxes: Sequence[Sequence[tuple[int, Sequence[float]]]], categories: Sequence[str] = ("person",)
) -> Path:
    """One black picture for each of ``boxes``, whose entries are category id and x, y, w, h in px."""
    (folder / "images").mkdir(parents=True)
    for i in range(len(boxes)):
        cv2.imwrite(str(folder / f"images/{i}.png"), np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    coco = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": SIZE[0], "height": SIZE[1]} for i in range(len(boxes))],
        "categories": [{"id": i, "name": name} for i, name in enumerate(categories, 1)],
        "annotations": [
            {"image_id": i, "category_id": category, "bbox": list(box)}
            for i, each in enumerate(boxes)
            for category, box in each
        ],
    }
    (folder / "annotations.json").write_text(json.dumps(coco))
    (folder / "set.yaml").write_text(yaml.safe_dump({"name": "yard", "licence": "CC0-1.0", "origin": "drawn by the test"}))
    return folder


def judge(folder: Path, detector: ToldDetector | Detector) -> Evaluation:
    return evaluate(detector, load_labelled_set(folder), threads=1)


ONE_EACH = [[(1, (10, 20, 40, 50))], [(1, (100, 20, 40, 50))]]


def test_finding_everything_exactly_is_1(tmp_path: Path) -> None:
    found = judge(
        write_set(tmp_path / "set", ONE_EACH),
        ToldDetector(("person",), [[[10, 20, 50, 70, 0.9, 0]], [[100, 20, 140, 70, 0.8, 0]]]),
    )
    assert (found.map50, found.map) == (pytest.approx(1), pytest.approx(1))
    assert (found.set_name, found.images, found.by_class["person"].boxes) == ("yard", 2, 2)
    assert (found.set_licence, found.threads) == ("CC0-1.0", 1)
    assert found.cpu
    assert 0 < found.latency_p50_ms <= found.latency_p95_ms


def test_missing_half_of_the_objects_is_half_the_area(tmp_path: Path) -> None:
    found = judge(write_set(tmp_path / "set", ONE_EACH), ToldDetector(("person",), [[[10, 20, 50, 70, 0.9, 0]], []]))
    assert (found.map50, found.map) == (pytest.approx(HALF), pytest.approx(HALF))


def test_a_box_that_overlaps_by_two_thirds_counts_at_four_of_ten_thresholds(tmp_path: Path) -> None:
    """40 x 50 px against 40 x 40 px of it would be 0.8; 27/40 of the width is an IoU of 0.675: 0.50, 0.55, 0.60, 0.65."""
    found = judge(
        write_set(tmp_path / "set", ONE_EACH[:1]),
        ToldDetector(("person",), [[[10, 20, 37, 70, 0.9, 0]]]),
    )
    assert (found.map50, found.map) == (pytest.approx(1), pytest.approx(0.4))


def test_a_surer_false_detection_halves_the_precision(tmp_path: Path) -> None:
    found = judge(
        write_set(tmp_path / "set", ONE_EACH[:1]),
        ToldDetector(("person",), [[[150, 0, 170, 20, 0.95, 0], [10, 20, 50, 70, 0.9, 0]]]),
    )
    assert found.map50 == pytest.approx(0.5)


def test_nothing_found_at_all_is_0(tmp_path: Path) -> None:
    found = judge(write_set(tmp_path / "set", ONE_EACH), ToldDetector(("person",), [[], []]))
    assert (found.map50, found.map) == (0, 0)


def test_classes_meet_by_name_and_one_that_the_model_lacks_counts_as_missed(tmp_path: Path) -> None:
    """The model's label 1 is the set's category 1; its label 0 is unknown to the set and is no false detection."""
    folder = write_set(tmp_path / "set", [[(1, (10, 20, 40, 50)), (2, (100, 20, 40, 50))]], ("person", "forklift"))
    found = judge(folder, ToldDetector(("dog", "person"), [[[10, 20, 50, 70, 0.9, 1], [100, 20, 140, 70, 0.99, 0]]]))
    assert found.by_class["person"].ap50 == pytest.approx(1)
    assert (found.by_class["forklift"].ap50, found.by_class["forklift"].in_model) == (0, False)
    assert found.map50 == pytest.approx(0.5)


def test_a_category_without_a_box_says_nothing(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", ONE_EACH[:1], ("person", "car"))
    found = judge(folder, ToldDetector(("person", "car"), [[[10, 20, 50, 70, 0.9, 0]]]))
    assert (found.map50, found.by_class["car"].boxes) == (pytest.approx(1), 0)


def test_the_edge_detector_finds_a_drawn_square(tmp_path: Path) -> None:
    """A real model on a real picture: a bright square of its own box's size, in pixels of the model's input."""
    side = round(64 * BOX)
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[8 : 8 + side, 24 : 24 + side] = 255
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    cv2.imwrite(str(folder / "images/a.png"), picture)
    coco = {
        "images": [{"id": 7, "file_name": "a.png", "width": 64, "height": 64}],
        "categories": [{"id": 3, "name": "person"}],
        "annotations": [{"image_id": 7, "category_id": 3, "bbox": [24, 8, side, side]}],
    }
    (folder / "annotations.json").write_text(json.dumps(coco))
    (folder / "set.yaml").write_text("{name: square, licence: CC0-1.0, origin: drawn}")
    model = pull_file(write_blob_detector(tmp_path / "blobs.onnx"), tmp_path / "models")
    assert judge(folder, Detector(model, 0.01, 1, 1)).map == pytest.approx(1)


def test_what_is_wrong_with_a_set_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"set\.yaml: cannot be read"):
        load_labelled_set(tmp_path)
    folder = write_set(tmp_path / "set", ONE_EACH)
    with pytest.raises(ModelError, match=r"model told: has none of the classes of the set yard \(person\)"):
        judge(folder, ToldDetector(("dog",), [[], []]))
    (folder / "images/1.png").write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"1\.png: cannot be read as a picture"):
        judge(folder, ToldDetector(("person",), [[], []]))
    cv2.imwrite(str(folder / "images/1.png"), np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(ModelError, match=r"1\.png: is 10x10 px and not 200x100"):
        judge(folder, ToldDetector(("person",), [[], []]))
    (folder / "annotations.json").write_text("{}")
    with pytest.raises(ModelError, match=r"annotations\.json: is not in COCO's format"):
        load_labelled_set(folder)
    (folder / "annotations.json").write_text('{"categories": [], "annotations": [], "images": []}')
    with pytest.raises(ModelError, match=r"annotations\.json: has no pictures"):
        load_labelled_set(folder)
