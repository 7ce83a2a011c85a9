"""How good a detector is on a labelled set, and how long it takes.

A labelled set is a folder with ``set.yaml`` (its name, licence and origin), ``annotations.json`` (COCO's format: images,
categories, annotations with boxes in px) and ``images/``. Figures are COCO's: mAP is the mean over classes and over IoU 0.50
to 0.95, mAP50 that at 0.50, at most 100 detections a picture (Lin et al., "Microsoft COCO", arXiv:1405.0312).

Labels are matched by name. A class of the set that the model has no label for counts with an AP of 0, so that two models'
figures on a set can be compared; a label that the set does not have is left out, since nobody knows whether it is right.
"""

import contextlib
import io
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sightline_contract.errors import ModelError
from sightline_contract.model_card import Digest, ModelCard
from sightline_contract.settings import Settings, load_settings
from sightline_models.fetch import sha256_of

SET_FILE: Final = "set.yaml"
ANNOTATIONS_FILE: Final = "annotations.json"
IMAGES_FOLDER: Final = "images"
MAX_DETECTIONS: Final = 100  # a picture, as COCO counts

# Precision falls with each detection, however unsure: a curve that is cut off earlier has a lower area.
EVALUATION_MIN_SCORE: Final = 0.01
_WARM_UP_CALLS = 3

Pixels = npt.NDArray[np.uint8]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Found(Protocol):
    """Detections of one picture."""

    @property
    def boxes(self) -> npt.NDArray[np.floating[Any]]:
        """(N, 4) x1, y1, x2, y2 in fractions of the picture."""

    @property
    def scores(self) -> npt.NDArray[np.floating[Any]]:
        """(N,) 0..1."""

    @property
    def labels(self) -> npt.NDArray[np.integer[Any]]:
        """(N,) index among the card's labels."""


class EvaluatedDetector(Protocol):
    """A running detector, such as the edge's."""

    @property
    def card(self) -> ModelCard:
        """Its labels are matched with the set's."""

    def prepare(self, pixels: Pixels) -> Any:
        """What ``detect`` takes of a BGR picture (height, width, 3)."""

    def detect(self, pictures: Sequence[Any]) -> Sequence[Found]:
        """Detections of each picture."""


@dataclass(frozen=True)
class OpenDetector:
    """How a model folder becomes a running detector with that least score, and on how many threads it will run."""

    open: Callable[[Path, float], EvaluatedDetector]
    threads: int


class SetCard(Settings):
    """Content of ``set.yaml``."""

    name: Annotated[str, Field(min_length=1)]
    licence: Annotated[str, Field(min_length=1)]
    origin: Annotated[str, Field(min_length=1)]


class ClassFigures(Settings):
    """Average precision of one class, and how many boxes of it the set has."""

    ap50: Fraction
    ap: Fraction
    boxes: int
    in_model: bool  # whether the model has this label


class Evaluation(Settings):
    """A detector's figures on a labelled set. Latency is that of ``detect`` for one picture, on the named processor."""

    set_name: str
    set_licence: str
    set_origin: str
    set_digest: Digest  # of the annotations
    images: int
    map50: Fraction
    map: Fraction
    by_class: dict[str, ClassFigures]
    latency_p50_ms: float
    latency_p95_ms: float
    cpu: str
    threads: int


@dataclass(frozen=True)
class LabelledSet:
    """A labelled set that was found to be whole. ``coco`` is the content of its annotations."""

    folder: Path
    card: SetCard
    digest: str
    coco: dict[str, Any]

    def picture(self, image: dict[str, Any]) -> Pixels:
        """The picture of an entry of ``images``, BGR, as it is stored; raises ModelError."""
        import cv2

        path = self.folder / IMAGES_FOLDER / image["file_name"]
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is None:
            raise ModelError(f"{path}: cannot be read as a picture: complete the labelled set")
        if pixels.shape[1::-1] != (image["width"], image["height"]):
            size = f"{image['width']}x{image['height']}"
            raise ModelError(f"{path}: is {pixels.shape[1]}x{pixels.shape[0]} px and not {size} as {ANNOTATIONS_FILE} says")
        return np.asarray(pixels, np.uint8)


def load_labelled_set(folder: Path) -> LabelledSet:
    """Read a labelled set's card and annotations; raises ConfigError or ModelError."""
    card = load_settings(folder / SET_FILE, SetCard)
    path = folder / ANNOTATIONS_FILE
    try:
        coco = json.loads(path.read_text(encoding="utf-8"))
        names = [category["name"] for category in coco["categories"]]
        image_ids = {image["id"] for image in coco["images"] if image["file_name"] and image["width"] and image["height"]}
        strangers = [each for each in coco["annotations"] if each["image_id"] not in image_ids or len(each["bbox"]) != 4]
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}): a labelled set needs it") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: is not in COCO's format ({error}): export the labels again") from error
    if not image_ids or strangers or len(set(names)) != len(names):
        reason = "no pictures" if not image_ids else "boxes of no picture" if strangers else "a category twice"
        raise ModelError(f"{path}: has {reason}: export the labels again")
    return LabelledSet(folder, card, sha256_of(path), coco)


