"""The edge node: its cameras' readers, one detector for all of them, and what they send.

Readers decode and prepare frames in threads of their own; the detector and everything after it run in the caller's thread.
One broken camera does not end the others: its error is raised when they are done.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial

from sightline_contract.camera import CameraConfig, load_cameras
from sightline_contract.errors import BrokerError, ConfigError
from sightline_edge.appearance import Appearance
from sightline_edge.batching import Origin
from sightline_edge.capture import Patience, open_source
from sightline_edge.clips.ring import open_clips
from sightline_edge.config import CameraSource, NodeConfig
from sightline_edge.delivery.delivery import Delivery
from sightline_edge.figures import watch_all
from sightline_edge.frame import Frame
from sightline_edge.health.device import DeviceCollector
from sightline_edge.health.metrics import Metrics, MetricsServer, Stage
from sightline_edge.inbox import Inbox
from sightline_edge.pipeline import CameraPipeline
from sightline_edge.postprocessing import Detections
from sightline_edge.reader import Limits, Reader
from sightline_edge.rollout.models import Loaded
from sightline_edge.rollout.service import RolloutThread, blurred_classes, open_agent, own_switch, watch_models
from sightline_edge.rollout.shadow import Seen
from sightline_edge.supervision import Supervision

logger = logging.getLogger(__name__)

# How long the node waits for a frame before it looks after heartbeats and Kafka's answers.
IDLE_S = 0.1
# A node that is told to stop sends so long what it can: systemd gives a service 90 s by default.
STOP_DRAIN_S = 5.0


@dataclass(frozen=True)
class Progress:
    """How far the node is; ``of`` is None where a source has no end."""

    frames: int
    of: int | None
    detections: int
    events: int


@dataclass(frozen=True)
class CameraSummary:
    """One camera's run."""

    camera_id: str
    session: int
    frames: int
    frames_skipped: int
    detections: int
    batches: int
    events: int
    detections_withheld: int


@dataclass(frozen=True)
class Summary:
    """The node's run."""

    cameras: tuple[CameraSummary, ...]
    seconds: float
    inference_ms_p50: float
    inference_ms_p95: float

    @property
    def frames_per_s(self) -> float:
        """Analysed frames per second over all cameras."""
        return sum(camera.frames for camera in self.cameras) / self.seconds if self.seconds else 0.0


