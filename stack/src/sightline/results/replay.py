"""What the tables say about each moment of a clip: objects, trails, running counts, occupied zones, alerts.

Pure: tables in, numbers out, nothing drawn. Moments are microseconds since the clip's first frame, whose capture time is
``start_us``; boxes belong to a frame when their time is within half a frame interval of it.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sightline.results.paths import Floats, Ints, TrackPath, feet, track_paths
from sightline.results.reading import Results, microseconds

TRAIL_US = 3_000_000
# A node that analyses few frames leaves frames without boxes: a box is drawn on its way between two so far apart.
BRIDGED_US = 1_000_000
ALERT_SHOWN_US = 1_500_000


@dataclass(frozen=True)
class Seen:
    """An object at a moment."""

    number: str
    class_name: str
    box: Floats  # (4,)
    observed: bool  # a detection supports the box; otherwise it lies between two that do
    trail: Floats  # (n, 2) smoothed foot-points of the last seconds, oldest first
    trail_age_us: Ints  # (n,)


@dataclass(frozen=True)
class Tally:
    """Crossings of a line in a direction so far."""

    count: int = 0
    newest_age_us: int | None = None


@dataclass(frozen=True)
class Moment:
    """Everything to be shown at a moment."""

    time_us: int
    objects: tuple[Seen, ...]
    tracks_so_far: Mapping[str, int]  # by class
    crossings: Mapping[tuple[str, str], Tally]  # by line and direction
    occupants: Mapping[str, int]  # by zone
    alerts_so_far: int
    alerting: Mapping[str, str]  # zone to class of an alert of the last moments


class Replay:
    """The run's tables, looked up by time."""

    def __init__(self, results: Results, start_us: int, frame_interval_us: int) -> None:
        self.paths = track_paths(results.segments, start_us)
        self._half_us = frame_interval_us // 2
        self._begin = np.array([path.times_us[0] for path in self.paths], dtype=np.int64)
        self._end = np.array([path.times_us[-1] for path in self.paths], dtype=np.int64)
        self._begin_by_class = {
            name: np.array([path.times_us[0] for path in self.paths if path.class_name == name], dtype=np.int64)
            for name in sorted({path.class_name for path in self.paths})
        }
        self._crossings = _times_by(results.crossings, ("line", "direction"), "crossed_at", start_us)
        self._alerts = _times_by(results.alerts, ("zone", "class_name"), "captured_at", start_us)
        self._entered = _times_by(results.visits, ("zone",), "entered_at", start_us)
        self._left = _times_by(results.visits, ("zone",), "left_at", start_us)

    @property
    def end_us(self) -> int:
        """Time of the last box."""
        return int(self._end.max(initial=0))

    def at(self, time_us: int) -> Moment:
        """The moment of the frame at ``time_us``."""
        until = time_us + self._half_us
        here = np.flatnonzero((self._begin <= until) & (self._end >= time_us - self._half_us))
        seen = (_seen(self.paths[i], time_us, self._half_us) for i in here)
        begun = {name: _until(times, until) for name, times in self._begin_by_class.items()}
        return Moment(
            time_us=time_us,
            objects=tuple(one for one in seen if one is not None),
            tracks_so_far={name: count for name, count in begun.items() if count},
            crossings={(key[0], key[1]): _tally(times, until) for key, times in self._crossings.items()},
            occupants={key[0]: _until(times, until) - _until(self._left[key], until) for key, times in self._entered.items()},
            alerts_so_far=sum(_until(times, until) for times in self._alerts.values()),
            alerting={
                key[0]: key[1]
                for key, times in self._alerts.items()
                if _until(times, until) > _until(times, until - ALERT_SHOWN_US)
            },
        )

    def busy_moments(self, count: int) -> list[int]:
        """The fullest moment of each of ``count`` equal parts of the clip, in time order."""
        edges = np.linspace(0, max(self.end_us, count), count + 1)
        moments = []
        for begin, end in itertools.pairwise(edges):
            times = np.linspace(begin, end, 50, endpoint=False)
            seen = ((self._begin[:, None] <= times) & (self._end[:, None] >= times)).sum(axis=0)
            moments.append(int(times[np.argmax(seen)]))
        return moments


def _seen(path: TrackPath, time_us: int, half_us: int) -> Seen | None:
    """The track at a time, or None in a gap of it."""
    times = path.times_us
    after = int(np.searchsorted(times, time_us))
    nearest = min((i for i in (after - 1, after) if 0 <= i < len(times)), key=lambda i: abs(int(times[i]) - time_us))
    if abs(int(times[nearest]) - time_us) <= half_us:
        box, observed = path.boxes[nearest], bool(path.observed[nearest])
    elif 0 < after < len(times) and times[after] - times[after - 1] <= BRIDGED_US:
        share = (time_us - times[after - 1]) / (times[after] - times[after - 1])
        box, observed = path.boxes[after - 1] * (1 - share) + path.boxes[after] * share, False
    else:
        return None
    begin, end = np.searchsorted(times, (time_us - TRAIL_US, time_us - half_us))
    trail = _smooth(feet(np.vstack((path.boxes[begin:end], box))))
    age_us = np.append(time_us - times[begin:end], 0)
    return Seen(path.number, path.class_name, box, observed, trail, age_us)


def _smooth(points: Floats) -> Floats:
    """Mean over each point and the two on either side, as far as there are as many on both; the ends stay."""
    sums = np.vstack((np.zeros((1, 2)), np.cumsum(points, axis=0)))
    index = np.arange(len(points))
    reach = np.minimum(np.minimum(index, len(points) - 1 - index), 2)
    smooth: Floats = (sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1)[:, None]
    return smooth


def _times_by(rows: pa.Table, keys: tuple[str, ...], column: str, start_us: int) -> dict[tuple[str, ...], Ints]:
    """Sorted times of ``column`` since the start, by the values of ``keys``."""
    times: dict[tuple[str, ...], list[int]] = {}
    names = zip(*(rows[key].to_pylist() for key in keys), strict=True)
    for name, time_us in zip(names, microseconds(rows[column]) - start_us, strict=True):
        times.setdefault(name, []).append(int(time_us))
    return {name: np.sort(np.array(times[name], dtype=np.int64)) for name in sorted(times)}


def _until(times: Ints, until_us: int) -> int:
    return int(np.searchsorted(times, until_us, side="right"))


def _tally(times: Ints, until_us: int) -> Tally:
    count = _until(times, until_us)
    return Tally(count, until_us - int(times[count - 1]) if count else None)
