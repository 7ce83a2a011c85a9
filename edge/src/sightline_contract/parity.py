"""Whether an engine sees what its model sees: a golden clip, bars, and the verdict.

A golden clip holds a few frames and what the model said to them on ONNX Runtime at full precision. It travels with the
bundle, so that the build host asks the question when it compiles and every node asks it again before it serves. A detection
that is surely there for one side (``sure_score``) must have a partner on the other at any score the clip holds: a score that
rounding moves across a threshold is no difference, an object that is gone is one.

The file is NumPy's ``npz`` without pickles: reading one runs no code.
"""

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from sightline_contract.agreement import Agreement, compare
from sightline_contract.errors import ModelError, ParityError, StorageError
from sightline_contract.targets import Precision

Pixels = npt.NDArray[np.uint8]
# Of the model's detections, the least score that a golden clip holds.
GOLDEN_MIN_SCORE: Final = 0.1

_ARRAYS: Final = {"frames": 4, "counts": 1, "boxes": 2, "scores": 1, "labels": 1, "min_score": 0}


class Found(Protocol):
    """N detections of one frame: boxes (N, 4) x1 y1 x2 y2 in fractions of the frame, scores (N,), labels (N,)."""

    @property
    def boxes(self) -> npt.NDArray[Any]: ...  # noqa: D102

    @property
    def scores(self) -> npt.NDArray[Any]: ...  # noqa: D102

    @property
    def labels(self) -> npt.NDArray[Any]: ...  # noqa: D102


@dataclass(frozen=True)
class Seen:
    """Detections of one frame as a golden clip holds them."""

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Golden:
    """Frames (N, height, width, 3), BGR, and the model's detections with a score of at least ``min_score`` in each."""

    frames: Pixels
    seen: tuple[Seen, ...]
    min_score: float = GOLDEN_MIN_SCORE


@dataclass(frozen=True)
class Bars:
    """What an engine must reach to be used."""

    min_agreement: float  # share of the sure detections of both sides that have a partner
    min_mean_iou: float
    max_mean_score_gap: float
    sure_score: float = 0.3


# fp32 differs by the order of sums alone. fp16 has a mantissa of 10 bits: boxes move by a fraction of a pixel. 8 bits lose weak
# objects and move scores; what a model with them may lose is for the accuracy gate, and this bar keeps ruined ones out.
BARS: Final[dict[Precision, Bars]] = {
    Precision.FP32: Bars(0.995, 0.99, 0.005),
    Precision.FP16: Bars(0.98, 0.98, 0.01),
    Precision.INT8: Bars(0.90, 0.85, 0.08),
    Precision.FP8: Bars(0.90, 0.85, 0.08),
}


@dataclass(frozen=True)
class Parity:
    """An engine's agreement with the golden clip, over the sure detections of both sides."""

    agreement: float
    mean_iou: float
    mean_score_gap: float
    sure_golden: int  # sure detections of the golden clip
    sure_engine: int
    missed: int  # of the golden clip's, without a partner
    added: int  # of the engine's, without a partner

    def failure(self, bars: Bars) -> str | None:
        """What is below its bar, in words; None where the engine passes."""
        short = [
            f"{name} {got:.4f} {sign} {bar}"
            for name, got, bar, sign in (
                ("agreement", self.agreement, bars.min_agreement, "<"),
                ("mean IoU", self.mean_iou, bars.min_mean_iou, "<"),
                ("mean score gap", self.mean_score_gap, bars.max_mean_score_gap, ">"),
            )
            # A figure that is no number passes no bar.
            if not (got >= bar if sign == "<" else got <= bar)
        ]
        return ", ".join(short) or None


def measure_parity(golden: Golden, seen: Sequence[Found], sure_score: float = 0.3) -> Parity:
    """Compare the engine's detections of each golden frame, taken at ``golden.min_score``; ValueError on another count."""
    forth, back = Agreement(), Agreement()
    for there, here in zip(golden.seen, seen, strict=True):
        forth += compare(_columns(there, sure_score), _columns(here, 0))
        back += compare(_columns(there, 0), _columns(here, sure_score))
    matched = forth.matched + back.matched
    sure = matched + forth.only_first + back.only_second
    return Parity(
        agreement=matched / sure if sure else 1.0,
        mean_iou=(forth.iou_sum + back.iou_sum) / matched if matched else 1.0,
        mean_score_gap=(forth.score_gap_sum + back.score_gap_sum) / matched if matched else 0.0,
        sure_golden=forth.matched + forth.only_first,
        sure_engine=back.matched + back.only_second,
        missed=forth.only_first,
        added=back.only_second,
    )


def check_parity(golden: Golden, seen: Sequence[Found], bars: Bars, what: str) -> Parity:
    """The engine's parity; raises ParityError where it is below ``bars``, ModelError where the clip can tell nothing."""
    parity = measure_parity(golden, seen, bars.sure_score)
    if not parity.sure_golden:
        raise ModelError(f"{what}: the golden clip shows the model nothing, so it can tell nothing: take another clip")
    if failure := parity.failure(bars):
        raise ParityError(
            f"{what}: does not see what the model sees ({failure}; {parity.missed} of {parity.sure_golden} objects missed, "
            f"{parity.added} added): compile it again, or at a higher precision"
        )
    return parity


def write_golden(path: Path, golden: Golden) -> None:
    """Write the clip; raises StorageError."""
    try:
        np.savez_compressed(
            path,
            allow_pickle=False,
            frames=golden.frames,
            counts=np.array([len(seen.scores) for seen in golden.seen], np.int64),
            boxes=np.concatenate([seen.boxes for seen in golden.seen]).astype(np.float32).reshape(-1, 4),
            scores=np.concatenate([seen.scores for seen in golden.seen]).astype(np.float32),
            labels=np.concatenate([seen.labels for seen in golden.seen]).astype(np.int64),
            min_score=np.float64(golden.min_score),
        )
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}): free space or choose another folder") from error


def read_golden(path: Path) -> Golden:
    """Read a clip; raises ModelError where the file is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}): compile the model again") from error
    return parse_golden(content, path)


def parse_golden(content: bytes, path: Path) -> Golden:
    """As ``read_golden``, of content that was read; ``path`` is where it came from, for the error."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS}
        return _golden(arrays)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(f"{path}: is no golden clip ({error}): compile the model again") from error


def _golden(arrays: dict[str, npt.NDArray[Any]]) -> Golden:
    for name, dimensions in _ARRAYS.items():
        if arrays[name].ndim != dimensions:
            raise ValueError(f"{name} has {arrays[name].ndim} dimensions and not {dimensions}")
    frames, counts = arrays["frames"], arrays["counts"]
    if frames.dtype != np.uint8 or frames.shape[-1] != 3 or len(frames) != len(counts) or not len(frames):
        raise ValueError("frames are no 8-bit pictures, one for each count")
    if counts.min() < 0 or {len(arrays[name]) for name in ("boxes", "scores", "labels")} != {int(counts.sum())}:
        raise ValueError("counts and detections differ")
    ends = np.cumsum(counts)[:-1]
    columns = (np.split(arrays[name], ends) for name in ("boxes", "scores", "labels"))
    return Golden(frames, tuple(Seen(*of_frame) for of_frame in zip(*columns, strict=True)), float(arrays["min_score"]))


def _columns(found: Found, least: float) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    chosen = found.scores >= least
    return found.boxes[chosen], found.scores[chosen], found.labels[chosen]
