"""A node's figures, as Prometheus reads them.

Every node has a registry of its own, so that several may live in one process. Hot code calls plain methods, which cost a few
microseconds; what others own (a queue's depth, a clip's age) is read when Prometheus asks, from callables given to ``watch``.
One that fails leaves its series out of that answer and is counted; the answer comes all the same.

Series are bounded: labels are cameras and brokers of the settings, topics of the contract, reasons of the code, and the
contract's 256 classes at the most (a class has 23 series from its first detection on).
"""

import errno
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sightline_contract.errors import ConfigError, PortInUseError
from sightline_contract.labels import label_names
from sightline_edge.config import MetricsConfig
from sightline_edge.health.device import DeviceCollector
from sightline_edge.health.masking import mask

logger = logging.getLogger(__name__)

PREFIX = "sightline_edge"
# 0.1 ms to 5 s; one stage of one frame lies between.
STAGE_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
FILL_BUCKETS = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
SCORE_BUCKETS = 20
MAX_CLASSES = 256

Value = float | Mapping[str, float] | None


class Stage(StrEnum):
    """What a frame goes through; each has its own latency histogram."""

    PREPARE = "prepare"  # from the decoded picture to the tensor
    QUEUE = "queue"  # waiting in the inbox
    INFERENCE = "inference"  # one call of the model, however many frames it takes
    POST = "post"  # from the model's output to messages
    PUBLISH = "publish"  # from a message's making to the centre's acknowledgement
    EVENT = "event"  # from the frame's arrival to the event's hand-over
    NEIGHBOUR = "neighbour"  # from a neighbour's sending of an event to its receipt here, by the two nodes' clocks


@dataclass(frozen=True)
class _Watched:
    """A figure that others own: its kind, what it means, and its label where it has one."""

    counter: bool
    meaning: str
    label: str | None = None


WATCHED: dict[str, _Watched] = {
    "inbox_frames": _Watched(False, "Frames that wait for the detector."),
    "spool_messages": _Watched(False, "Messages that wait for the centre, by lane.", "lane"),
    "spool_bytes": _Watched(False, "Bytes that wait for the centre."),
    "spool_oldest_seconds": _Watched(False, "Age of the oldest message that waits for the centre."),
    "spool_dropped": _Watched(True, "Messages that left the spool otherwise than to the centre.", "reason"),
    "forwarded": _Watched(True, "Messages that the centre acknowledged.", "topic"),
    "withheld": _Watched(True, "Detections that selection kept from the centre.", "camera"),
    "centre_up": _Watched(False, "1 while the central broker takes messages, else 0."),
    "broker_reconnects": _Watched(True, "Broker connections made again.", "broker"),
    "local_undelivered": _Watched(True, "Copies that the local broker did not get."),
    "clock_offset_seconds": _Watched(False, "Node's clock minus the central broker's."),
    "clock_offset_error_seconds": _Watched(False, "How far the clock offset may be off."),
    "oldest_frame_age_seconds": _Watched(False, "Age of the oldest frame in the clips on the disk."),
    "clips_bytes": _Watched(False, "Size of the clips on the disk."),
    "clips_frames_dropped": _Watched(True, "Frames that were due for the clips and not kept."),
    "model_number": _Watched(False, "Number of the manifest that serves; 0 is the model of the node's settings."),
    "model_phase": _Watched(False, "1 for where the node is with the models that are desired of it, else 0.", "phase"),
    "model_errors": _Watched(True, "Inferences that failed."),
    "shadow_agreement_ratio": _Watched(False, "Objects on which live model and shadow agree, of all that either sees."),
    "shadow_every": _Watched(False, "The shadow sees every k-th frame: k."),
    "certificate_days_left": _Watched(False, "Days until a certificate ends.", "certificate"),
}


class Metrics:
    """The figures of one node. Methods may be called from any thread."""

    def __init__(self, node_id: str, cameras: Sequence[str], device: DeviceCollector | None = None) -> None:
        """``cameras`` are the ids of the node's cameras; every series of theirs is there from the start, at 0."""
        # The library's own start times, a series for every counter and histogram: start_time_seconds says it once.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._make_counters(cameras)
        stages = self._histogram("stage_seconds", "Time of one stage of a frame or message.", ("stage",), STAGE_BUCKETS_S)
        self._stages = {stage: stages.labels(stage) for stage in Stage}
        self._fill = self._histogram("inference_batch_fill", "Frames in one inference over its maximum.", (), FILL_BUCKETS)
        self._model = self._gauge("model_info", "The model that runs; 1.", ("name", "version", "digest"))
        build = self._gauge("build_info", "The node's release; 1.", ("version", "node_id"))
        build.labels(version("sightline"), node_id).set(1)
        self._gauge("up", "1 for as long as the node runs.").set(1)
        self._gauge("start_time_seconds", "Unix time of the node's start.").set_to_current_time()
        self._scores = _ScoreHistogram()
        self._watches = _Watches()
        for collector in (self._scores, self._watches, device or DeviceCollector()):
            self.registry.register(collector)

    def frame(self, camera: str) -> None:
        """A frame came from the camera."""
        self._frames[camera].inc()

    def dropped(self, camera: str, reason: str, count: int = 1) -> None:
        """Frames were left out; ``reason`` is a word of the code, such as ``busy``."""
        self._dropped.labels(camera, reason).inc(count)

    def stage(self, stage: Stage, seconds: float) -> None:
        """How long a stage took, once."""
        self._stages[stage].observe(max(0.0, seconds))

    def inference(self, seconds: float, frames: int, most: int) -> None:
        """One call of the model with ``frames`` of at most ``most``."""
        self._stages[Stage.INFERENCE].observe(seconds)
        self._fill.observe(frames / most)

    def scores(self, scores: NDArray[np.floating], class_ids: NDArray[np.integer]) -> None:
        """Scores (0..1) and the contract's class ids of one frame's detections, [n] each."""
        self._scores.add(scores, class_ids)

    def source_reconnected(self, camera: str) -> None:
        """A camera's stream ended and was opened again."""
        self._source_reconnects[camera].inc()

    def model(self, name: str, version: str, digest: str) -> None:
        """The model that runs from now on; the one before is no longer shown."""
        self._model.clear()
        self._model.labels(name, version, digest).set(1)

    def watch(self, name: str, read: Callable[[], Value]) -> None:
        """Read a figure of WATCHED whenever Prometheus asks: a number, or numbers by label. None: there is none now.

        ``read`` is called in the server's thread and should not wait. A second watch of a name replaces the first.
        """
        self._watches.add(name, read)

    def _make_counters(self, cameras: Sequence[str]) -> None:
        frames = self._counter("frames", "Frames that came from the camera.", ("camera",))
        self._dropped = self._counter("frames_dropped", "Frames left out, by reason.", ("camera", "reason"))
        reconnects = self._counter("source_reconnects", "Streams that ended and were opened again.", ("camera",))
        self._frames = {camera: frames.labels(camera) for camera in cameras}
        self._source_reconnects = {camera: reconnects.labels(camera) for camera in cameras}

    def _counter(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"{PREFIX}_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", meaning, labels, buckets=buckets, registry=self.registry)


