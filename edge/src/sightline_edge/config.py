"""A node's settings: which cameras it reads, with which model, and where its detections go."""

import os
import re
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from sightline_contract.batch import MAX_APPEARANCE_SIZE
from sightline_contract.camera import Name, Score
from sightline_contract.errors import ConfigError
from sightline_contract.labels import label_names
from sightline_contract.model_card import Layout
from sightline_contract.settings import Settings, load_settings

_REFERENCE = re.compile(r"\$\{(\w+)\}")


class Pace(StrEnum):
    """How fast a recording is read; a live source has its own pace."""

    REALTIME = "realtime"
    FAST = "fast"


class Kafka(Settings):
    """The broker. ``options`` are librdkafka's (security.protocol, ssl.ca.location, ...) and win over the node's own."""

    bootstrap_servers: str
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    # How long a start waits for the broker, and a full queue for room, before the node gives up.
    connect_timeout_s: Annotated[float, Field(gt=0)] = 5.0
    send_timeout_s: Annotated[float, Field(gt=0)] = 60.0


class CameraSource(Settings):
    """A camera: where its frames come from (file, folder of images, RTSP or HTTP address) and its camera file."""

    source: Annotated[str, Field(min_length=1)]
    camera: Path


class WatchRule(Settings):
    """A class that is reported at once wherever it shows up, when none was seen for ``rearm_s``."""

    class_name: str
    min_score: Score = 0.5
    rearm_s: Annotated[float, Field(ge=0)] = 5.0

    @field_validator("class_name")
    @classmethod
    def _is_a_class(cls, name: str) -> str:
        if name not in label_names():
            raise ValueError(f"{name!r} is not a class")
        return name


class AppearanceConfig(Settings):
    """What detections look like, for the tracker: a re-identification model, from a picture of one object to a vector.

    Crops are stretched to ``size`` (width, height in px) and normalised as ``(value - mean) / std`` of 0..255.
    """

    model: Path
    size: tuple[Annotated[int, Field(gt=0, le=1024)], Annotated[int, Field(gt=0, le=1024)]]
    layout: Layout = Layout.NCHW
    channels: Annotated[str, StringConstraints(pattern="^(RGB|BGR)$")] = "RGB"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    classes: Annotated[tuple[str, ...], Field(min_length=1)] = ("person",)
    # Only what is at least so sure is looked at, and of a frame no more than so many: the surest.
    min_score: Score = 0.5
    max_crops: Annotated[int, Field(ge=1, le=256)] = 32
    # Cosine of the model's vectors at which two pictures are as likely of one object as of two.
    same_from: Annotated[float, Field(ge=0, lt=0.999)] = 0.5
    # What a detection's message grows by; without appearance a detection takes about 5 bytes.
    bytes_per_detection: Annotated[int, Field(ge=8, le=MAX_APPEARANCE_SIZE)] = 64

    @field_validator("classes")
    @classmethod
    def _are_classes(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in label_names()]:
            raise ValueError(f"{unknown[0]!r} is not a class")
        return names

    @field_validator("std")
    @classmethod
    def _can_divide(cls, std: tuple[float, float, float]) -> tuple[float, float, float]:
        if 0.0 in std:
            raise ValueError("a channel cannot be divided by 0")
        return std


class NodeConfig(Settings):
    """An edge node. Relative paths are taken from the file's folder."""

    node_id: Name
    kafka: Kafka
    model: Path
    cameras: Annotated[tuple[CameraSource, ...], Field(min_length=1)]
    watch_list: tuple[WatchRule, ...] = ()
    appearance: AppearanceConfig | None = None
    # Detections below are not sent. Low on purpose: the tracker finds hidden objects again by weak detections.
    min_score: Score = 0.1
    batch_s: Annotated[float, Field(gt=0, le=1)] = 1.0
    heartbeat_s: Annotated[float, Field(gt=0)] = 5.0
    # Threads of the inference runtime; 0 takes all cores.
    threads: Annotated[int, Field(ge=0, le=256)] = 1
    # Frames of several cameras that go through the model at once, where the model can.
    max_inference_batch: Annotated[int, Field(ge=1, le=256)] = 8
    # A live source that never answered for so long is given up; one that did is tried again for ever.
    source_timeout_s: Annotated[float, Field(gt=0)] = 10.0

    # Recordings only.
    pace: Pace = Pace.REALTIME
    start_time: datetime | None = None
    max_frames: Annotated[int, Field(gt=0)] | None = None
    duration_s: Annotated[float, Field(gt=0)] | None = None

    @field_validator("start_time")
    @classmethod
    def _has_a_zone(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("needs a time zone, such as 2026-01-31T08:00:00Z")
        return value

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        sources = [camera.source for camera in self.cameras]
        if twice := sorted({source for source in sources if sources.count(source) > 1}):
            raise ValueError(f"two cameras read {mask_password(twice[0])}")
        return self


def load_node_config(path: Path) -> NodeConfig:
    """Read ``path``, put ``${NAME}`` of the environment into sources and Kafka options, and make paths absolute.

    Secrets are thus never in the file. Raises ConfigError.
    """
    config = load_settings(path, NodeConfig)
    folder = path.absolute().parent
    cameras = tuple(
        CameraSource(source=_located(_expanded(entry.source, path), folder), camera=_absolute(entry.camera, folder))
        for entry in config.cameras
    )
    options = {key: _expanded(value, path) if isinstance(value, str) else value for key, value in config.kafka.options.items()}
    kafka = config.kafka.model_copy(update={"options": options})
    looks = config.appearance
    if looks is not None:
        looks = looks.model_copy(update={"model": _absolute(looks.model, folder)})
    model = _absolute(config.model, folder)
    return config.model_copy(update={"cameras": cameras, "kafka": kafka, "model": model, "appearance": looks})


def is_address(source: str) -> bool:
    """Whether a source is a network address and not a path."""
    return "://" in source


def mask_password(source: str) -> str:
    """``source`` as it may be shown: the password of an address replaced by stars."""
    without_user = re.sub(r"(?<=://)([^:/?@\s]*):(?!\d+/)[^?\s]*@", r"\1:***@", source)
    return re.sub(r"(?i)\b(password|passwd|pwd|token)=[^&\s]*", r"\1=***", without_user)


def _expanded(text: str, path: Path) -> str:
    def value_of(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ConfigError(f"{path}: names ${{{match[1]}}}, which the environment does not have: set it")
        return os.environ[match[1]]

    return _REFERENCE.sub(value_of, text)


def _located(source: str, folder: Path) -> str:
    return source if is_address(source) else str(_absolute(Path(source), folder))


def _absolute(path: Path, folder: Path) -> Path:
    return (folder / path.expanduser()).resolve()
