"""One simulated camera: its world, its detector, its faults; seconds in, messages and truth out.

The world's tick divides the camera's frame interval, so that truth is finer than what the camera sees.
"""

import zlib
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sightline.simulate.arrivals import Arrivals
from sightline.simulate.encoding import Message, Session, encode, template
from sightline.simulate.faults import Fault, Faults
from sightline.simulate.kernel import Records
from sightline.simulate.layouts import (
    MIN_SCORE,
    Layout,
    Traffic,
    camera_config,
    lane_records,
    line_array,
    sensor_record,
    view_record,
    zone_records,
)
from sightline.simulate.objects import MAX_OBJECTS, OBJECT
from sightline.simulate.sensing import GHOST, MAX_GHOSTS, MOST_DETECTIONS
from sightline.simulate.truth import ROW
from sightline.simulate.world import ANALYSED, MOST_ROWS_A_TICK, NO_FRAME, UNSEEN, end_world, run_ticks
from sightline_contract.camera import CameraConfig

WINDOW_US = 60_000_000
MARGIN = 0.1  # of the box's extent across the line, as the product's crossing_margin
RATES = {5: 20, 10: 20, 15: 30, 25: 25, 30: 30}  # frames a second, and ticks
_MOST_WAITING = 12
_SURE = round(MIN_SCORE * 255)


class Comers(Protocol):
    """Who comes into a scene."""

    def between(self, from_s: float, to_s: float) -> list[Records]:
        """OBJECT records of those who come in the stretch, in order of time."""


@dataclass
class Tally:
    """What a camera sent, in messages that arrive and are accepted, per session."""

    session: int
    frames_given: int = 0
    frames_sent: int = 0
    detections: int = 0
    countable: int = 0  # of the configured classes, sure enough, in time for their window
    messages: int = 0
    refused: int = 0  # messages that must be refused
    duplicates: int = 0


@dataclass(frozen=True)
class Plan:
    """What a camera looks at, and what is wrong with it."""

    camera_id: str
    layout: Layout
    traffic: Traffic
    frame_rate: int
    fault: Fault


@dataclass
class _Second:
    """A second's frames as they were scheduled."""

    number: int
    given: int  # frames that the camera gave
    ticks: npt.NDArray[np.int64]  # of those that are analysed, from the stretch's first tick
    skipped: int  # frames before the first analysed one
    first_ordinal: int  # of the first frame given
    lost: bool
    future: bool
    session: int
    seq: int
    rate_mhz: int
    last: bool
    tally: Tally


@dataclass(frozen=True)
class _Seen:
    """What the detector gave in a stretch of T ticks, N detections in all."""

    t_us: npt.NDArray[np.int64]  # (T,) by the camera's clock
    counts: npt.NDArray[np.int64]  # (T,)
    before: npt.NDArray[np.int64]  # (T + 1,) detections before each tick
    sure: npt.NDArray[np.int64]  # (N + 1,) sure enough ones before each detection
    boxes: npt.NDArray[np.uint16]
    scores: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.uint8]


