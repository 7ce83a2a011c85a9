"""One simulated node: the real agent, a camera that is drawn, and a link to the centre that can be down."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sightline.fleet.engines import Engines, SharedEngine
from sightline.fleet.scenes import Pictures
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.manifest import GOLDEN_PART
from sightline_contract.model_files import ModelFiles
from sightline_contract.parity import BARS, check_parity, parse_golden
from sightline_contract.rollout import DesiredModels, ModelStatus
from sightline_contract.targets import Target
from sightline_edge.batching import Batcher, FrameDetections, Origin
from sightline_edge.config import ModelsConfig
from sightline_edge.rollout.agent import Agent, Tools
from sightline_edge.rollout.models import Engine
from sightline_edge.rollout.shadow import Seen

# As a spool would: what a node without a link says is kept, and told when it is back.
_KEPT = 500
_STEPS = 200  # of the agent at once, where each says that the next is of use now
_SECOND_US = 1_000_000


@dataclass(frozen=True)
class Place:
    """Where a node stands, and what it is."""

    node_id: str
    site: str
    target: Target


class SimulatedNode:
    """A node that runs when it is told to. Times are the simulation's, UTC us."""

    def __init__(self, place: Place, baseline: Path, trust: Path, state: Path, engines: Engines, now_us: int) -> None:
        self.place = place
        self.linked = True  # the link to the centre
        self.powered = True
        self.unserved = 0  # frames for which there was no model: must stay 0
        self.served: set[str] = set()  # versions that ever served
        self._baseline, self._engines, self._state = baseline, engines, state
        self._config = ModelsConfig(
            trust=trust, site=place.site, targets=(str(place.target),), max_bytes_per_s=64 * 1024**2, trial_s=1800
        )
        self._statuses: deque[ModelStatus] = deque(maxlen=_KEPT)
        self._batches: deque[DetectionBatch] = deque(maxlen=_KEPT)
        self._desired: DesiredModels | None = None
        self._frames = 0
        self._batcher: Batcher | None = None
        self._agent = self._start(now_us)

    @property
    def version(self) -> str:
        """The version that serves."""
        return self._agent.switch.live.ref.model_version

    @property
    def in_shadow(self) -> str | None:
        """The version in the shadow."""
        shadow = self._agent.switch.shadow
        return shadow.loaded.ref.model_version if shadow else None

    @property
    def models(self) -> tuple[str, str | None]:
        """The version that serves, and the one in the shadow."""
        return self.version, self.in_shadow

    def warm(self) -> None:
        """Run its model once for nobody."""
        engine = self._agent.switch.live.engine
        if isinstance(engine, SharedEngine):
            engine.warm()

    def tell(self, desired: DesiredModels) -> None:
        """What the centre has for this node; it gets it when it has a link."""
        self._desired = desired

    def live(self, pictures: Pictures, now_us: int) -> tuple[list[ModelStatus], list[DetectionBatch]]:
        """See pictures, go about the models, report; what reaches the centre is returned."""
        if not self.powered:
            return [], []
        if self.linked and self._desired is not None:
            self._agent.take(self._desired)
            self._desired = None
        self._work(now_us)
        batch = self._see(pictures, now_us)
        self._statuses.append(self._agent.status(now_us))
        if batch is not None:
            self._batches.append(batch)
        if not self.linked:
            return [], []
        told = list(self._statuses), list(self._batches)
        self._statuses.clear()
        self._batches.clear()
        return told

    def switch_off(self) -> None:
        """The power goes."""
        self._agent.close(orderly=False)
        self.powered = False

    def switch_on(self, now_us: int) -> None:
        """The power is back."""
        self._agent = self._start(now_us)
        self.powered = True

    def close(self) -> None:
        """End in order."""
        if self.powered:
            self._agent.close()

    def _start(self, now_us: int) -> Agent:
        self._session, self._batcher = now_us, None
        tools = Tools(own=lambda: self._engines.load(self._baseline), load=self._engines.load, parity=_check_parity)
        return Agent(self._config, self.place.node_id, (self.place.target,), self._state, tools, now_us)

    def _work(self, now_us: int) -> None:
        for _ in range(_STEPS):
            wait_us = self._agent.step(now_us)
            self._agent.switch.turn()
            if wait_us:
                break
        self.served.add(self.version)

    def _see(self, pictures: Pictures, now_us: int) -> DetectionBatch | None:
        switch = self._agent.switch
        prepared = [(picture, switch.prepare(picture)) for picture in pictures]
        try:
            outcome = switch.detect(prepared)
        except Exception:  # noqa: BLE001 - any failure is what is counted here
            self.unserved += len(pictures)
            return None
        labels = outcome.by.engine.card.labels
        switch.after([Seen(*each, found, labels) for each, found in zip(prepared, outcome.found, strict=True)])
        ref = outcome.by.ref
        origin = Origin(
            node_id=self.place.node_id,
            camera_id=f"{self.place.node_id}-camera",
            session=self._session,
            model_name=ref.model_name,
            model_version=ref.model_version,
            model_digest=outcome.by.engine.digest,
            frame_size=(1280, 720),
            frame_rate=10,
        )
        if self._batcher is None:
            self._batcher = Batcher(origin, _SECOND_US)
        self._batcher.use(origin)
        for i, found in enumerate(outcome.found):
            centre, size = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2, found.boxes[:, 2:] - found.boxes[:, :2]
            boxes = np.hstack([centre, size]).astype(np.float32)
            captured_us = now_us - _SECOND_US + i * _SECOND_US // len(outcome.found)
            classes = found.labels.astype(np.uint8)
            self._batcher.add(FrameDetections(self._frames + i, captured_us, boxes, found.scores, classes), now_us)
        batch = self._batcher.overdue(now_us + 10 * _SECOND_US)
        self._frames += len(pictures)
        return batch


def _check_parity(files: ModelFiles, target: Target, engine: Engine) -> None:
    golden = parse_golden(files.read(GOLDEN_PART), files.where(GOLDEN_PART))
    seen = [engine.detect([engine.prepare(frame)])[0] for frame in golden.frames]
    check_parity(golden, seen, BARS[target.precision], str(target))
