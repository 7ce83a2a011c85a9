"""One simulated camera: its world, its detector, its faults; seconds in, messages and truth out.

The world's tick divides the camera's frame interval, so that truth is finer than what the camera sees.
"""

import zlib
from dataclasses import dataclass, field

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
MARGIN = 0.1  # heights of the box, as the product's crossing_margin
RATES = {5: 30, 10: 30, 15: 30, 25: 25, 30: 30}  # frames a second, and ticks
_MOST_WAITING = 12


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
    ticks: npt.NDArray[np.int64]  # of frames given, from the chunk's first tick
    kept: npt.NDArray[np.bool_]
    first_ordinal: int
    lost: bool
    future: bool
    session: Session
    seq: int
    rate_mhz: int
    last: bool
    tally: Tally


@dataclass
class SimulatedCamera:
    """State of one camera's simulation."""

    index: int
    plan: Plan
    seconds: int
    start_us: int
    seed: int
    tallies: list[Tally] = field(default_factory=list)
    rows: list[Records] = field(default_factory=list)

    def __post_init__(self) -> None:
        seeds = np.random.SeedSequence([self.seed, self.index, zlib.crc32(self.plan.camera_id.encode())]).spawn(3)
        world, arrivals, faults = (np.random.default_rng(each) for each in seeds)
        layout, traffic = self.plan.layout, self.plan.traffic
        self.config: CameraConfig = camera_config(layout, self.plan.camera_id, self.plan.frame_rate)
        self._rng = world
        self._arrivals = Arrivals(layout, traffic, self.plan.frame_rate, arrivals)
        self._faults = Faults(self.plan.fault, self.seconds, faults)
        self._ticks_per_s = RATES[self.plan.frame_rate]
        self._lanes, self._zones = lane_records(layout, traffic), zone_records(self.config)
        self._lines, self._view, self._sensor = line_array(self.config), view_record(layout)[0], sensor_record(traffic)
        self._objects, self._ghosts = np.zeros(MAX_OBJECTS, OBJECT), np.zeros(MAX_GHOSTS, GHOST)
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
            arrives = not (second.lost or second.future)
            frames[second.ticks] = np.where(second.kept & arrives, ANALYSED, UNSEEN)
        columns = self._run(first_second, seconds, frames, restarts)
        messages: list[Message] = []
        for second in plan:
            messages += self._messages(first_second, second, *columns)
        return messages

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
        halved = self._faults.halves_rate(number)
        step = self._ticks_per_s // self.plan.frame_rate * (2 if halved else 1)
        ticks = np.arange(at, at + self._ticks_per_s, step)
        kept = self._faults.keeps(number, len(ticks))
        session = self._session
        second = _Second(
            number, ticks, kept, session.next_frame, self._faults.is_lost(number), self._faults.is_far_future(number), session,
            session.seq, self.plan.frame_rate * 1000 // (2 if halved else 1), self._faults.ends_session(number), self.tallies[-1],
        )  # fmt: skip
        session.next_frame += len(ticks)
        session.seq += bool(kept.any())
        second.tally.frames_given += len(ticks)
        return second

    def _run(
        self, first_second: int, seconds: int, frames: npt.NDArray[np.uint8], restarts: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Run the world over the stretch; returns detections per tick, and all of them."""
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
                first_second * self._ticks_per_s + first, len(frames) - first, self._ticks_per_s, self.begin_us, WINDOW_US, MARGIN,
                1.0 / self.plan.frame_rate, frames[first:], restarts[first:], self._objects, arrivals, self._ghosts,
                self._lanes, self._lines, self._zones, self._view, self._sensor, self._rng, self._numbers,
                boxes[used:], scores[used:], classes[used:], counts[first:], rows,
            )  # fmt: skip
            self._keep(rows[:told])
            first, used = first + ran, used + n
        self._waiting = [each for each in arrivals if each["number"] != 0][:_MOST_WAITING]
        return counts, boxes[:used], scores[:used], classes[:used]

    def _keep(self, rows: Records) -> None:
        kept = rows.copy()
        kept["camera"] = self.index
        self.rows.append(kept)

    def _messages(
        self, first_second: int, second: _Second, counts: npt.NDArray[np.int64], boxes: npt.NDArray[np.uint16],
        scores: npt.NDArray[np.uint8], classes: npt.NDArray[np.uint8],
    ) -> list[Message]:  # fmt: skip
        """The second's message, as often as it arrives; what it holds is noted."""
        ticks = second.ticks[second.kept]
        if not len(ticks) or second.lost:
            return []
        begin, end = (int(counts[:tick].sum()) for tick in (ticks[0], ticks[-1] + 1))
        t_us = self._times_us(first_second, ticks)
        last_ordinal = second.first_ordinal + len(second.ticks) - 1
        first_ordinal = second.first_ordinal + int(np.argmax(second.kept))
        session = Session(second.session.session, second.seq)
        payload = encode(
            self._batch, session, int(t_us[0]) + (self._faults.far_us if second.future else 0), second.rate_mhz, first_ordinal,
            last_ordinal + 1 - first_ordinal - len(ticks), second.last, ((t_us - t_us[0] + 500) // 1000).astype("<u2"),
            counts[ticks].astype("<u2"), boxes[begin:end], scores[begin:end], classes[begin:end],
        )  # fmt: skip
        delays = self._faults.delays_us(second.number)
        self._note(second, len(ticks), scores[begin:end], delays)
        sent_us = self.start_us + (second.number + 1) * 1_000_000
        return [Message(sent_us + delay, self.index, second.seq, self.plan.camera_id, payload) for delay in delays]

    def _times_us(self, first_second: int, ticks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return self.begin_us + (first_second * self._ticks_per_s + ticks) * 1_000_000 // self._ticks_per_s

    @staticmethod
    def _note(second: _Second, frames: int, scores: npt.NDArray[np.uint8], delays: tuple[int, ...]) -> None:
        tally = second.tally
        if second.future:
            tally.refused += 1
            return
        tally.messages += 1
        tally.duplicates += len(delays) - 1
        tally.frames_sent += frames
        tally.detections += len(scores)
        if delays[0] < WINDOW_US:
            tally.countable += int((scores >= round(MIN_SCORE * 255)).sum())
