"""A node's settings: which cameras it reads, with which model, and where its detections go."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from sightline_contract.batch import MAX_APPEARANCE_SIZE
from sightline_contract.camera import Name, Score
from sightline_contract.labels import label_names
from sightline_contract.model_card import Layout
from sightline_contract.settings import Settings, load_settings
from sightline_contract.targets import parse_target
from sightline_contract.topics import DETECTIONS, EVENTS
from sightline_edge.health.masking import mask_password
from sightline_edge.health.references import expand, expand_options


class Pace(StrEnum):
    """How fast a recording is read; a live source has its own pace."""

    REALTIME = "realtime"
    FAST = "fast"


class Tls(Settings):
    """Mutual TLS 1.3 in PEM files: the authority that both sides trust, and this node's certificate and key."""

    ca: Path
    certificate: Path
    key: Path


class Kafka(Settings):
    """The broker. ``options`` are librdkafka's (security.protocol, ssl.ca.location, ...) and win over the node's own."""

    bootstrap_servers: str
    tls: Tls | None = None
    options: dict[str, str | int | float | bool] = Field(default_factory=dict, repr=False)
    # How long the end of the recordings waits for the centre to take what the spool still holds.
    send_timeout_s: Annotated[float, Field(gt=0)] = 60.0


class SpoolConfig(Settings):
    """The durable queue to the centre. What is older or more than this is dropped, oldest first, counted and reported."""

    max_bytes: Annotated[int, Field(ge=16 * 1024**2)] = 1024**3
    max_age_h: Annotated[float, Field(gt=0)] = 72.0
    # Take all of max_bytes from the disk at the first start, so that no other program's files can fill it.
    reserve: bool = False
    # Messages of so long go to the disk in one write; an event goes at once and takes what waits along.
    commit_s: Annotated[float, Field(gt=0, le=5)] = 0.1


class ForwardConfig(Settings):
    """Which detections go to the centre: those sure enough and of these classes, the watch list's, and a share of the rest.

    Of the rest every ``rest_every``-th message of a camera keeps all, so that what is left is whole frames, unbiased; 0 keeps
    none. What is withheld is counted. The default sends everything.
    """

    min_score: Score = 0.0
    classes: tuple[str, ...] = ()
    rest_every: Annotated[int, Field(ge=0)] = 0

    @property
    def everything(self) -> bool:
        """Whether nothing is withheld."""
        return (self.min_score == 0 and not self.classes) or self.rest_every == 1


class BrokerKind(StrEnum):
    """What carries messages between machines at the edge."""

    MQTT = "mqtt"
    KAFKA = "kafka"


class LocalBroker(Settings):
    """A broker next to the node. It gets a copy of events and detections, and gives what machines without an uplink publish.

    ``take`` names those machines on MQTT (their detections and events are forwarded as this node's own), and topics on Kafka.
    """

    kind: BrokerKind = BrokerKind.MQTT
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    tls: Tls | None = None
    # librdkafka's options for a Kafka at the edge.
    options: dict[str, str | int | float | bool] = Field(default_factory=dict, repr=False)
    give_detections: bool = True
    take: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _takes_what_the_centre_has(self) -> Self:
        for name in self.take if self.kind is BrokerKind.KAFKA else ():
            if name.partition(".")[0] not in (DETECTIONS.name, EVENTS.name) or "." not in name:
                raise ValueError(f"take: {name!r} is no topic such as detections.box or events.box")
        return self


class Neighbours(Settings):
    """Nodes whose events this one reacts to, over the local MQTT: it warns, and sends everything for ``hold_s``."""

    nodes: Annotated[tuple[Name, ...], Field(min_length=1)]
    classes: tuple[str, ...] = ()  # all
    min_score: Score = 0.0
    hold_s: Annotated[float, Field(ge=0)] = 30.0


class ClipsConfig(Settings):
    """Audit clips: the newest frames on the node's disk, never longer than a day, and never sent by the node itself."""

    max_age_h: Annotated[float, Field(gt=0, le=24)] = 24.0
    max_bytes: Annotated[int, Field(ge=1024**2)] = 10 * 1024**3
    # What a power cut costs at most; the ledger has a row for each, 400 days long.
    segment_s: Annotated[float, Field(ge=1, le=600)] = 60.0
    frames_per_s: Annotated[float, Field(gt=0)] = 5.0
    # Classes whose boxes are made unrecognisable before anything is written.
    blur: tuple[str, ...] = ()


