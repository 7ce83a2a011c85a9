"""Which model acts on the node's frames: the live one, another from the next frame on, and the one before it where it fails.

Invariants
- Models change between two calls of ``detect`` alone, so each frame is one model's, and none is lost or seen twice.
- A frame on which the live model fails is inferred again by the one before it, and by the node's own model where that one
  fails, too; only where all fail is the error raised. Whose detections they are is told with them.
- So many failures of the latest inferences put the model back for good; the agent is told, and remembers it.

The frame loop calls ``turn``, ``detect`` and ``after``; everything else may be called from any thread.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sightline_contract.rollout import Figures, Slot
from sightline_edge.frame import Pixels
from sightline_edge.postprocessing import Detections
from sightline_edge.preprocessing import Prepared
from sightline_edge.rollout.figures import SlotFigures
from sightline_edge.rollout.models import Loaded, one_line
from sightline_edge.rollout.shadow import Seen, Shadow, ShadowThread

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reverted:
    """A model that was put back, by its name, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Outcome:
    """Detections of each frame, and the model that found them."""

    found: list[Detections]
    by: Loaded


class ModelSwitch:
    """Holds the live model, the one before it for as long as it may be needed at once, and the shadow."""

    def __init__(
        self, live: Loaded, own: Callable[[], Loaded], error_limit: int, error_window: int, *, beside: bool = False
    ) -> None:
        """``own`` gives the model of the node's settings, the last resort; it is called where that is needed and not live.

        ``beside``: cameras are live, so the shadow has a thread of its own and sees the frames for which it has the time;
        without it, it sees every frame, and ``after`` waits for it.
        """
        self._own = own
        self._limit = error_limit
        self._beside = beside
        self._lock = threading.Lock()
        self._live = live
        self._before: Loaded | None = None
        self._load_before: Callable[[], Loaded | None] | None = None
        self._next: Loaded | None = None
        self._next_shadow: tuple[Loaded | None] | None = None
        self._shadow: Shadow | None = None
        self._thread: ShadowThread | None = None
        self._failed: deque[bool] = deque(maxlen=error_window)
        self._failures = 0
        self._reverted: Reverted | None = None
        self._doomed: list[Loaded] = []
        self._figures: dict[tuple[str, Slot], SlotFigures] = {}

    @property
    def live(self) -> Loaded:
        """The model that serves."""
        return self._live

    @property
    def shadow(self) -> Shadow | None:
        """The candidate that runs beside it."""
        return self._shadow

    @property
    def shadow_every(self) -> float:
        """The shadow sees every k-th frame: k; 0 without one."""
        if self._thread is not None:
            return self._thread.every
        return 1.0 if self._shadow else 0.0

    @property
    def failures(self) -> int:
        """Inferences that failed since the start, of all models that were live."""
        return self._failures

    # --- What the agent asks for

    def offer(self, loaded: Loaded) -> None:
        """Serve this model from the next turn on."""
        with self._lock:
            self._next = loaded

    def offer_shadow(self, loaded: Loaded | None) -> None:
        """Run this one in the shadow from the next turn on, or none."""
        with self._lock:
            self._next_shadow = (loaded,)

    def reverted(self) -> Reverted | None:
        """A model that was put back since the last call."""
        if self._reverted is None:
            return None
        with self._lock:
            told, self._reverted = self._reverted, None
        return told

    def release_before(self, load: Callable[[], Loaded | None]) -> None:
        """The live model has stood its trial: the one before it leaves the memory, and ``load`` brings it back at need."""
        with self._lock:
            if self._before is not None:
                self._doomed.append(self._before)
            self._before, self._load_before = None, load

    def figures(self) -> tuple[Figures, ...]:
        """What models did since the last call."""
        with self._lock:
            current = {self._live.name, self._shadow.loaded.name if self._shadow else ""}
            kept = list(self._figures.items())
            for key, _ in kept:
                if key[0] not in current:
                    del self._figures[key]
        return tuple(figures for _, each in kept if (figures := each.take()) is not None)

    # --- The frame loop's side

    def prepare(self, pixels: Pixels) -> Prepared:
        """The tensor of a BGR picture for the live model; may run in any thread."""
        return self._live.engine.prepare(pixels)

    def turn(self) -> bool:
        """Make the changes that are asked for; whether another model is live now. To be called between two frames."""
        if self._next is None and self._next_shadow is None and not self._doomed:
            return False
        with self._lock:
            chosen, self._next = self._next, None
            shadow, self._next_shadow = self._next_shadow, None
            doomed, self._doomed = self._doomed, []
        if chosen is not None:  # first: it may be the candidate that ran in the shadow until now
            self._change_live(chosen)
        if shadow is not None:
            self._change_shadow(shadow[0])
        for each in doomed:
            self._close(each)
        return chosen is not None

    def detect(self, pictures: Sequence[tuple[Pixels, Prepared]]) -> Outcome:
        """Detections of frames, each with what ``prepare`` made of it, maybe for an earlier model. Raises where all fail."""
        live = self._live
        try:
            return Outcome(self._infer(live, pictures), live)
        except Exception as error:  # any engine may fail in any way
            reason = one_line(error)
            self._count_failure(live, len(pictures))
            for other in self._others():
                try:
                    outcome = Outcome(self._infer(other, pictures), other)
                except Exception as again:  # noqa: BLE001 - then the next one is asked
                    self._count_failure(other, len(pictures))
                    logger.warning("model %s fails, too: %s", other.ref.model_version, one_line(again))
                else:
                    self._judge(outcome.by, reason)
                    return outcome
            raise

    def after(self, seen: Sequence[Seen]) -> None:
        """Frames that are dealt with: the shadow's turn. Never raises; waits only where cameras are not live."""
        if self._thread is not None:
            self._thread.offer(seen)
        elif self._shadow is not None:
            self._shadow.look(seen)

    def close(self) -> None:
        """End the shadow, after the frames at which it is."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()
        self._change_shadow(None)

    def _infer(self, model: Loaded, pictures: Sequence[tuple[Pixels, Prepared]]) -> list[Detections]:
        engine, figures = model.engine, self._of(model, Slot.LIVE)
        found: list[Detections] = []
        for first in range(0, len(pictures), max(1, engine.max_batch)):
            chunk = pictures[first : first + max(1, engine.max_batch)]
            its = engine.detect([model.prepared(pixels, made) for pixels, made in chunk])
            latency_ms: float | None = engine.inference_ms[-1] if engine.inference_ms else None
            for each in its:
                figures.add(each, latency_ms)
                latency_ms = None
            found += its
        if model is self._live:
            self._failed.append(False)
        return found

    def _others(self) -> Iterator[Loaded]:
        """What may serve instead of the live model, best first."""
        if self._live.name:
            if self._before is None and self._load_before is not None:
                load, self._load_before = self._load_before, None
                self._before = load()
            if self._before is not None:
                yield self._before
            if self._before is None or self._before.name:
                own = self._own()
                with self._lock:
                    if self._before is not None:
                        self._doomed.append(self._before)
                    self._before = own
                yield own

    def _count_failure(self, model: Loaded, frames: int) -> None:
        self._failures += 1
        self._of(model, Slot.LIVE).add_errors(frames)

    def _judge(self, instead: Loaded, reason: str) -> None:
        """The live model failed, ``instead`` did not: put it back where that happened too often."""
        live = self._live
        self._failed.append(True)
        failed = sum(self._failed)
        if failed == 1:
            logger.warning(
                "model %s fails: %s; model %s takes its frames", live.ref.model_version, reason, instead.ref.model_version
            )
        if failed < self._limit:
            return
        with self._lock:
            self._live, self._before, self._load_before = instead, None, None
            self._next = None  # what was asked for was asked for beside another model
            self._reverted = Reverted(live.name, f"{failed} of the last {len(self._failed)} inferences failed: {reason}")
            self._doomed.append(live)
            self._failed.clear()

    def _change_live(self, chosen: Loaded) -> None:
        with self._lock:
            before, self._live = self._live, chosen
            if self._before is not None and self._before is not before:
                self._doomed.append(self._before)
            self._before, self._load_before = before, None
            self._failed.clear()
        if self._shadow is not None and self._shadow.loaded is chosen:
            self._change_shadow(None, keep=True)

    def _change_shadow(self, loaded: Loaded | None, *, keep: bool = False) -> None:
        """``keep``: the one before was made the live model, and stays loaded."""
        thread, self._thread = self._thread, None
        before, self._shadow = self._shadow, None
        if thread is not None:
            # A candidate that goes may be at work still, and no frame waits for that.
            thread.close(None if keep or before is None else before.loaded.engine.close)
        elif before is not None and not keep:
            self._close(before.loaded)
        if loaded is not None:
            shadow = Shadow(loaded)
            with self._lock:
                self._figures[loaded.name, Slot.SHADOW] = shadow.figures
            self._shadow = shadow
            self._thread = ShadowThread(shadow) if self._beside else None

    def _close(self, model: Loaded) -> None:
        if model is not self._live and model is not self._before:
            model.engine.close()

    def _of(self, model: Loaded, slot: Slot) -> SlotFigures:
        key = (model.name, slot)
        with self._lock:  # figures() takes those of models that neither serve nor shadow away, from another thread
            if key not in self._figures:
                self._figures[key] = SlotFigures(model.ref, slot, model.engine.card.labels)
            return self._figures[key]
