"""Who comes: objects of a stretch of time with their plans, drawn for a layout and its traffic.

Arrivals of each kind are a Poisson process. Ordinary vehicles keep their lane; everybody else has a plan of stops: x, y, the
speed on the way there, and how long to wait there.
"""

from bisect import bisect
from collections.abc import Sequence
from math import hypot

import numpy as np

from sightline.simulate.kernel import Records
from sightline.simulate.layouts import Layout, Point, SceneKind, Traffic
from sightline.simulate.objects import BICYCLE, BUS, CAR, MAX_STOPS, MOTORCYCLE, OBJECT, PERSON, TRUCK, Measures, Role

Stop = tuple[float, float, float, float]

_VEHICLES = (CAR, TRUCK, BUS, MOTORCYCLE)
_VEHICLE_SHARES = (0.82, 0.90, 0.93)  # cumulative
_GROUP_SHARES = (0.7, 0.9, 0.97)  # of those who come, alone, in twos, threes and fours: cumulative
_FAST_MPS = (26.0, 60.0)
# An hour, of a road: what is rare is rare in light and in dense traffic alike.
_RARE = {
    Role.FAST: 24.0, Role.OVERTAKING: 16.0, Role.U_TURN: 8.0, Role.STOPPED: 4.0, Role.WRONG_WAY: 4.0, Role.SPEEDING: 8.0,
    Role.CRASHED: 3.0,
}  # fmt: skip
_LANE_RATE = {Traffic.LIGHT: 0.09, Traffic.DENSE: 0.27}
_QUEUE_RATE = {Traffic.LIGHT: 0.09, Traffic.DENSE: 0.14}
_WALK_RATE = {Traffic.LIGHT: 0.07, Traffic.DENSE: 0.45}
_SHOP_RATE = {Traffic.LIGHT: 0.03, Traffic.DENSE: 0.16}
_INTRUDERS_PER_HOUR = 8.0


