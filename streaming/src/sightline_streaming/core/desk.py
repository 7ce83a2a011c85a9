"""The camera in hand: its part of the shard's memory laid out for work, and put back.

On the desk a track's records lie at its slot; in memory only live tracks are kept, one after another.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline_contract.rules import MAX_RULES
from sightline_streaming.core.events import forget_alarms
from sightline_streaming.core.kernel import Record, Records, inner, leaf
from sightline_streaming.core.memory import ALARM, ALARMS, HABITS, LOOKS, PATH, TALLIES, TRACKS, TRAIL, TRAILS, WINDOWS, Parts
from sightline_streaming.core.paths import forget_places
from sightline_streaming.core.records import EMISSION, LOOK, TRACK
from sightline_streaming.core.rows import at_least, copy_record
from sightline_streaming.core.site import Rules
from sightline_streaming.core.windows import DETECTIONS, NEW_OBJECTS, OBJECTS, Ring, empty_window, open_window

Places = npt.NDArray[np.int64]

# Places in Desk.used; the last is no number of records but the place of the session's health row in the log.
SLOTS, EMISSIONS, HEALTH_ROW = range(3)


class Desk(NamedTuple):
    """Working arrays for one camera."""

    used: npt.NDArray[np.int64]
    tracks: Records
    paths: Records  # one per slot
    emissions: Records
    trails: Records  # one per slot
    alarms: Records  # one per rule
    looks: Records  # one per slot, as far as the camera's node sends appearance vectors


def empty_desk() -> Desk:
    """A desk with room for a camera of usual size."""
    tracks, paths, trails = np.zeros(16, TRACK), np.zeros(16, PATH), np.zeros(16, TRAIL)
    emissions, alarms, looks = np.zeros(1024, EMISSION), np.zeros(MAX_RULES, ALARM), np.zeros(0, LOOK)
    return Desk(np.zeros(3, np.int64), tracks, paths, emissions, trails, alarms, looks)


@inner
def with_results(desk: Desk, tracks: Records, n_slots: int, emissions: Records, n_emissions: int) -> Desk:
    """The desk with what the tracker gave back, which may have grown, and a path and a trail for every slot."""
    desk.used[SLOTS] = n_slots
    desk.used[EMISSIONS] = n_emissions
    if tracks.shape[0] == desk.tracks.shape[0] and emissions.shape[0] == desk.emissions.shape[0]:
        return desk  # what did not grow is still the same
    had = desk.paths.shape[0]
    more = tracks.shape[0] - had
    paths, trails = at_least(desk.paths, had, more), at_least(desk.trails, had, more)
    return Desk(desk.used, tracks, paths, emissions, trails, desk.alarms, desk.looks)


@leaf
def has_places(desk: Desk, n: int, emissions: int, has_looks: bool) -> bool:
    """Whether there is room for ``n`` more tracks, with looks or without, and for so many more emissions."""
    slots = desk.used[SLOTS] + n
    if desk.tracks.shape[0] < slots or desk.emissions.shape[0] < desk.used[EMISSIONS] + emissions:
        return False
    return not has_looks or desk.looks.shape[0] >= slots


@inner
def with_places(desk: Desk, n: int, emissions: int, has_looks: bool) -> Desk:
    """The desk with room for ``n`` more tracks, with looks or without, and for so many more emissions."""
    n_slots, n_emissions = desk.used[SLOTS], desk.used[EMISSIONS]
    tracks, held = at_least(desk.tracks, n_slots, n), at_least(desk.emissions, n_emissions, emissions)
    desk = with_results(desk, tracks, n_slots, held, n_emissions)
    return with_looks(desk, n) if has_looks else desk


@inner
def with_looks(desk: Desk, more: int) -> Desk:
    """The desk with a look for every slot and for so many more."""
    looks = at_least(desk.looks, min(desk.looks.shape[0], desk.used[SLOTS]), desk.used[SLOTS] + more)
    return Desk(desk.used, desk.tracks, desk.paths, desk.emissions, desk.trails, desk.alarms, looks)


@inner
def unpack(rules: Rules, site: Record, camera: Record, old: Parts, at: Places, desk: Desk, ring: Ring) -> Desk:
    """Lay out a camera's records, taken from ``old`` from places ``at`` on, which move behind them."""
    tracks = at_least(desk.tracks, 0, camera.n_slots)
    desk = with_results(desk, tracks, int(camera.n_slots), desk.emissions, 0)
    for slot in range(tracks.shape[0]):
        tracks[slot].live = 0
        desk.paths[slot].track_no = 0
        desk.paths[slot].counted_no = 0
        desk.trails[slot].track_no = 0
    for k in range(at[TRACKS], at[TRACKS] + camera.n_tracks):
        slot = old.paths[k].slot
        copy_record(tracks, slot, old.tracks, k)
        copy_record(desk.paths, slot, old.paths, k)
        if camera.places != site.places:
            forget_places(desk.paths[slot])
    if camera.look_size > 0:
        desk = with_looks(desk, 0)
        for k in range(camera.n_tracks):
            copy_record(desk.looks, old.paths[at[TRACKS] + k].slot, old.looks, at[LOOKS] + k)
        at[LOOKS] += camera.n_tracks
    _unpack_rules(site, camera, old, at, desk)
    at[TRACKS] += camera.n_tracks
    camera.places = site.places
    camera.n_lines = site.n_lines
    camera.n_zones = site.n_zones
    camera.n_rules = site.n_rules
    for k in range(at[WINDOWS], at[WINDOWS] + camera.n_windows):
        place = open_window(rules, ring, camera, old.windows[k].number * rules.window_us)
        copy_record(ring.windows, place, old.windows, k)
    at[WINDOWS] += camera.n_windows
    for k in range(at[TALLIES], at[TALLIES] + camera.n_tallies):
        kept = old.tallies[k]
        tally = ring.tallies[kept.number % rules.open_windows, kept.class_id]
        tally[OBJECTS] = kept.objects
        tally[NEW_OBJECTS] = kept.new_objects
        tally[DETECTIONS] = kept.detections
    at[TALLIES] += camera.n_tallies
    for k in range(camera.n_habits):
        copy_record(ring.habits, k, old.habits, at[HABITS] + k)
    at[HABITS] += camera.n_habits
    return desk