class Node:
    """An edge node, ready to run: model loaded, recordings opened, spool open. Kafka may be away."""

    def __init__(self, config: NodeConfig) -> None:
        """Open everything that can be wrong; raises a SightlineError before anything was kept."""
        self._config = config
        cameras = _load_cameras(config)
        self._appearance = Appearance(config.appearance, config.threads) if config.appearance else None
        self._stop = threading.Event()
        self._supervision = Supervision()
        session = _now_us()
        start_us = round(config.start_time.timestamp() * 1e6) if config.start_time else session
        self._device = DeviceCollector(config.state)
        self._metrics = Metrics(config.node_id, [camera.camera_id for camera in cameras], self._device)
        sources = [
            open_source(entry.source, camera.frame_rate, start_us, self._stop, self._patience(camera))
            for entry, camera in zip(config.cameras, cameras, strict=True)
        ]
        live = any(source.live for source in sources)
        self._agent = open_agent(config, config.models, beside=live) if config.models else None
        self._switch = self._agent.switch if self._agent else own_switch(config)
        published, heard = (partial(self._metrics.stage, stage) for stage in (Stage.PUBLISH, Stage.NEIGHBOUR))
        try:
            self._delivery = Delivery(config, cameras, wait=not live, published=published, heard=heard)
        except BaseException:
            if self._agent is not None:
                self._agent.close()
            raise
        card = self._switch.live.engine.card
        self._pipelines = [
            CameraPipeline(
                camera, config, self._origin(camera, session), card.labels, self._delivery, self._metrics, self._appearance
            )
            for camera in cameras
        ]
        limits = Limits(config.max_frames, config.duration_s)
        self._inbox = Inbox(len(cameras))
        self._readers = [
            Reader(i, camera.camera_id, source, self._switch.prepare, self._inbox, config.pace, limits, self._metrics)
            for i, (camera, source) in enumerate(zip(cameras, sources, strict=True))
        ]
        self._clips = open_clips(config)
        self._show(self._switch.live)
        watch_all(self._metrics, config, self._delivery, self._inbox, self._clips)
        self._rollout: RolloutThread | None = None
        if self._agent is not None and config.models is not None:
            self._rollout = RolloutThread(config, config.models, self._agent, self._delivery.send_model_status)
            watch_models(self._metrics, self._agent)
        totals = [limits.total(source, camera.frame_rate) for source, camera in zip(sources, cameras, strict=True)]
        self._total = None if None in totals else sum(total or 0 for total in totals)

    def stop(self) -> None:
        """Read no further frame; what was read is still sent. May be called from a signal handler."""
        self._stop.set()

    def run(self, report: Callable[[Progress], None]) -> Summary:
        """Run until every source has ended or ``stop`` is called; ``report`` is called about once a second."""
        with ExitStack() as servers:
            servers.callback(self._device.close)
            if self._clips is not None:
                servers.callback(self._clips.close)
            if self._config.metrics is not None:
                servers.callback(MetricsServer(self._config.metrics, self._metrics).close)
            return self._run(report)

    def _run(self, report: Callable[[Progress], None]) -> Summary:
        started_s = time.monotonic()
        self._delivery.start()
        for reader in self._readers:
            reader.start()
        if self._rollout is not None:
            self._rollout.start()
        self._supervision.ready()
        try:
            self._loop(report)
            told_to_stop = self._stop.is_set()
            self._beat("stopped")
        except BaseException:
            self._stop_readers()
            self._end_rollout(orderly=False)
            self._delivery.close(drain_s=0)
            raise
        self._supervision.stopping()
        self._stop_readers()
        self._end_rollout(orderly=True)
        self._leave(told_to_stop)
        report(self._progress())
        for reader in self._readers:
            if reader.error is not None:
                raise reader.error
        return self._summary(time.monotonic() - started_s)

    def _stop_readers(self) -> None:
        self._stop.set()
        for reader in self._readers:
            reader.stop()

    def _end_rollout(self, *, orderly: bool) -> None:
        if self._rollout is not None:
            self._rollout.close(orderly=orderly)
        self._switch.close()

    def _leave(self, told_to_stop: bool) -> None:
        """Send what can be sent. What stays in the spool is an error only where somebody waits for the end of a recording."""
        kafka = self._config.kafka
        left = self._delivery.close(STOP_DRAIN_S if told_to_stop else kafka.send_timeout_s)
        if left and told_to_stop:
            logger.info("%d messages stay in the spool: the node's next run sends them", left)
        elif left:
            raise BrokerError(
                f"Kafka at {kafka.bootstrap_servers}: did not take {left} messages within {kafka.send_timeout_s:.0f} s: check "
                f"the broker and its topics; they stay in {self._config.state}, and the node's next run sends them"
            )

    def _loop(self, report: Callable[[Progress], None]) -> None:
        self._beat("starting")
        beat_s = report_s = time.monotonic()
        running = set(range(len(self._pipelines)))
        while running:
            if self._stop.is_set():
                for reader in self._readers:
                    reader.stop()
            self._analyse()
            running -= self._end_finished(running)
            self._delivery.check()
            self._supervision.alive()
            now_s = time.monotonic()
            if now_s - beat_s >= self._config.heartbeat_s:
                beat_s = now_s
                self._beat("running")
            if now_s - report_s >= 1:
                report_s = now_s
                report(self._progress())

    def _analyse(self) -> None:
        self._switch.turn()
        taken = self._inbox.take(self._switch.live.engine.max_batch, IDLE_S)
        if taken:
            began_s = time.monotonic()
            for camera, waiting in taken:
                self._pipelines[camera].check(waiting.frame)
                self._metrics.stage(Stage.QUEUE, began_s - waiting.since_s)
            outcome = self._switch.detect([(waiting.frame.pixels, waiting.prepared) for _, waiting in taken])
            engine = outcome.by.engine
            inference_s = engine.inference_ms[-1] / 1000
            self._metrics.inference(inference_s, min(len(taken), engine.max_batch), engine.max_batch)
            if outcome.by is not self._shown:
                self._show(outcome.by)
            for (camera, waiting), detections in zip(taken, outcome.found, strict=True):
                self._pipelines[camera].use(engine.card, engine.digest)
                self._pipelines[camera].observe(waiting.frame, detections, _now_us())
                self._offer_to_clips(camera, waiting.frame, detections)
            self._metrics.stage(Stage.POST, time.monotonic() - began_s - inference_s)
            self._switch.after(
                [
                    Seen(waiting.frame.pixels, waiting.prepared, detections, engine.card.labels)
                    for (_, waiting), detections in zip(taken, outcome.found, strict=True)
                ]
            )
        for pipeline in self._pipelines:
            pipeline.tick(_now_us())

    def _show(self, model: Loaded) -> None:
        """Frames are this model's from now on."""
        self._shown = model
        card = model.engine.card
        self._metrics.model(card.name, card.version, model.engine.digest.hex())
        self._blurred = blurred_classes(self._config, card)

    def _offer_to_clips(self, camera: int, frame: Frame, found: Detections) -> None:
        if self._clips is not None:
            boxes = self._blurred.boxes(found, frame.size)
            name = self._pipelines[camera].camera.camera_id
            self._clips.offer(name, frame.pixels, frame.captured_us, frame.received_us, boxes)

    def _end_finished(self, running: set[int]) -> set[int]:
        finished = {camera for camera in running if self._inbox.finished(camera)}
        for camera in finished:
            self._pipelines[camera].end()
            if error := self._readers[camera].error:
                logger.warning("camera %s ended: %s", self._pipelines[camera].camera.camera_id, error)
        return finished

    def _patience(self, camera: CameraConfig) -> Patience:
        reconnected = partial(self._metrics.source_reconnected, camera.camera_id)
        return Patience(self._config.source_timeout_s, self._config.keep_trying, reconnected)

    def _beat(self, state: str) -> None:
        inference_ms = self._inference_ms()
        health = self._delivery.health()
        for i, (reader, pipeline) in enumerate(zip(self._readers, self._pipelines, strict=True)):
            its_state = "stopped" if self._inbox.finished(i) else state
            self._delivery.send_status(pipeline.status(its_state, reader.frames_read, inference_ms, health, _now_us()))

    def _progress(self) -> Progress:
        counters = [pipeline.counters for pipeline in self._pipelines]
        frames, detections, events = (sum(getattr(c, what) for c in counters) for what in ("frames", "detections", "events"))
        return Progress(frames, self._total, detections, events)

    def _summary(self, seconds: float) -> Summary:
        cameras = tuple(
            CameraSummary(
                pipeline.origin.camera_id,
                pipeline.origin.session,
                **asdict(pipeline.counters),
                detections_withheld=self._delivery.selection.withheld[pipeline.origin.camera_id],
            )
            for pipeline in self._pipelines
        )
        p50, p95 = self._inference_ms()
        return Summary(cameras, round(seconds, 3), round(p50, 2), round(p95, 2))

    def _inference_ms(self) -> tuple[float, float]:
        """Of the model that serves: 50th and 95th percentile."""
        engine = self._switch.live.engine
        return engine.inference_percentile_ms(50), engine.inference_percentile_ms(95)

    def _origin(self, camera: CameraConfig, session: int) -> Origin:
        engine = self._switch.live.engine
        return Origin(
            node_id=self._config.node_id,
            camera_id=camera.camera_id,
            session=session,
            model_name=engine.card.name,
            model_version=engine.card.version,
            model_digest=engine.digest,
            frame_size=camera.frame_size,
            frame_rate=camera.frame_rate,
            appearance_size=self._appearance.size if self._appearance else 0,
            appearance_even=self._appearance.even if self._appearance else 0.0,
        )


def _load_cameras(config: NodeConfig) -> list[CameraConfig]:
    cameras = [_one_camera(entry) for entry in config.cameras]
    ids = [camera.camera_id for camera in cameras]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise ConfigError(f"two cameras of node {config.node_id} are called {twice[0]!r}: camera ids must differ")
    return cameras


def _one_camera(entry: CameraSource) -> CameraConfig:
    cameras = load_cameras(entry.camera)
    if len(cameras) != 1:
        raise ConfigError(f"{entry.camera}: is a folder of {len(cameras)} cameras: name one camera file")
    return cameras[0]


def _now_us() -> int:
    return time.time_ns() // 1000