def evaluate(detector: EvaluatedDetector, labelled: LabelledSet, threads: int) -> Evaluation:
    """Run the detector on every picture of the set; ``threads`` is told, not set. Raises ModelError."""
    labels = detector.card.labels
    categories = {category["name"]: category["id"] for category in labelled.coco["categories"]}
    if not categories.keys() & set(labels):
        raise ModelError(
            f"model {detector.card.name}: has none of the classes of the set {labelled.card.name} "
            f"({', '.join(sorted(categories))}): correct the labels of one of the two"
        )
    id_by_label = {index: categories[name] for index, name in enumerate(labels) if name in categories}
    rows, latencies_ms = _run(detector, labelled, id_by_label)
    by_class = _average_precisions(labelled.coco, rows, set(labels))
    judged = [each for each in by_class.values() if each.boxes]
    if not judged:
        raise ModelError(f"{labelled.folder / ANNOTATIONS_FILE}: has no box to judge by: export the labels again")
    return Evaluation(
        set_name=labelled.card.name,
        set_licence=labelled.card.licence,
        set_origin=labelled.card.origin,
        set_digest=labelled.digest,
        images=len(labelled.coco["images"]),
        map50=float(np.mean([each.ap50 for each in judged])),
        map=float(np.mean([each.ap for each in judged])),
        by_class=by_class,
        latency_p50_ms=float(np.percentile(latencies_ms, 50)),
        latency_p95_ms=float(np.percentile(latencies_ms, 95)),
        cpu=cpu_name(),
        threads=threads,
    )


def cpu_name() -> str:
    """The processor's name as the kernel tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name"))
    return next((name for name in names if name), platform.processor() or platform.machine())


def _run(
    detector: EvaluatedDetector, labelled: LabelledSet, id_by_label: dict[int, int]
) -> tuple[list[dict[str, Any]], list[float]]:
    """Detections as COCO's result rows, and the time of each call, ms."""
    rows: list[dict[str, Any]] = []
    latencies_ms: list[float] = []
    for image in labelled.coco["images"]:
        pictures = [detector.prepare(labelled.picture(image))]
        for _ in range(0 if latencies_ms else _WARM_UP_CALLS):  # the first calls of a runtime take longer
            detector.detect(pictures)
        started = time.perf_counter()
        (found,) = detector.detect(pictures)
        latencies_ms.append((time.perf_counter() - started) * 1000)
        scale = np.array([image["width"], image["height"]] * 2)
        for box, score, label in zip(found.boxes * scale, found.scores, found.labels, strict=True):
            if int(label) in id_by_label:
                x1, y1, x2, y2 = (float(value) for value in box)
                row = {"image_id": image["id"], "category_id": id_by_label[int(label)], "score": float(score)}
                rows.append(row | {"bbox": [x1, y1, x2 - x1, y2 - y1]})
    return rows, latencies_ms


def _average_precisions(coco: dict[str, Any], rows: list[dict[str, Any]], labels: set[str]) -> dict[str, ClassFigures]:
    categories = sorted(coco["categories"], key=lambda category: category["id"])
    boxes = {
        each["id"]: sum(a["category_id"] == each["id"] and not a.get("iscrowd") for a in coco["annotations"])
        for each in categories
    }
    if rows:
        at_50, overall = _precision_by_class(coco, rows)
    else:  # pycocotools fails on an empty list
        at_50 = overall = np.zeros(len(categories))
    return {
        each["name"]: ClassFigures(
            ap50=float(at_50[i]), ap=float(overall[i]), boxes=boxes[each["id"]], in_model=each["name"] in labels
        )
        for i, each in enumerate(categories)
    }


def _precision_by_class(coco: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """AP at IoU 0.50, and over 0.50 to 0.95, of the categories by id; 0 of those without a box."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it tells its progress
        truth = COCO()
        truth.dataset = {"info": {}} | coco | {"annotations": [_complete(i, a) for i, a in enumerate(coco["annotations"], 1)]}
        truth.createIndex()
        judged = COCOeval(truth, truth.loadRes(rows), "bbox")
        judged.params.maxDets = [1, 10, MAX_DETECTIONS]
        judged.evaluate()
        judged.accumulate()
    # IoU thresholds x recall x category x area (the first is all) x most detections (the last is 100); -1: nothing to find.
    precision = np.maximum(judged.eval["precision"][:, :, :, 0, -1], 0)
    return precision[0].mean(axis=0), precision.mean(axis=(0, 1))


def _complete(number: int, annotation: dict[str, Any]) -> dict[str, Any]:
    """An annotation with the fields that pycocotools insists on and a set of boxes may lack. Its ids must not be 0."""
    area = annotation["bbox"][2] * annotation["bbox"][3]
    return {"area": area, "iscrowd": 0} | annotation | {"id": number}