@leaf
def _unpack_rules(site: Record, camera: Record, old: Parts, at: Places, desk: Desk) -> None:
    """Lay out what the camera's rules remember, unless they have changed."""
    forget_alarms(desk.alarms)
    if camera.n_rules == 0:
        return
    if camera.places == site.places:
        for k in range(camera.n_tracks):
            copy_record(desk.trails, old.paths[at[TRACKS] + k].slot, old.trails, at[TRAILS] + k)
        for rule in range(camera.n_rules):
            copy_record(desk.alarms, rule, old.alarms, at[ALARMS] + rule)
    at[TRAILS] += camera.n_tracks
    at[ALARMS] += camera.n_rules


@inner
def pack(rules: Rules, camera: Record, new: Parts, desk: Desk, ring: Ring) -> Parts:
    """Put the camera's live tracks and open windows behind what ``new`` has, and empty the ring."""
    used, n_slots = new.used, desk.used[SLOTS]
    new = Parts(
        used,
        at_least(new.tracks, used[TRACKS], n_slots),
        at_least(new.paths, used[TRACKS], n_slots),
        at_least(new.windows, used[WINDOWS], rules.open_windows),
        at_least(new.tallies, used[TALLIES], 256 * rules.open_windows),
        at_least(new.trails, used[TRAILS], n_slots if camera.n_rules > 0 else 0),
        at_least(new.alarms, used[ALARMS], camera.n_rules),
        at_least(new.habits, used[HABITS], camera.n_habits),
        at_least(new.looks, used[LOOKS], n_slots if camera.look_size > 0 else 0),
    )
    tracks, windows, tallies = used[TRACKS], used[WINDOWS], used[TALLIES]
    camera.n_slots = 0
    for slot in range(n_slots):
        if desk.tracks[slot].live:
            copy_record(new.tracks, used[TRACKS], desk.tracks, slot)
            copy_record(new.paths, used[TRACKS], desk.paths, slot)
            new.paths[used[TRACKS]].slot = slot
            if camera.n_rules > 0:
                copy_record(new.trails, used[TRAILS], desk.trails, slot)
                used[TRAILS] += 1
            if camera.look_size > 0:
                copy_record(new.looks, used[LOOKS], desk.looks, slot)
                used[LOOKS] += 1
            used[TRACKS] += 1
            camera.n_slots = slot + 1
    for rule in range(camera.n_rules):
        copy_record(new.alarms, used[ALARMS], desk.alarms, rule)
        used[ALARMS] += 1
    for number in range(camera.closed_before, camera.closed_before + rules.open_windows):
        place = number % rules.open_windows
        if ring.windows[place].open:
            copy_record(new.windows, used[WINDOWS], ring.windows, place)
            used[WINDOWS] += 1
            _pack_tallies(number, ring.tallies[place], new)
            empty_window(ring.windows[place], ring.tallies[place])
    for k in range(camera.n_habits):
        copy_record(new.habits, used[HABITS], ring.habits, k)
        used[HABITS] += 1
    camera.n_tracks = used[TRACKS] - tracks
    camera.n_windows = used[WINDOWS] - windows
    camera.n_tallies = used[TALLIES] - tallies
    return new


@leaf
def _pack_tallies(number: int, tallies: npt.NDArray[np.int64], new: Parts) -> None:
    for class_id in range(256):
        if tallies[class_id].any():
            kept = new.tallies[new.used[TALLIES]]
            new.used[TALLIES] += 1
            kept.number = number
            kept.class_id = class_id
            kept.objects = tallies[class_id, OBJECTS]
            kept.new_objects = tallies[class_id, NEW_OBJECTS]
            kept.detections = tallies[class_id, DETECTIONS]
