"""MOTChallenge text files through the tracker: detections in, results out. The very tracker of the streaming job.

Detections: one line each, comma separated: frame (from 1), id (ignored), left, top, width, height and, as far as given, score,
class (-1: none). Lines may be in any order. Results: ``frame,id,left,top,width,height,score,class,-1,-1`` by frame, then id.
"""

import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sightline_contract.camera import Scene
from sightline_contract.errors import ConfigError, SourceError, StorageError
from sightline_streaming.core.kernel import Records, inner, kernel
from sightline_streaming.core.params import FIXED_CAMERA, MOVING_CAMERA, TrackerParams
from sightline_streaming.core.records import EMISSION, ENDED, SCENE, TRACK
from sightline_streaming.core.tracker import finish, step

# Stands for class -1 inside the tracker, whose classes are bytes.
NO_CLASS = 255
MAX_FRAME = 1_000_000_000

# Empty frames of one gap that the tracker is shown one by one, before it skips the rest.
MAX_EMPTY = 10_000

Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TrackSummary:
    """What a run read and found."""

    frames: int  # with detections
    detections: int
    tracks: int
    boxes: int  # written


def track_file(
    det: Path, out: Path, frame_rate: float, frame_size: tuple[int, int], scene: Scene, **thresholds: float | None
) -> TrackSummary:
    """Track the detections of file ``det`` and write the results to ``out``.

    ``thresholds`` are fields of TrackerParams to change from the scene's defaults; None leaves one as it is. Detections that
    lie outside the frame altogether are left out. Raises ConfigError, SourceError and StorageError.
    """
    params = _params(scene, thresholds)
    _check(frame_rate, frame_size)
    detections = in_frame(read_detections(det), frame_size)
    if not len(detections):
        raise SourceError(f"{det}: all detections lie outside a frame of {frame_size[0]}x{frame_size[1]}: check the frame size")
    emissions = track_detections(params, detections, frame_rate)
    rows = results(emissions, frame_rate)
    write_results(out, rows)
    return TrackSummary(
        frames=len(np.unique(detections[:, 0])),
        detections=len(detections),
        tracks=len(np.unique(rows[:, 1])),
        boxes=len(rows),
    )


def _params(scene: Scene, thresholds: dict[str, float | None]) -> TrackerParams:
    given = {name: float(value) for name, value in thresholds.items() if value is not None}
    if unknown := sorted(set(given) - set(TrackerParams._fields)):
        raise ConfigError(f"the tracker has no threshold {unknown[0]!r}: use one of {', '.join(TrackerParams._fields)}")
    for name, value in given.items():
        if not (np.isfinite(value) and value >= 0.0):
            raise ConfigError(f"threshold {name} is {value:g}: give a number that is not negative")
    return (MOVING_CAMERA if scene == Scene.MOVING else FIXED_CAMERA)._replace(**given)


def _check(frame_rate: float, frame_size: tuple[int, int]) -> None:
    if not 0.001 <= frame_rate <= 1000.0:
        raise ConfigError(f"frame rate {frame_rate:g} is not usable: give frames per second, from 0.001 to 1000")
    if min(frame_size) <= 0:
        raise ConfigError(f"frame size {frame_size[0]}x{frame_size[1]} is empty: give WIDTHxHEIGHT in pixels")


def in_frame(rows: Table, frame_size: tuple[int, int]) -> Table:
    """The detections that do not lie outside the frame altogether."""
    width, height = frame_size
    left, top, right, bottom = rows[:, 1], rows[:, 2], rows[:, 1] + rows[:, 3], rows[:, 2] + rows[:, 4]
    return rows[(left < width) & (top < height) & (right > 0) & (bottom > 0)]


def read_detections(path: Path) -> Table:
    """Rows (frame, left, top, width, height, score 0..1, class), by frame; raises SourceError.

    Scores outside 0..1 are taken as logits, all of them, and mapped with a sigmoid.
    """
    table = _read_table(path)
    frames = table[:, 0]
    if not (np.all(frames == np.rint(frames)) and frames.min() >= 1 and frames.max() <= MAX_FRAME):
        raise SourceError(f"{path}: frame numbers must be whole and count from 1")
    rows = np.ones((len(table), 7))
    rows[:, 0:5] = table[:, [0, 2, 3, 4, 5]]
    if table.shape[1] > 6:
        rows[:, 5] = table[:, 6]
    rows[:, 6] = table[:, 7] if table.shape[1] > 7 else -1
    classes = rows[:, 6]
    if not (np.all(classes == np.rint(classes)) and classes.min() >= -1 and classes.max() < NO_CLASS):
        raise SourceError(f"{path}: classes (8th column) must be whole numbers from 0 to {NO_CLASS - 1}, or -1 for none")
    if rows[:, 5].min() < 0.0 or rows[:, 5].max() > 1.0:
        rows[:, 5] = 1.0 / (1.0 + np.exp(-np.clip(rows[:, 5], -60.0, 60.0)))
    return rows[np.argsort(rows[:, 0], kind="stable")]