class Arrivals:
    """The arrivals of one camera's scene."""

    def __init__(self, layout: Layout, traffic: Traffic, frame_rate: float, rng: np.random.Generator) -> None:
        self._layout = layout
        self._traffic = traffic
        self._frame_rate = frame_rate
        self._rng = rng
        self._lengths = [hypot(b[0] - a[0], b[1] - a[1]) for a, b in ((lane.start, lane.end) for lane in layout.lanes)]

    def between(self, from_s: float, to_s: float) -> list[Records]:
        """OBJECT records of those who come in the stretch, in order of time, not numbered yet."""
        drawn: list[Records] = []
        if self._layout.kind is SceneKind.ROAD:
            self._vehicles(from_s, to_s, drawn)
        else:
            self._people(from_s, to_s, drawn)
        return sorted(drawn, key=lambda each: float(each["born_s"]))

    def _times(self, rate_per_s: float, from_s: float, to_s: float) -> list[float]:
        n = int(self._rng.poisson(rate_per_s * (to_s - from_s)))
        if n == 0:
            return []
        return sorted(float(t) for t in self._rng.uniform(from_s, to_s, n))

    # Vehicles.

    def _vehicles(self, from_s: float, to_s: float, drawn: list[Records]) -> None:
        for lane in (0, 1):
            queued = self._layout.lanes[lane].stop is not None
            rate = (_QUEUE_RATE if queued else _LANE_RATE)[self._traffic]
            drawn += [self._in_lane(lane, t) for t in self._times(rate, from_s, to_s)]
        for role, per_hour in _RARE.items():
            for t in self._times(per_hour / 3600.0, from_s, to_s):
                drawn += self._rare(role, t)

    def _in_lane(self, lane: int, t_s: float) -> Records:
        measures = _VEHICLES[bisect(_VEHICLE_SHARES, self._rng.random())]
        speed = self._about(13.5, 1.6, 9.0, 17.5)
        made = _made(measures, Role.ORDINARY, t_s, self._size())
        self._put(made, lane, 0.0, speed)
        made["lane"] = lane
        made["brake"] = 3.0
        return made

    def _rare(self, role: Role, t_s: float) -> list[Records]:
        """A vehicle that does something rare, or the two of an accident."""
        if role is Role.CRASHED:
            return self._accident(t_s)
        lane = int(self._rng.integers(2, 4))
        speed, brake = float(self._rng.normal(14.0, 1.0)), 3.0
        if role is Role.FAST:
            steps = float(self._rng.uniform(0.6, 1.3)) * CAR.length * self._frame_rate
            speed = float(np.clip(steps, *_FAST_MPS))
            stops = self._through(lane, speed)
        elif role is Role.SPEEDING:
            speed = float(self._rng.uniform(25.0, 30.0))
            stops = self._through(lane, speed)
        elif role is Role.OVERTAKING:
            speed = float(self._rng.uniform(17.0, 20.0))
            stops = self._overtaking(lane, speed)
        elif role is Role.U_TURN:
            lane, stops = 3, self._u_turn()
            speed = stops[0][2]
        elif role is Role.STOPPED:
            lane = 5 if self._layout.name == "road-along" else 4
            stops = self._stop_on_shoulder(lane, speed)
        else:
            lane = 2
            stops = [(*self._at(lane, 0.0), speed, 0.0)]
        made = self._planned(CAR, role, t_s, stops, speed, brake)
        if role is Role.WRONG_WAY:
            self._put_at(made, self._at(lane, self._length(lane)), stops)
        else:
            self._put(made, lane, 0.0, speed)
        return [made]

    def _through(self, lane: int, speed: float) -> list[Stop]:
        return [(*self._at(lane, self._length(lane)), speed, 0.0)]

    def _overtaking(self, lane: int, speed: float) -> list[Stop]:
        """Past those in the ordinary lane, then into it behind the line."""
        length = self._length(lane)
        return [
            (*self._at(lane, 0.78 * length), speed, 0.0),
            (*self._at(lane - 2, 0.92 * length), speed, 0.0),
            (*self._at(lane - 2, length), speed, 0.0),
        ]

    def _u_turn(self) -> list[Stop]:
        """Out in the one faster lane, a half circle behind the line, back in the other."""
        out = 0.62 * self._length(3)
        a, b = np.array(self._at(3, out)), np.array(self._at(2, self._length(2) - out))
        ahead = np.array(self._at(3, out + 1.0)) - a
        middle, radius = 0.5 * (a + b), 0.5 * (a - b)
        reach = float(np.hypot(*radius))
        stops = [(float(a[0]), float(a[1]), 9.0, 0.0)]
        for angle in np.radians((45, 90, 135, 180)):
            x, y = middle + radius * np.cos(angle) + ahead * reach * np.sin(angle)
            stops.append((float(x), float(y), 3.5, 0.0))
        return [*stops, (*self._at(2, self._length(2)), 10.0, 0.0)]

    def _stop_on_shoulder(self, lane: int, speed: float) -> list[Stop]:
        length = self._length(lane)
        place = length * float(self._rng.uniform(0.35, 0.6))
        wait = float(self._rng.uniform(35.0, 120.0))
        return [(*self._at(lane, place), speed, wait), (*self._at(lane, length), speed, 0.0)]

    def _accident(self, t_s: float) -> list[Records]:
        """A car stops at once, the next one runs into it; both stay."""
        length, stay = self._length(3), float(self._rng.uniform(40.0, 80.0))
        place = length * float(self._rng.uniform(0.45, 0.55))
        both = []
        for after_s, back_m in ((0.0, 0.0), (1.4, 0.75 * CAR.length)):
            stops = [(*self._at(3, place - back_m), 13.0, stay - after_s), (*self._at(3, length), 12.0, 0.0)]
            made = self._planned(CAR, Role.CRASHED, t_s + after_s, stops, 13.0, 9.0)
            self._put(made, 3, 0.0, 13.0)
            both.append(made)
        return both

    # People.

    def _people(self, from_s: float, to_s: float, drawn: list[Records]) -> None:
        if self._layout.kind is SceneKind.SHELF:
            drawn += [self._shopper(t) for t in self._times(_SHOP_RATE[self._traffic], from_s, to_s)]
            return
        for t in self._times(_WALK_RATE[self._traffic], from_s, to_s):
            drawn += self._walkers(t)
        drawn += [self._intruder(t) for t in self._times(_INTRUDERS_PER_HOUR / 3600.0, from_s, to_s)]

    def _walkers(self, t_s: float) -> list[Records]:
        """One who walks, cycles, turns round or lingers, or a group."""
        luck = float(self._rng.random())
        role = (
            Role.CYCLING if luck < 0.07
            else Role.TURNING_ROUND if luck < 0.11
            else Role.LINGERING if luck < 0.13
            else Role.ORDINARY
        )  # fmt: skip
        together = 1 + bisect(_GROUP_SHARES, self._rng.random()) if role is Role.ORDINARY else 1
        there = bool(self._rng.random() < 0.5)
        across = float(self._rng.random())
        cycling = role is Role.CYCLING
        speed = self._about(4.8, 0.6, 3.0, 6.5) if cycling else self._about(1.35, 0.2, 0.8, 2.0)
        group = []
        for k in range(together):
            stops = self._walk(role, there, across + 0.12 * k, speed)
            made = self._planned(BICYCLE if cycling else PERSON, role, t_s + 0.35 * k, stops[1:], speed, 2.0)
            self._put_at(made, stops[0][:2], stops[1:])
            if role is Role.LINGERING:
                made["sway"] = float(self._rng.choice((0.05, 0.15, 0.3)))
            group.append(made)
        return group

    def _walk(self, role: Role, there: bool, across: float, speed: float) -> list[Stop]:
        """The way through the corridor, from the one end or the other, at ``across`` 0 to 1 of its width."""
        line = self._layout.line[0][0 if self._layout.along_x else 1]
        ends = (0.0, 1.0) if there else (1.0, 0.0)
        begin, finish = self._in_corridor(ends[0], across), self._in_corridor(ends[1], across)
        middle = self._in_corridor(float(self._rng.uniform(0.35, 0.65)), across + 0.06 * float(self._rng.standard_normal()))
        if role is Role.TURNING_ROUND:
            turn = self._in_corridor(0.5 + float(self._rng.uniform(-0.14, 0.14)), across)
            return [(*begin, speed, 0.0), (*turn, speed, float(self._rng.uniform(0.5, 3.0))), (*begin, speed, 0.0)]
        if role is Role.LINGERING:
            place = line + 0.15 * float(self._rng.standard_normal())
            on_line = (place, middle[1]) if self._layout.along_x else (middle[0], place)
            wait = float(self._rng.uniform(15.0, 70.0))
            goes_back = bool(self._rng.random() < 0.3)
            return [(*begin, speed, 0.0), (*on_line, speed, wait), (*(begin if goes_back else finish), speed, 0.0)]
        return [(*begin, speed, 0.0), (*middle, speed, 0.0), (*finish, speed, 0.0)]

    def _in_corridor(self, along: float, across: float) -> Point:
        (x0, y0), (x1, y1) = self._layout.corridor
        a, b = along, min(max(across, 0.0), 1.0)
        return (x0 + a * (x1 - x0), y0 + b * (y1 - y0)) if self._layout.along_x else (x0 + b * (x1 - x0), y0 + a * (y1 - y0))

    def _intruder(self, t_s: float) -> Records:
        """One who goes through the area where none may be."""
        area = next(area for area in self._layout.areas if "restricted" in area.rules)
        x, y = (float(each) for each in np.mean(area.polygon, axis=0))
        speed = float(self._rng.uniform(1.0, 1.6))
        if self._layout.along_x:
            ends = [(corner[0], y) for corner in self._layout.corridor]
        else:
            ends = [(x, corner[1]) for corner in self._layout.corridor]
        stops = [(*ends[0], speed, 0.0), (x, y, speed, 4.0), (*ends[1], speed, 0.0)]
        made = self._planned(PERSON, Role.INTRUDING, t_s, stops[1:], speed, 2.0)
        self._put_at(made, stops[0][:2], stops[1:])
        return made

    def _shopper(self, t_s: float) -> Records:
        (left, near), (right, _) = self._layout.corridor
        speed = self._about(1.0, 0.15, 0.6, 1.5)
        aisle = near + float(self._rng.uniform(0.0, 1.0))
        stops: list[Stop] = []
        visits = int(self._rng.integers(1, 4))
        for slot in self._rng.choice(len(self._layout.slots), visits, replace=False):
            x, y = self._layout.slots[int(slot)]
            wait = min(max(float(self._rng.lognormal(2.3, 0.8)), 2.0), 120.0)
            stops += [(x, aisle, speed, 0.0), (x, y, speed, wait), (x, aisle, speed, 0.0)]
        out = left if self._rng.random() < 0.5 else right
        stops = [*stops[: MAX_STOPS - 1], (out, aisle, speed, 0.0)]
        made = self._planned(PERSON, Role.SHOPPING, t_s, stops, speed, 1.5)
        made["sway"] = 0.08
        self._put_at(made, (left, aisle), stops)
        return made

    # Making records.

    def _about(self, mean: float, deviation: float, least: float, most: float) -> float:
        return min(max(mean + deviation * float(self._rng.standard_normal()), least), most)

    def _size(self) -> float:
        return self._about(1.0, 0.05, 0.85, 1.15)

    def _planned(
        self, measures: Measures, role: Role, t_s: float, stops: Sequence[Stop], speed: float, brake: float
    ) -> Records:
        made = _made(measures, role, t_s, self._size())
        made["lane"] = -1
        made["n_plan"] = len(stops)
        made["plan"][: len(stops)] = stops
        made["speed"] = made["wanted"] = speed
        made["brake"] = brake
        return made

    def _put(self, made: Records, lane: int, at_m: float, speed: float) -> None:
        """At a place of a lane, heading along it."""
        (x0, y0), (x1, y1) = self._layout.lanes[lane].start, self._layout.lanes[lane].end
        length = self._length(lane)
        made["x"], made["y"] = self._at(lane, at_m)
        made["heading_x"], made["heading_y"] = (x1 - x0) / length, (y1 - y0) / length
        made["speed"] = made["wanted"] = speed

    @staticmethod
    def _put_at(made: Records, place: Point, stops: Sequence[Stop]) -> None:
        """At a place, heading to the first stop."""
        dx, dy = stops[0][0] - place[0], stops[0][1] - place[1]
        distance = hypot(dx, dy) or 1.0
        made["x"], made["y"] = place
        made["heading_x"], made["heading_y"] = dx / distance, dy / distance

    def _length(self, lane: int) -> float:
        return self._lengths[lane]

    def _at(self, lane: int, at_m: float) -> Point:
        (x0, y0), (x1, y1) = self._layout.lanes[lane].start, self._layout.lanes[lane].end
        share = at_m / self._length(lane)
        return x0 + share * (x1 - x0), y0 + share * (y1 - y0)


def _made(measures: Measures, role: Role, t_s: float, size: float) -> Records:
    made = np.zeros((), OBJECT)
    made["class_id"] = measures.class_id
    made["length"], made["width"], made["height"] = (size * each for each in measures[1:])
    made["role"] = role
    made["born_s"] = t_s
    return made