class _ScoreHistogram(Collector):
    """Detections by class and score, in twentieths: one array, since a frame has many detections and ``observe`` takes one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = np.zeros((MAX_CLASSES, SCORE_BUCKETS), np.int64)
        self._sums = np.zeros(MAX_CLASSES)
        self._names = label_names()
        # A bucket holds what is at most its upper bound, as Prometheus has it; in the precision that models give.
        self._bounds = (np.arange(1, SCORE_BUCKETS) / SCORE_BUCKETS).astype(np.float32)

    def add(self, scores: NDArray[np.floating], class_ids: NDArray[np.integer]) -> None:
        if not len(scores):
            return
        buckets = np.searchsorted(self._bounds, scores.astype(np.float32, copy=False))
        with self._lock:
            np.add.at(self._counts, (class_ids, buckets), 1)
            np.add.at(self._sums, class_ids, scores)

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            counts, sums = self._counts.cumsum(axis=1), self._sums.copy()
        family = HistogramMetricFamily(f"{PREFIX}_detection_score", "Scores of detections, by class.", labels=("class",))
        bounds = [str(number / SCORE_BUCKETS) for number in range(1, SCORE_BUCKETS + 1)]
        for class_id in np.flatnonzero(counts[:, -1]).tolist():
            buckets = [*zip(bounds, counts[class_id].tolist(), strict=True), ("+Inf", int(counts[class_id, -1]))]
            family.add_metric([self._names[class_id]], buckets, float(sums[class_id]))
        yield family


class _Watches(Collector):
    """Figures that others own, read when asked for."""

    def __init__(self) -> None:
        self._reads: dict[str, Callable[[], Value]] = {}
        self._failures: dict[str, int] = {}

    def add(self, name: str, read: Callable[[], Value]) -> None:
        if name not in WATCHED:
            raise ValueError(f"{name!r} is none of {', '.join(WATCHED)}")
        self._reads[name] = read

    def collect(self) -> Iterator[Metric]:
        for name, read in tuple(self._reads.items()):
            try:
                family = _family(name, WATCHED[name], read())
            except Exception as error:  # noqa: BLE001 - whatever goes wrong there must not hide all the other figures
                self._count_failure(name, error)
            else:
                yield family
        failures = CounterMetricFamily(f"{PREFIX}_watch_failures", "Figures that could not be read.", labels=("figure",))
        for name, count in tuple(self._failures.items()):
            failures.add_metric([name], count)
        yield failures

    def _count_failure(self, name: str, error: Exception) -> None:
        self._failures[name] = self._failures.get(name, 0) + 1
        if self._failures[name] == 1:  # a scrape every few seconds would say it again
            logger.warning("figure %s cannot be read (%s: %s)", name, type(error).__name__, error)


def _family(name: str, watched: _Watched, value: Value) -> Metric:
    kind = CounterMetricFamily if watched.counter else GaugeMetricFamily
    family = kind(f"{PREFIX}_{name}", watched.meaning, labels=(watched.label,) if watched.label else ())
    if watched.label:
        if not isinstance(value, Mapping | None):
            raise TypeError(f"{name} is given by {watched.label}")
        for label, part in (value or {}).items():
            family.add_metric([mask(label)], float(part))
    elif value is not None:
        family.add_metric([], float(value))  # type: ignore[arg-type]  # a mapping here raises TypeError, as it should
    return family


class MetricsServer:
    """Answers Prometheus in threads of its own, from construction to ``close``. Any path gives the figures."""

    def __init__(self, config: MetricsConfig, metrics: Metrics) -> None:
        """Listen; raises PortInUseError where another process does, ConfigError where the address is none of this machine."""
        where = f"metrics at {config.host}:{config.port}"
        try:
            self._server, self._thread = start_http_server(config.port, config.host, metrics.registry)
        except socket.gaierror as error:
            raise ConfigError(f"{where}: {config.host!r} is no address ({error.strerror}): correct metrics.host") from error
        except OSError as error:
            raise _explained(error, where) from error
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _explained(error: OSError, where: str) -> ConfigError | PortInUseError:
    if error.errno == errno.EADDRINUSE:
        return PortInUseError(
            f"{where}: another process listens there: stop it, or choose another metrics.port (0: a free one)"
        )
    return ConfigError(f"{where}: cannot listen ({error.strerror}): correct metrics.host or metrics.port")