def _read_table(path: Path) -> Table:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # numpy's remark on an empty file: reported below
            with path.open(encoding="utf-8") as file:
                table = np.loadtxt(file, delimiter=",", ndmin=2, comments=None)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror or error}): give a MOTChallenge detections file") from error
    except ValueError as error:
        raise SourceError(f"{path}: not a MOTChallenge detections file ({error})") from error
    if table.size == 0:
        raise SourceError(f"{path}: holds no detections")
    if not 6 <= table.shape[1] <= 10:
        raise SourceError(
            f"{path}: has {table.shape[1]} columns: 6 to 10 are wanted (frame,id,left,top,width,height,score,...)"
        )
    if not np.all(np.isfinite(table)):
        raise SourceError(f"{path}: holds a number that is not finite")
    return table


def track_detections(params: TrackerParams, detections: Table, frame_rate: float) -> Records:
    """All emissions of the tracker over ``detections``, rows as of read_detections."""
    frames, first = np.unique(detections[:, 0].astype(np.int64), return_index=True)
    boxes = detections[:, 1:5].astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    classes = np.where(detections[:, 6] < 0, NO_CLASS, detections[:, 6]).astype(np.uint8)
    bounds = np.append(first, len(detections)).astype(np.int64)
    return _track(params, frames, bounds, boxes, detections[:, 5].astype(np.float32), classes, 1e6 / frame_rate)


@kernel
def _track(
    params: TrackerParams,
    frames: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.int64],
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    classes: npt.NDArray[np.uint8],
    interval_us: float,
) -> Records:
    scene, tracks, n_slots = np.zeros(1, SCENE), np.zeros(8, TRACK), 0
    emissions, n_emissions = np.zeros(1024, EMISSION), 0
    k, frame, n_empty = 0, frames[0], 0
    while k < frames.shape[0]:
        # Frames without detections pass, too, as in the streaming job, until no track is left that could notice.
        if n_slots == 0 or n_empty == MAX_EMPTY:
            frame = frames[k]
        given = frame == frames[k]
        a, b = (bounds[k], bounds[k + 1]) if given else (0, 0)
        tracks, n_slots, emissions, n_emissions = step(
            params, scene, tracks, n_slots, emissions, n_emissions, _time_us(frame, interval_us),
            boxes[a:b], scores[a:b], classes[a:b],
        )  # fmt: skip
        frame += 1
        k += given
        n_empty = 0 if given else n_empty + 1
    tracks, n_slots, emissions, n_emissions = finish(scene, tracks, n_slots, emissions, n_emissions)
    return emissions[:n_emissions]


@inner
def _time_us(frame: int, interval_us: float) -> int:
    return int(frame * interval_us + 0.5)


def results(emissions: Records, frame_rate: float) -> Table:
    """Rows (frame, id, left, top, width, height, score, class) by frame, then id."""
    shown = emissions[emissions["source"] != ENDED]
    rows = np.empty((len(shown), 8))
    rows[:, 0] = np.rint(shown["t_us"] * (frame_rate / 1e6))
    rows[:, 1] = shown["track_no"]
    rows[:, 2], rows[:, 3] = shown["x1"], shown["y1"]
    rows[:, 4], rows[:, 5] = shown["x2"] - shown["x1"], shown["y2"] - shown["y1"]
    rows[:, 6] = shown["score"]
    rows[:, 7] = np.where(shown["class_id"] == NO_CLASS, -1, shown["class_id"].astype(np.int64))
    return rows[np.lexsort((rows[:, 1], rows[:, 0]))]


def write_results(path: Path, rows: Table) -> None:
    """Write MOTChallenge results: the whole file or nothing; raises StorageError."""
    text = "".join(
        f"{int(r[0])},{int(r[1])},{r[2]:.2f},{r[3]:.2f},{r[4]:.2f},{r[5]:.2f},{r[6]:.4f},{int(r[7])},-1,-1\n" for r in rows
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(text)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(f"{path}: results cannot be written ({error.strerror or error})") from error
