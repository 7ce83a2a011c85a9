"""A candidate beside the live model: it sees the same frames, its detections are compared and counted, and nobody acts on them.

Invariants
- It runs after the live model, on frames whose detections have been acted on: what it does cannot change them.
- Whatever it raises is counted, as frames on which it failed, and goes no further.
- ``ShadowThread`` never makes the caller wait: a frame that comes while the shadow is at work is not for it. It works at most
  half of the time, so a slow shadow leaves the processor to the live model, and gets every k-th frame: ``every``.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from sightline_contract.agreement import Agreement, compare
from sightline_contract.rollout import Slot
from sightline_edge.frame import Pixels
from sightline_edge.postprocessing import Detections, Ints
from sightline_edge.preprocessing import Prepared
from sightline_edge.rollout.figures import SlotFigures
from sightline_edge.rollout.models import Loaded, one_line

logger = logging.getLogger(__name__)

# Share of the time that a shadow may work beside a live camera.
SHARE = 0.5
_NICE = 10


@dataclass(frozen=True)
class Seen:
    """A frame that a live model has dealt with."""

    pixels: Pixels
    prepared: Prepared
    found: Detections
    labels: tuple[str, ...]  # of the live model


class Shadow:
    """One candidate's work: plain calls, no thread."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.figures = SlotFigures(loaded.ref, Slot.SHADOW, loaded.engine.card.labels)
        self.agreement = Agreement()  # since it began
        self._failing = False
        self._tables: dict[tuple[str, ...], Ints] = {}

    def look(self, seen: Sequence[Seen]) -> None:
        """Infer and compare frames, of any number; never raises."""
        most = max(1, self.loaded.engine.max_batch)
        for first in range(0, len(seen), most):
            chunk = seen[first : first + most]
            try:
                self._look(chunk)
                self._failing = False
            except Exception as error:  # noqa: BLE001 - a candidate may fail in any way, and the live model goes on
                self.figures.add_errors(len(chunk))
                if not self._failing:
                    self._failing = True
                    logger.warning("shadow %s fails: %s", self.loaded.ref.model_version, one_line(error))

    def _look(self, seen: Sequence[Seen]) -> None:
        engine = self.loaded.engine
        found = engine.detect([self.loaded.prepared(each.pixels, each.prepared) for each in seen])
        latency_ms: float | None = engine.inference_ms[-1] if engine.inference_ms else None
        for each, its in zip(seen, found, strict=True):
            self.figures.add(its, latency_ms)
            latency_ms = None
            labels = self._in_words_of(each.labels)[its.labels] if len(its) else its.labels
            live = (each.found.boxes, each.found.scores, each.found.labels)
            agreement = compare(live, (its.boxes, its.scores, labels)) if len(its) or len(each.found) else Agreement()
            self.figures.add_agreement(agreement)
            self.agreement += agreement

    def _in_words_of(self, live: tuple[str, ...]) -> Ints:
        """The live model's index for each of the candidate's labels: two models may number their classes differently."""
        if live not in self._tables:
            own = self.loaded.engine.card.labels
            # One that the live model does not have matches none of its.
            self._tables[live] = np.array([live.index(label) if label in live else -1 - i for i, label in enumerate(own)])
        return self._tables[live]


class ShadowThread:
    """A shadow beside live cameras, in a thread of its own that yields to all others."""

    def __init__(self, shadow: Shadow, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.shadow = shadow
        self._clock_s = clock_s
        self._changed = threading.Condition()
        self._waiting: Sequence[Seen] | None = None
        self._rest_until_s = 0.0
        self._busy = False
        self._closing = False
        self._then: Callable[[], None] | None = None
        self._offered = self._taken = 0
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, seen: Sequence[Seen]) -> bool:
        """Hand frames over if the shadow is free; never waits. Whether they were taken."""
        with self._changed:
            self._offered += len(seen)
            if self._busy or self._waiting is not None or self._clock_s() < self._rest_until_s:
                return False
            self._taken += len(seen)
            self._waiting = seen
            self._changed.notify()
            return True

    @property
    def every(self) -> float:
        """The shadow sees every k-th frame: k."""
        return self._offered / self._taken if self._taken else 0.0

    def close(self, then: Callable[[], None] | None = None) -> None:
        """End the thread after the frames at which it is: waits for that, or has the thread call ``then`` at its end."""
        with self._changed:
            self._closing, self._then = True, then
            self._changed.notify()
        if then is None:
            self._thread.join()

    def _run(self) -> None:
        # On Linux a thread has a niceness of its own; a runtime with threads of its own keeps those at their maker's.
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None or self._closing)
                if self._closing:
                    break
                seen, self._waiting, self._busy = self._waiting or (), None, True
            began_s = self._clock_s()
            self.shadow.look(seen)
            ended_s = self._clock_s()
            with self._changed:
                self._rest_until_s = ended_s + (ended_s - began_s) * (1 / SHARE - 1)
                self._busy = False
        if self._then is not None:
            self._then()
