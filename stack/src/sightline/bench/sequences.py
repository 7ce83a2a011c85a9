"""Sequences with detections and ground truth in MOTChallenge's layout, and which rules and which scene each has.

Beside the layout's own files a KITTI sequence may bring its original labels as ``gt/label_02.txt``: they alone know which
objects are cut off by the frame.
"""

import configparser
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from sightline_contract.camera import Scene
from sightline_contract.errors import ConfigError, SourceError
from sightline_streaming.motchallenge import MAX_FRAME, Table, in_frame, read_detections

FILES = ("det/det.txt", "gt/gt.txt", "seqinfo.ini")

# Rules of scoring, by the beginning of a sequence's name; MOT15's hold for all others.
KITTI, MOT15 = "KITTI", "MOT15"
_RULES = (KITTI, "MOT16", "MOT17", "MOT20")

# Cameras that stand still among the published sequences; those of KITTI and the other ones of MOT16 and MOT17 move.
_FIXED = (
    *(f"MOT1[67]-{number}*" for number in ("01", "02", "03", "04", "08", "09")),
    "MOT20-*", "TUD-*", "PETS09-*", "AVG-TownCentre", "Venice-*", "ADL-Rundle-6",
)  # fmt: skip

# TUD's files leave the rate out.
DEFAULT_FRAME_RATE = 25.0


@dataclass(frozen=True)
class Sequence:
    """One recording: rows of ``detections`` as of read_detections."""

    name: str
    folder: Path
    rules: str
    scene: Scene
    frame_rate: float
    n_frames: int
    detections: Table
    frame_size: tuple[int, int]  # px; of a seqinfo.ini without one, what holds all detections


@dataclass(frozen=True)
class Choice:
    """Patterns of names: which sequences count, and which cameras are known to stand still or to move."""

    only: list[str]
    fixed: list[str]
    moving: list[str]


def find_sequences(data: Path, choice: Choice) -> list[Sequence]:
    """All chosen sequences below ``data``, by name; raises SourceError and ConfigError."""
    if not data.is_dir():
        raise SourceError(f"{data}: no such folder: give one with SEQUENCE/{{{','.join(FILES)}}}")
    folders = sorted(path for path in data.iterdir() if path.is_dir() and any((path / file).is_file() for file in FILES))
    if not folders:
        raise SourceError(f"{data}: no folder of it has {', '.join(FILES)}: give MOTChallenge's layout")
    chosen = [folder for folder in folders if matches(folder.name, choice.only)]
    if not chosen:
        raise ConfigError(f"--only {' '.join(choice.only)}: fits no sequence of {data}, which has {folders[0].name}, ...")
    return [_read(folder, choice) for folder in chosen]


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns fits, whatever the case."""
    return any(fnmatch(name.upper(), pattern.upper()) for pattern in patterns)


def _read(folder: Path, choice: Choice) -> Sequence:
    for file in FILES:
        if not (folder / file).is_file():
            raise SourceError(f"{folder}: {file} is missing: add it, or leave the sequence out by --only")
    info = _Info(folder / FILES[2])
    detections = read_detections(folder / FILES[0])
    size = info.number("imWidth", 0), info.number("imHeight", 0)
    if min(size) > 0:
        detections = in_frame(detections, (int(size[0]), int(size[1])))
    if not len(detections):
        raise SourceError(f"{folder / FILES[0]}: all detections lie outside the frame of {FILES[2]}")
    n_frames = int(info.number("seqLength", None))
    if not detections[-1, 0] <= n_frames <= MAX_FRAME:
        raise SourceError(f"{info.path}: seqLength is {n_frames}, but {FILES[0]} has frame {detections[-1, 0]:.0f}")
    rate = info.number("frameRate", DEFAULT_FRAME_RATE)
    if not 0.001 <= rate <= 1000.0:
        raise SourceError(f"{info.path}: frameRate {rate:g} is not usable: give frames per second, from 0.001 to 1000")
    whole = tuple(int(edge) for edge in np.ceil((detections[:, 1:3] + detections[:, 3:5]).max(axis=0)))
    frame_size = (int(size[0]), int(size[1])) if min(size) > 0 else (whole[0], whole[1])
    return Sequence(folder.name, folder, _rules(folder.name), _scene(info, choice), rate, n_frames, detections, frame_size)


def _rules(name: str) -> str:
    return next((rules for rules in _RULES if name.upper().startswith(rules)), MOT15)


def _scene(info: "_Info", choice: Choice) -> Scene:
    name = info.path.parent.name
    for scene, patterns in ((Scene.FIXED, choice.fixed), (Scene.MOVING, choice.moving)):
        if matches(name, patterns):
            return scene
    if given := info.text("scene"):
        try:
            return Scene(given)
        except ValueError:
            raise SourceError(f"{info.path}: scene is {given!r}: write fixed or moving") from None
    return Scene.FIXED if matches(name, _FIXED) else Scene.MOVING


class _Info:
    """The section [Sequence] of a seqinfo.ini."""

    def __init__(self, path: Path) -> None:
        self.path = path
        parser = configparser.ConfigParser()
        try:
            parser.read_string(path.read_text(encoding="utf-8"))
            self._fields = parser["Sequence"]
        except (configparser.Error, KeyError, UnicodeDecodeError):
            raise SourceError(f"{path}: not a seqinfo.ini: it needs a section [Sequence] with 'key=value' lines") from None

    def text(self, name: str) -> str:
        return self._fields.get(name, "").strip()

    def number(self, name: str, default: float | None) -> float:
        text = self.text(name)
        try:
            return default if default is not None and not text else float(text)
        except ValueError:
            raise SourceError(f"{self.path}: {name} is {text!r}: give a number") from None
