"""What a shard remembers of its cameras between calls, as records in flat arrays; ``state`` turns it into bytes and back.

Cameras are sorted by name. Everything that a camera has several of lies camera after camera in one array for all; the
camera's record says how many are its own. Of a camera's tracks only the live ones are kept, with their slots.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline_contract.camera import MAX_LINES, MAX_ZONES
from sightline_streaming.core.kernel import Records
from sightline_streaming.core.records import SCENE, TRACK

NO_SESSION = -1

CAMERA = np.dtype(
    [
        ("session", np.int64),
        ("next_seq", np.int64),
        ("first_seq", np.int64),  # first message met of the session: what lies before is not missed
        ("seen", np.uint64),  # bit k: message next_seq - 1 - k was met
        ("next_frame", np.int64),  # ordinal expected next
        ("last_us", np.int64),  # event time: that of the last tracked frame, 0 before the first
        ("closed_before", np.int64),  # number of the first open counting window
        ("arrived_us", np.int64),  # arrival of the newest message
        ("width", np.uint32),  # px of the frames
        ("height", np.uint32),
        ("hour", np.int64),  # number of the hour that new objects are summed up for, and what was seen of it
        ("hour_window", np.int64),
        ("places", np.uint32),  # digest of the lines and zones that passages and stays are about
        ("model", np.int32),  # model version
        ("n_tracks", np.int32),
        ("n_slots", np.int32),
        ("n_lines", np.int32),
        ("n_zones", np.int32),
        ("n_windows", np.int32),
        ("n_tallies", np.int32),
        ("n_habits", np.int32),
        ("hour_windows", np.int32),
        ("usual_share", np.float32),  # of the expected frames that are received, 0 before the first window
        # Of the call in hand.
        ("index", np.int32),  # place of the camera
        ("site", np.int32),  # place of its configuration
        ("n_messages", np.int32),
        ("dropped", np.uint8),  # forgotten by this call
    ],
    align=True,
)

# What the facts need of one track, beside the tracker's own TRACK of the same slot.
PATH = np.dtype(
    [
        ("track_no", np.int64),  # whose path this is, 0: nobody's
        ("t_us", np.int64),  # of the last box
        ("counted_no", np.int64),  # whom the counting windows know in this slot
        ("counted_window", np.int64),  # the last one that counted it
        ("x", np.float32),  # last foot-point, px
        ("y", np.float32),
        ("crossed", np.uint32),  # bit 2 * line + 1 forward, bit 2 * line backward
        ("slot", np.int32),
        ("has_segment", np.uint8),
        # At each line: where the track was clearly last (-1 left, 1 right, 0 nowhere yet), and the last cut of the line since:
        # the side it led to (0: none, or beyond the line's ends), when and where.
        ("side", np.int8, (MAX_LINES,)),
        ("towards", np.int8, (MAX_LINES,)),
        ("cut_us", np.int64, (MAX_LINES,)),
        ("cut_x", np.float32, (MAX_LINES,)),
        ("cut_y", np.float32, (MAX_LINES,)),
        # At each zone.
        ("phase", np.uint8, (MAX_ZONES,)),
        ("entered_us", np.int64, (MAX_ZONES,)),
        ("left_us", np.int64, (MAX_ZONES,)),
    ],
    align=True,
)

# An open counting window, and what it has of one class.
WINDOW = np.dtype(
    [
        ("number", np.int64),
        ("received", np.int64),  # frames
        ("expected", np.int64),  # frames
        ("late_rows", np.int64),  # detections
        ("open", np.uint8),
    ],
    align=True,
)
TALLY = np.dtype(
    [("number", np.int64), ("class_id", np.int64), ("objects", np.int64), ("new_objects", np.int64), ("detections", np.int64)],
    align=True,
)

# What is usual of one class: per hour of the day, over how many days, the count of new objects and its spread.
HOURS = 24
HABIT = np.dtype(
    [
        ("class_id", np.int64),
        ("objects", np.int64),  # new ones of the hour in hand
        ("days", np.uint8, (HOURS,)),
        ("level", np.float32, (HOURS,)),
        ("spread", np.float32, (HOURS,)),
    ],
    align=True,
)

# Places in Parts.used, in the order of Parts' arrays.
TRACKS, WINDOWS, TALLIES, HABITS = range(4)


class Parts(NamedTuple):
    """What cameras have several of. The first ``used`` records are filled; tracks and paths run in parallel."""

    used: npt.NDArray[np.int64]
    tracks: Records
    paths: Records
    windows: Records
    tallies: Records
    habits: Records


@dataclass(frozen=True)
class Memory:
    """A shard's memory of N cameras."""

    names: list[bytes]  # (N,) camera ids, sorted
    models: list[bytes]  # model versions that cameras refer to
    cameras: Records  # (N,) CAMERA
    scenes: Records  # (N,) SCENE
    parts: Parts


def empty_parts() -> Parts:
    """Parts without records."""
    used = np.zeros(4, np.int64)
    return Parts(used, np.zeros(16, TRACK), np.zeros(16, PATH), np.zeros(16, WINDOW), np.zeros(16, TALLY), np.zeros(16, HABIT))


def empty_memory() -> Memory:
    """The memory of a shard that met no camera yet."""
    return Memory([], [], np.zeros(0, CAMERA), np.zeros(0, SCENE), empty_parts())
