"""What a shard remembers of its cameras between calls, as records in flat arrays; ``state`` turns it into bytes and back.

Cameras are sorted by name. Everything that a camera has several of lies camera after camera in one array for all; the
camera's record says how many are its own. Of a camera's tracks only the live ones are kept, with their slots.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline_contract.camera import MAX_LINES, MAX_ZONES
from sightline_contract.rules import MAX_RULES
from sightline_streaming.core.kernel import Records
from sightline_streaming.core.records import LOOK, SCENE, TRACK

NO_SESSION = -1

# Bins of a path that its speed is told from (pace.py), boxes kept as evidence (trail.py), places where a stopped track ended.
N_BINS = 5
N_PAST = 4
N_GHOSTS = 4

# A message further behind than so many counts as met before.
REMEMBERED_SEQS = 1024

CAMERA = np.dtype(
    [
        ("session", np.int64),
        ("next_seq", np.int64),
        ("first_seq", np.int64),  # first message met of the session: what lies before is not missed
        (
            "seen",
            np.uint64,
            (REMEMBERED_SEQS // 64,),
        ),  # of the last messages: bit seq modulo REMEMBERED_SEQS, whether it was met
        ("next_frame", np.int64),  # ordinal expected next
        ("last_us", np.int64),  # event time: that of the last tracked frame, 0 before the first
        ("closed_before", np.int64),  # number of the first open counting window
        ("arrived_us", np.int64),  # arrival of the newest message
        ("width", np.uint32),  # px of the frames
        ("height", np.uint32),
        ("hour", np.int64),  # number of the hour that new objects are summed up for, and what was seen of it
        ("hour_window", np.int64),
        ("places", np.uint32),  # digest of the lines, zones and rules that passages, stays and watches are about
        ("model", np.int32),  # model version
        ("n_tracks", np.int32),
        ("n_slots", np.int32),
        ("n_lines", np.int32),
        ("n_zones", np.int32),
        ("n_rules", np.int32),
        ("n_windows", np.int32),
        ("n_tallies", np.int32),
        ("look_size", np.int32),  # bytes of an appearance vector in the last message, 0: it had none
        ("n_habits", np.int32),
        ("hour_windows", np.int32),
        ("usual_share", np.float32),  # of the expected frames that are received, 0 before the first window
        # Of the call in hand.
        ("index", np.int32),  # place of the camera
        ("site", np.int32),  # place of its configuration
        ("n_messages", np.int32),
        ("dropped", np.uint8),  # forgotten by this call
        ("spare", np.uint8, (7,)),  # no hidden padding: equal states are equal bytes
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
        # Of its speed: the bin in the making, with sums since its beginning, and the means of those before.
        ("bridged", np.uint8),  # interpolated since the last observation
        ("known", np.uint8),  # a speed was told
        ("sampled", np.uint8),  # and since the last gap
        ("n_bins", np.uint8),
        ("bin_n", np.int32),
        ("speed_px", np.float32),  # px/s of the frames
        ("speed_m", np.float32),  # m/s, not a number where unknown
        ("steady_m", np.float32),
        ("observed_us", np.int64),
        ("bin_us", np.int64),
        ("bin_t", np.int64),
        ("bin_x", np.float64),
        ("bin_y", np.float64),
        ("mean_us", np.int64, (N_BINS,)),
        ("mean_x", np.float32, (N_BINS,)),
        ("mean_y", np.float32, (N_BINS,)),
        # At each line: where the track was clearly last (-1 left, 1 right, 0 nowhere yet), and the last cut of the line since:
        # the side it led to (0: none, or beyond the line's ends), when and where.
        ("side", np.int8, (MAX_LINES,)),
        ("towards", np.int8, (MAX_LINES,)),
        ("leans", np.int8, (MAX_LINES,)),  # side of the last box, where that was a little beyond the line
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

# What a camera's rules need of one track; there are none where there are no rules. Lengths in px of the camera file's frame.
TRAIL = np.dtype(
    [
        ("track_no", np.int64),  # whose trail this is, 0: nobody's
        ("seen_us", np.int64),  # last observation
        ("still_us", np.int64),  # since when it has not left its resting place
        ("away_us", np.int64),  # since when it is away from there, 0: it is not
        ("step_us", np.int64),  # when its last step ended
        ("past_us", np.int64, (N_PAST,)),
        ("past_box", np.float32, (N_PAST, 4)),  # px of the frames
        ("box", np.float32, (4,)),  # last observed, px of the frames
        ("x", np.float32),  # last foot-point
        ("y", np.float32),
        ("rest_x", np.float32),
        ("rest_y", np.float32),
        ("step_x", np.float32),
        ("step_y", np.float32),
        ("size", np.float32),
        ("pace", np.float32),  # sizes/s, not a number where unknown
        ("speed", np.float32),  # m/s
        ("class_id", np.uint8),
        ("n_past", np.uint8),
        ("watched", np.uint8),  # observed since it was confirmed
        # At each rule.
        ("phase", np.uint8, (MAX_RULES,)),
        ("since_us", np.int64, (MAX_RULES,)),  # when what is watched for began; 0: it has not
        ("held_us", np.int64, (MAX_RULES,)),  # when it was last so
        ("entered_us", np.int64, (MAX_RULES,)),  # of the stay in the zone, 0: outside
        ("inside_us", np.int64, (MAX_RULES,)),  # last seen inside
        ("other_no", np.int64, (MAX_RULES,)),  # accident: the other track
        ("amount", np.float32, (MAX_RULES,)),  # speeding, accident: highest speed; wrong way: sizes gone against the heading
    ],
    align=True,
)

# What one rule remembers of its camera.
ALARM = np.dtype(
    [
        ("since_us", np.int64),
        ("held_us", np.int64),
        # Where and when tracks ended that stood still and were told: who appears there is the same object.
        ("ghost_us", np.int64, (N_GHOSTS,)),
        ("ghost_x", np.float32, (N_GHOSTS,)),
        ("ghost_y", np.float32, (N_GHOSTS,)),
        ("phase", np.uint8),
        ("spare", np.uint8, (7,)),
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
        ("spare", np.uint8, (7,)),
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
TRACKS, WINDOWS, TALLIES, TRAILS, ALARMS, HABITS, LOOKS = range(7)


class Parts(NamedTuple):
    """What cameras have several of. The first ``used`` records are filled; tracks and paths run in parallel.

    So do the trails of a camera with rules, and the looks of one whose node sends appearance vectors; another one's tracks
    have none. ``alarms`` are one per rule.
    """

    used: npt.NDArray[np.int64]
    tracks: Records
    paths: Records
    windows: Records
    tallies: Records
    trails: Records
    alarms: Records
    habits: Records
    looks: Records


@dataclass(frozen=True)
class Memory:
    """A shard's memory of N cameras."""

    names: list[bytes]  # (N,) camera ids, sorted
    models: list[bytes]  # model versions that cameras refer to
    cameras: Records  # (N,) CAMERA
    scenes: Records  # (N,) SCENE
    parts: Parts


def empty_parts(room: Sequence[int] = (0,) * 7) -> Parts:
    """Parts without records, with room for so many of each at the least, in the order of Parts.used."""
    tracks, windows, tallies, trails, alarms, habits, looks = (max(n, 16) for n in room)
    return Parts(
        np.zeros(7, np.int64), np.zeros(tracks, TRACK), np.zeros(tracks, PATH), np.zeros(windows, WINDOW),
        np.zeros(tallies, TALLY), np.zeros(trails, TRAIL), np.zeros(alarms, ALARM), np.zeros(habits, HABIT),
        np.zeros(looks, LOOK),
    )  # fmt: skip


def empty_memory() -> Memory:
    """The memory of a shard that met no camera yet."""
    return Memory([], [], np.zeros(0, CAMERA), np.zeros(0, SCENE), empty_parts())
