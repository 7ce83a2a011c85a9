"""Draws a moment of the replay on a picture: zones, lines, trails, boxes, running figures.

Coordinates come in pixels of the camera's frame and are scaled to the picture, whose size may differ; strokes and letters
scale with the picture.
"""

import colorsys
from collections import Counter
from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from sightline.results.lettering import DARK, WHITE, Colour, Picture, Plate, Style, paste, plate
from sightline.results.paths import Floats
from sightline.results.replay import TRAIL_US, Moment, Seen, Tally
from sightline_contract.camera import CameraConfig, Line, Zone

Fixed = npt.NDArray[np.int32]

LINE_COLOUR: Colour = (60, 210, 255)
ZONE_COLOUR: Colour = (235, 170, 60)
ALERT_COLOUR: Colour = (60, 60, 240)
FLASH_US = 800_000
# cv2 takes coordinates in 1/16 px, so that slow objects do not jump from pixel to pixel.
SHIFT = 4
TRAIL_STEPS = 4


class Overlay:
    """Everything that is drawn over one camera's frames."""

    def __init__(self, camera: CameraConfig, size: tuple[int, int]) -> None:
        self._camera = camera
        self._scale = np.array(size, dtype=np.float64) / np.array(camera.frame_size)
        unit = max(0.6, min(size) / 576)
        self._stroke = max(1, round(1.6 * unit))
        self._unit = unit
        self._text_px = max(10, round(12 * unit))
        self._zones = [(zone, _ZoneArea(zone, self._scale, size)) for zone in camera.zones]

    def draw(self, picture: Picture, moment: Moment) -> None:
        """Draw ``moment`` on ``picture``, which is (h, w, 3) and changed in place."""
        for zone, area in self._zones:
            area.draw(picture, self._stroke, bool(moment.occupants.get(zone.name)), zone.name in moment.alerting)
        self._draw_trails(picture, moment)
        for line in self._camera.lines:
            self._draw_line(picture, line)
        # Lower on the picture is nearer to the camera and goes on top.
        nearest_last = sorted(moment.objects, key=lambda one: float(one.box[3]))
        for seen in nearest_last:
            self._draw_box(picture, seen)
        for seen in nearest_last:
            self._draw_label(picture, seen)
        for line in self._camera.lines:
            self._draw_counts(picture, line, moment)
        for zone, area in self._zones:
            self._draw_zone_plate(picture, zone, area, moment)
        paste(picture, self._head(moment), round(10 * self._unit), round(10 * self._unit))

    def _draw_trails(self, picture: Picture, moment: Moment) -> None:
        """Draw the trails age by age, oldest first, each age mixed in more strongly than the one before."""
        step_us = TRAIL_US // TRAIL_STEPS
        for step in range(TRAIL_STEPS):
            oldest_us = TRAIL_US - step * step_us
            parts = [(seen, _part_of_age(seen, oldest_us - step_us, oldest_us)) for seen in moment.objects]
            if all(len(points) < 2 for _, points in parts):
                continue
            layer = picture.copy()
            for seen, points in parts:
                colour = track_colour(seen.number)
                cv2.polylines(layer, [self._fixed(points)], False, colour, self._stroke, cv2.LINE_AA, SHIFT)
            weight = (step + 1) / (TRAIL_STEPS + 1)
            cv2.addWeighted(layer, weight, picture, 1 - weight, 0, dst=picture)

    def _draw_box(self, picture: Picture, seen: Seen) -> None:
        """An observed box is drawn boldly, one that the tracker filled in thinly."""
        colour = track_colour(seen.number)
        first, last = (tuple(map(int, corner)) for corner in self._fixed(seen.box.reshape(2, 2)))
        if seen.observed:
            cv2.rectangle(picture, first, last, DARK, self._stroke + 2, cv2.LINE_AA, SHIFT)
        cv2.rectangle(picture, first, last, colour, self._stroke if seen.observed else 1, cv2.LINE_AA, SHIFT)

    def _draw_label(self, picture: Picture, seen: Seen) -> None:
        label = plate(f"{seen.class_name} {seen.number}", Style(self._text_px, opacity=0.85, bar=track_colour(seen.number)))
        left, top = np.rint(seen.box[:2] * self._scale).astype(int)
        paste(picture, label, int(left) - self._stroke // 2, int(top) - label.size[1] - self._stroke)

    def _draw_line(self, picture: Picture, line: Line) -> None:
        start, end = (tuple(map(int, point)) for point in self._fixed(np.array([line.start, line.end])))
        cv2.line(picture, start, end, DARK, self._stroke + 3, cv2.LINE_AA, SHIFT)
        cv2.line(picture, start, end, LINE_COLOUR, self._stroke + 1, cv2.LINE_AA, SHIFT)
        for point in (start, end):
            cv2.circle(picture, point, round(4 * self._unit) << SHIFT, LINE_COLOUR, cv2.FILLED, cv2.LINE_AA, SHIFT)

    def _draw_counts(self, picture: Picture, line: Line, moment: Moment) -> None:
        """The running count of each direction stands on the side to which that direction leads.

        It stands at the line's lower end: fewer objects pass there than in the middle.
        """
        start, end = np.array([line.start, line.end]) * self._scale
        along = (end - start) / np.linalg.norm(end - start)
        to_right = np.array([-along[1], along[0]])
        at, outward = (start, -along) if start[1] > end[1] else (end, along)
        for direction, away in ((line.forward, to_right), (line.backward, -to_right)):
            tally = moment.crossings.get((line.name, direction), Tally())
            flash = tally.newest_age_us is not None and tally.newest_age_us <= FLASH_US
            ink, ground, opacity = (DARK, LINE_COLOUR, 0.95) if flash else (WHITE, DARK, 0.72)
            what = plate(f"{_arrow(away)} {direction} {tally.count}", Style(self._text_px + 1, ink, ground, opacity, bold=True))
            # The plate's near edge, not its middle, keeps the distance from the line.
            half = np.array(what.size) / 2
            middle = at + outward * 6 * self._unit + away * (10 * self._unit + np.abs(away) @ half)
            paste(picture, what, *(int(value) for value in np.rint(middle - half)))

    def _draw_zone_plate(self, picture: Picture, zone: Zone, area: "_ZoneArea", moment: Moment) -> None:
        inside = moment.occupants.get(zone.name, 0)
        alerting = moment.alerting.get(zone.name)
        text = f"{zone.name} · alert: {alerting}" if alerting else f"{zone.name} · {inside}" if inside else zone.name
        colour = ALERT_COLOUR if alerting else ZONE_COLOUR
        what = plate(text, Style(self._text_px, ground=ALERT_COLOUR if alerting else DARK, bar=colour, bold=bool(alerting)))
        paste(picture, what, area.lowest[0] - what.size[0] // 2, area.lowest[1] + self._stroke + 3)

    def _head(self, moment: Moment) -> Plate:
        seconds = moment.time_us / 1e6
        lines = [
            f"{int(seconds // 60):02d}:{seconds % 60:04.1f}\t{self._camera.camera_id}",
            f"now\t{_listed(Counter(one.class_name for one in moment.objects))}",
            f"so far\t{_listed(moment.tracks_so_far)}",
        ]
        if any(zone.alert for zone in self._camera.zones):
            lines.append(f"alerts\t{moment.alerts_so_far}")
        return plate("\n".join(lines), Style(self._text_px + 1, opacity=0.66))

    def _fixed(self, points: Floats) -> Fixed:
        fixed: Fixed = np.rint(points * self._scale * (1 << SHIFT)).astype(np.int32)
        return fixed


class _ZoneArea:
    """A zone's polygon as a mask over the part of the picture that holds it."""

    def __init__(self, zone: Zone, scale: Floats, size: tuple[int, int]) -> None:
        self._polygon = np.rint(np.array(zone.polygon) * scale).astype(np.int32)
        left, top = self._polygon.min(axis=0)
        right, bottom = np.minimum(self._polygon.max(axis=0) + 1, size)
        self._part = (slice(top, bottom), slice(left, right))
        self._mask = np.zeros((bottom - top, right - left), dtype=np.uint8)
        cv2.fillPoly(self._mask, [self._polygon - (left, top)], 255)
        # Whoever stands in the zone rises above its lower edge: a label below hides nobody.
        x, y = self._polygon[np.argmax(self._polygon[:, 1])]
        self.lowest = (int(x), int(y))

    def draw(self, picture: Picture, stroke: int, occupied: bool, alerting: bool) -> None:
        colour = ALERT_COLOUR if alerting else ZONE_COLOUR
        part = picture[self._part]
        weight = 0.30 if occupied or alerting else 0.12
        tinted = cv2.addWeighted(part, 1 - weight, np.full_like(part, colour), weight, 0)
        cv2.copyTo(tinted, self._mask, part)
        cv2.polylines(picture, [self._polygon], True, colour, stroke + (1 if occupied or alerting else 0), cv2.LINE_AA)


def _part_of_age(seen: Seen, youngest_us: int, oldest_us: int) -> Floats:
    """The trail's points of an age, and the next younger one, which closes the gap to the next age."""
    picked = np.flatnonzero((seen.trail_age_us <= oldest_us) & (seen.trail_age_us >= youngest_us))
    return seen.trail[picked[0] : picked[-1] + 2] if len(picked) else seen.trail[:0]


def track_colour(number: str) -> Colour:
    """A vivid colour for a track: neighbours in number are far apart in hue (golden ratio)."""
    index = int(number) if number.isdecimal() else sum(number.encode())
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1.0, 0.62 + 0.2 * (index % 2), 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {counts[name]}" for name in sorted(counts)) or "nothing"


def _arrow(away: Floats) -> str:
    """The arrow nearest to a direction on the picture."""
    turn = round(np.degrees(np.arctan2(away[1], away[0])) / 45) % 8
    return "→↘↓↙←↖↑↗"[turn]