@dataclass
class SimulatedCamera:
    """State of one camera's simulation."""

    index: int
    plan: Plan
    seconds: int
    start_us: int
    seed: int
    comers: Comers | None = None  # who comes; by default those of the layout
    tallies: list[Tally] = field(default_factory=list)
    rows: list[Records] = field(default_factory=list)

    def __post_init__(self) -> None:
        seeds = np.random.SeedSequence([self.seed, self.index, zlib.crc32(self.plan.camera_id.encode())]).spawn(3)
        world, arrivals, faults = (np.random.default_rng(each) for each in seeds)
        layout, traffic = self.plan.layout, self.plan.traffic
        self.config: CameraConfig = camera_config(layout, self.plan.camera_id, self.plan.frame_rate)
        self._rng = world
        self._arrivals = self.comers or Arrivals(layout, traffic, self.plan.frame_rate, arrivals)
        self._faults = Faults(self.plan.fault, self.seconds, faults)
        self._ticks_per_s = RATES[self.plan.frame_rate]
        self._lanes, self._zones = lane_records(layout, traffic), zone_records(self.config)
        self._lines, self._view, self._sensor = line_array(self.config), view_record(layout)[0], sensor_record(traffic)
        self._objects, self._ghosts = np.zeros(MAX_OBJECTS, OBJECT), np.zeros(MAX_GHOSTS, GHOST)
        self._in_second = np.arange(self._ticks_per_s)
        self._waiting: list[Records] = []
        self._batch = template(self.plan.camera_id, layout.optics.frame_size)
        self._session = Session(0)
        self._numbers = 0
        self._ended = False

    @property
    def begin_us(self) -> int:
        """The start, by the camera's own clock."""
        return self.start_us + self._faults.clock_us

    def advance(self, first_second: int, seconds: int) -> list[Message]:
        """Simulate a stretch; returns its messages."""
        ticks = seconds * self._ticks_per_s
        frames, restarts = np.full(ticks, NO_FRAME, np.uint8), np.zeros(ticks, np.uint8)
        plan = [s for k in range(seconds) if (s := self._schedule(first_second, first_second + k, restarts)) is not None]
        for second in plan:
            # Frames whose message never arrives, or is refused, are as good as never analysed: nobody sees what is in them.
            frames[second.ticks] = UNSEEN if second.lost or second.future else ANALYSED
        seen = self._run(first_second, seconds, frames, restarts)
        return [message for second in plan for message in self._messages(second, seen)]

    def end(self) -> None:
        """Write the truth of those who are still there."""
        rows = np.zeros(MOST_ROWS_A_TICK * 4, ROW)
        told = end_world(self._objects, len(self._lines), len(self._zones), rows)
        self._keep(rows[:told])

    def _schedule(self, first_second: int, number: int, restarts: npt.NDArray[np.uint8]) -> _Second | None:
        """Frames of one second, or None while the pipeline is down."""
        at = (number - first_second) * self._ticks_per_s
        if self._faults.starts_session(number):
            self._session = Session(self.start_us + number * 1_000_000)
            self.tallies.append(Tally(self._session.session))
            restarts[at] = 1
        if self._faults.is_down(number):
            return None
        slower = 2 if self._faults.halves_rate(number) else 1
        given = self._in_second[:: self._ticks_per_s // self.plan.frame_rate * slower] + at
        kept = self._faults.keeps(number, len(given))
        session = self._session
        second = _Second(
            number, len(given), given if kept is None else given[kept], 0 if kept is None else int(kept.argmax()),
            session.next_frame, self._faults.is_lost(number), self._faults.is_far_future(number), session.session, session.seq,
            self.plan.frame_rate * 1000 // slower, self._faults.ends_session(number), self.tallies[-1],
        )  # fmt: skip
        session.next_frame += len(given)
        session.seq += len(second.ticks) > 0
        second.tally.frames_given += len(given)
        return second

    def _run(self, first_second: int, seconds: int, frames: npt.NDArray[np.uint8], restarts: npt.NDArray[np.uint8]) -> _Seen:
        """Run the world over the stretch."""
        self._waiting += self._arrivals.between(first_second, first_second + seconds)
        arrivals = np.array(self._waiting, OBJECT) if self._waiting else np.zeros(1, OBJECT)
        arrivals["number"] = -1 if self._waiting else 0
        n_frames = int((frames == ANALYSED).sum())
        most = n_frames * MOST_DETECTIONS
        boxes, scores, classes = np.empty((most, 4), np.uint16), np.empty(most, np.uint8), np.empty(most, np.uint8)
        counts = np.zeros(len(frames), np.int64)
        rows = np.zeros(MOST_ROWS_A_TICK * 8, ROW)
        first, used = 0, 0
        while first < len(frames):
            ran, n, told, self._numbers = run_ticks(
                first_second * self._ticks_per_s + first, len(frames) - first, self._ticks_per_s, self.begin_us, WINDOW_US,
                MARGIN, 1.0 / self.plan.frame_rate, frames[first:], restarts[first:], self._objects, arrivals, self._ghosts,
                self._lanes, self._lines, self._zones, self._view, self._sensor, self._rng, self._numbers,
                boxes[used:], scores[used:], classes[used:], counts[first:], rows,
            )  # fmt: skip
            self._keep(rows[:told])
            first, used = first + ran, used + n
        self._waiting = [each for each in arrivals if each["number"] != 0][:_MOST_WAITING]
        t_us = self.begin_us + (first_second * self._ticks_per_s + np.arange(len(frames))) * 1_000_000 // self._ticks_per_s
        before, sure = np.zeros(len(frames) + 1, np.int64), np.zeros(used + 1, np.int64)
        np.cumsum(counts, out=before[1:])
        np.cumsum(scores[:used] >= _SURE, out=sure[1:])
        return _Seen(t_us, counts, before, sure, boxes[:used], scores[:used], classes[:used])

    def _keep(self, rows: Records) -> None:
        kept = rows.copy()
        kept["camera"] = self.index
        self.rows.append(kept)

    def _messages(self, second: _Second, seen: _Seen) -> list[Message]:
        """The second's message, as often as it arrives; what it holds is noted."""
        ticks = second.ticks
        if second.lost or not len(ticks):
            return []
        begin, end = int(seen.before[ticks[0]]), int(seen.before[ticks[-1] + 1])
        t_us = seen.t_us[ticks]
        first_us = int(t_us[0])
        first = second.first_ordinal + second.skipped
        skipped = second.given - second.skipped - len(ticks)
        payload = encode(
            self._batch, second.session, second.seq, first_us + (self._faults.far_us if second.future else 0),
            second.rate_mhz, first, skipped, second.last, ((t_us - (first_us - 500)) // 1000).astype("<u2"),
            seen.counts[ticks].astype("<u2"), seen.boxes[begin:end], seen.scores[begin:end], seen.classes[begin:end],
        )  # fmt: skip
        delays = self._faults.delays_us(second.number)
        _note(second, len(ticks), end - begin, int(seen.sure[end] - seen.sure[begin]), delays)
        sent_us = self.start_us + (second.number + 1) * 1_000_000
        return [Message(sent_us + delay, self.index, second.seq, self.plan.camera_id, payload) for delay in delays]


def _note(second: _Second, frames: int, detections: int, sure: int, delays: tuple[int, ...]) -> None:
    """Note a message that arrives."""
    tally = second.tally
    if second.future:
        tally.refused += 1
        return
    tally.messages += 1
    tally.duplicates += len(delays) - 1
    tally.frames_sent += frames
    tally.detections += detections
    if delays[0] < WINDOW_US:
        tally.countable += sure
