"""Writing the tracker's results: observed boxes, the path before confirmation, filled gaps, ends.

Invariants
- The emissions of one track follow each other in time, so that chained they are its path.
- Room is made once a frame, for all that the frame can emit; what writes emissions takes it for granted.
"""

from sightline_streaming.core.kernel import Record, Records, leaf
from sightline_streaming.core.records import BEFORE_CONFIRMATION, INTERPOLATED, PAST

# More boxes than this are never put into one gap, whatever the frame interval is thought to be.
MAX_FILL = 1000


@leaf
def emit(
    emission: Record,
    track: Record,
    slot: int,
    source: int,
    t_us: int,
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    score: float,
) -> None:
    """Fill one record."""
    emission.t_us = t_us
    emission.track_no = track.number
    emission.x1 = x1
    emission.y1 = y1
    emission.x2 = x2
    emission.y2 = y2
    emission.score = score
    emission.slot = slot
    emission.class_id = track.class_id
    emission.source = source


@leaf
def emit_past(emission: Record, track: Record, slot: int, source: int, k: int) -> None:
    """Emit the track's remembered observation ``k``."""
    box = track.past_box[k]
    emit(emission, track, slot, source, track.past_us[k], box[0], box[1], box[2], box[3], track.past_score[k])


@leaf
def most_emissions(scene: Record, tracks: Records, n_slots: int, t_us: int) -> int:
    """How many records a frame at ``t_us`` can emit for the tracks that are there: each observed, its gaps filled, or ended."""
    most = 0
    for slot in range(n_slots):
        if tracks[slot].live:
            most += PAST + 1
            if scene.interval_us > 0.0:
                # Gaps are rounded to whole intervals one by one.
                most += min(int((t_us - tracks[slot].past_us[0]) / scene.interval_us) + PAST, PAST * MAX_FILL)
    return most


@leaf
def fill_gap(emissions: Records, n_emissions: int, track: Record, slot: int, source: int, k: int, interval_us: float) -> int:
    """Emit boxes between the remembered observations ``k`` and ``k + 1``, evenly spaced about ``interval_us`` apart."""
    gap_us = track.past_us[k + 1] - track.past_us[k]
    steps = min(int(gap_us / interval_us + 0.5), MAX_FILL) if interval_us > 0.0 else 1
    if steps < 2:
        return n_emissions
    old, new = track.past_box[k], track.past_box[k + 1]
    for i in range(1, steps):
        w = i / steps
        emit(
            emissions[n_emissions],
            track,
            slot,
            source,
            track.past_us[k] + (gap_us * i + steps // 2) // steps,
            (1.0 - w) * old[0] + w * new[0],
            (1.0 - w) * old[1] + w * new[1],
            (1.0 - w) * old[2] + w * new[2],
            (1.0 - w) * old[3] + w * new[3],
            min(track.past_score[k], track.past_score[k + 1]),
        )
        n_emissions += 1
    return n_emissions


@leaf
def emit_beginning(emissions: Records, n_emissions: int, track: Record, slot: int, interval_us: float) -> int:
    """Emit all observations but the last of a track that is confirmed now, gaps among them filled."""
    for k in range(int(track.n_past) - 1):
        emit_past(emissions[n_emissions], track, slot, BEFORE_CONFIRMATION, k)
        n_emissions = fill_gap(emissions, n_emissions + 1, track, slot, BEFORE_CONFIRMATION, k, interval_us)
    return n_emissions


@leaf
def emit_refound(emissions: Records, n_emissions: int, track: Record, slot: int, interval_us: float, longest_us: float) -> int:
    """Fill the gap before the last observation of a confirmed track, unless it was too long to know what happened."""
    k = int(track.n_past) - 2
    if k < 0 or track.past_us[k + 1] - track.past_us[k] > longest_us:
        return n_emissions
    return fill_gap(emissions, n_emissions, track, slot, INTERPOLATED, k, interval_us)