class MetricsConfig(Settings):
    """Where Prometheus reads the node's figures."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9108  # 0 takes a free one


class ModelsConfig(Settings):
    """Models come over the air: what the node believes, and how it goes about them. ``state`` holds them in ``models``."""

    # The authority whose certificates for signing models are believed.
    trust: Path
    # Serials, as 'sightline pki show' prints them, of those that are believed no more: their key was lost.
    refused_signers: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{1,40}$")], ...] = ()
    # Where the node stands, for rollouts that go through every site and kind of hardware.
    site: Name = "site"
    # What the node can run, best first, as in tensorrt-10.6.0-sm_90-fp16; without it what ONNX Runtime runs on the CPU.
    targets: tuple[str, ...] = ()
    max_bytes_per_s: Annotated[float, Field(gt=0)] = 2 * 1024**2
    report_s: Annotated[float, Field(gt=0)] = 10.0
    # A model that the node did not survive so often within its trial is put back for the one before it.
    trial_s: Annotated[float, Field(ge=0)] = 300.0
    trial_starts: Annotated[int, Field(ge=1)] = 3
    # So many failed inferences, of so many last ones, put the model back for the one before it at once.
    error_limit: Annotated[int, Field(ge=1)] = 5
    error_window: Annotated[int, Field(ge=1)] = 100
    # The private key to which keys of sealed parts are encrypted (PEM; made where it is missing); without it those are refused.
    key: Path | None = None
    # The part that states the boot state: 'software', or MODULE:CLASS of a part of the site's own.
    attestation: str | None = None

    @field_validator("targets")
    @classmethod
    def _are_targets(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            parse_target(text)
        return texts


class LogFormat(StrEnum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The least that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogConfig(Settings):
    """Log lines on standard error: for people, or a JSON object a line."""

    format: LogFormat = LogFormat.TEXT
    level: LogLevel = LogLevel.INFO


class CameraSource(Settings):
    """A camera: where its frames come from (file, folder of images, RTSP or HTTP address) and its camera file."""

    source: Annotated[str, Field(min_length=1, repr=False)]
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
    # Folder of all that the node keeps on its disk: spool, clips, ledger.
    state: Path = Path("state")
    spool: SpoolConfig = SpoolConfig()
    forward: ForwardConfig = ForwardConfig()
    local_broker: LocalBroker | None = None
    neighbours: Neighbours | None = None
    clips: ClipsConfig | None = None
    metrics: MetricsConfig | None = None
    log: LogConfig = LogConfig()
    models: ModelsConfig | None = None
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
    # Unless it is to be tried for as long as the node runs: a device starts before its cameras do.
    keep_trying: bool = False

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
        if self.neighbours and (self.local_broker is None or self.local_broker.kind is not BrokerKind.MQTT):
            raise ValueError("neighbours are heard over MQTT: give a local_broker of kind mqtt, or leave them out")
        return self


def load_node_config(path: Path) -> NodeConfig:
    """Read ``path``, put ``${NAME}`` and ``${file:PATH}`` into sources and brokers' options, and make paths absolute.

    Secrets are thus never in the file, and what came in this way is masked from then on. Raises ConfigError.
    """
    config = load_settings(path, NodeConfig)
    folder = path.absolute().parent
    cameras = tuple(
        CameraSource(source=_located(expand(entry.source, str(path), folder), folder), camera=_absolute(entry.camera, folder))
        for entry in config.cameras
    )
    options = expand_options(config.kafka.options, str(path), folder)
    kafka = config.kafka.model_copy(update={"options": options, "tls": _absolute_tls(config.kafka.tls, folder)})
    local = config.local_broker
    if local is not None:
        options = expand_options(local.options, str(path), folder)
        local = local.model_copy(update={"options": options, "tls": _absolute_tls(local.tls, folder)})
    looks = config.appearance
    if looks is not None:
        looks = looks.model_copy(update={"model": _absolute(looks.model, folder)})
    models = config.models
    if models is not None:
        key = _absolute(models.key, folder) if models.key else None
        models = models.model_copy(update={"trust": _absolute(models.trust, folder), "key": key})
    changes = {"cameras": cameras, "kafka": kafka, "local_broker": local, "appearance": looks, "models": models}
    paths = {"model": _absolute(config.model, folder), "state": _absolute(config.state, folder)}
    return config.model_copy(update={**changes, **paths})


def is_address(source: str) -> bool:
    """Whether a source is a network address and not a path."""
    return "://" in source


def _located(source: str, folder: Path) -> str:
    return source if is_address(source) else str(_absolute(Path(source), folder))


def _absolute_tls(tls: Tls | None, folder: Path) -> Tls | None:
    if tls is None:
        return None
    return Tls(ca=_absolute(tls.ca, folder), certificate=_absolute(tls.certificate, folder), key=_absolute(tls.key, folder))


def _absolute(path: Path, folder: Path) -> Path:
    return (folder / path.expanduser()).resolve()
