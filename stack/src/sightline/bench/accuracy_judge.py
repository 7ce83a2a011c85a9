"""Judging counts by the truth: errors per line and direction, which crossing is which, windows, stays, events."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sightline.bench.accuracy_facts import FORWARD, Known
from sightline.simulate.city import Truth
from sightline.simulate.faults import Fault
from sightline.simulate.layouts import SceneKind

_SAME_CROSSING_US = 1_500_000
_SAME_VISIT_US = 2_000_000
_SAME_EVENT_US = 15_000_000


@dataclass(frozen=True)
class Group:
    """Crossings of several lines together."""

    name: str
    lines: int  # lines and directions
    true: int
    counted: int
    error_pct: float  # of the sum
    line_error_pct: float  # sum of the lines' absolute errors
    over: int  # lines that counted more than there was
    worst_over: int
    missed: int  # crossings that nobody counted
    false: int  # counts that are no crossing


@dataclass(frozen=True)
class Event:
    """One kind of event."""

    kind: str
    true: int  # must be told
    told: int
    right: int  # of those that must be told, the told ones
    allowed: int  # of the told ones, those that happened, be it in too short a view to ask for them

    @property
    def precision(self) -> float:
        """Share of the told ones that happened."""
        return self.allowed / self.told if self.told else float("nan")

    @property
    def recall(self) -> float:
        """Share of the true ones that were told."""
        return self.right / self.true if self.true else float("nan")


@dataclass
class Verdict:
    """All figures."""

    groups: list[Group] = field(default_factory=list)
    queues: Group | None = None
    fast_true: int = 0
    fast_counted: int = 0
    unseen: int = 0  # crossings that are none because nobody could have seen them
    sent: dict[str, int] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    wrong_cameras: dict[str, int] = field(default_factory=dict)  # cameras where a sum is not exact
    windows: dict[str, float] = field(default_factory=dict)
    visits: dict[str, float] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        events = [asdict(event) | {"precision": event.precision, "recall": event.recall} for event in self.events]
        return asdict(self) | {"events": events}


def judge(truth: Truth, true: Known, unseen: int, counted: Known, examples: int = 0) -> Verdict:
    """Compare the two."""
    verdict = Verdict(unseen=unseen)
    cameras = _cameras(truth)
    lines = _lines(cameras, true, counted)
    sound = lines[lines["fault"] == Fault.NONE]
    for name, group in sound.groupby(sound["kind"] + ", " + sound["traffic"]):
        verdict.groups.append(_group(str(name), group))
    for traffic, group in sound.groupby("traffic"):
        verdict.groups.append(_group("all, " + str(traffic), group))
    for fault, group in lines[lines["fault"] != Fault.NONE].groupby("fault"):
        verdict.groups.append(_group("fault: " + str(fault), group))
    verdict.queues = _group("stop and go", sound[sound["queue"]]) if sound["queue"].any() else None
    fast = true.crossings[(true.crossings["role"] == "fast") & true.crossings["camera_id"].isin(sound["camera_id"])]
    verdict.fast_true = len(fast)
    verdict.fast_counted = int(fast["met"].sum())
    _judge_sums(verdict, true, counted)
    _judge_windows(verdict, true, counted, set(sound["camera_id"]))
    _judge_visits(verdict, true, counted, set(sound["camera_id"]))
    verdict.events = _events(true.events, counted.events)
    verdict.examples = _examples(true, counted, cameras, examples, truth.start_us)
    return verdict


def _cameras(truth: Truth) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "camera_id": plan.camera_id, "layout": plan.layout.name, "kind": str(plan.layout.kind), "rate": plan.frame_rate,
                "traffic": str(plan.traffic), "fault": plan.fault,
                "queue": plan.layout.has_queue and plan.layout.kind == SceneKind.ROAD,
            }
            for plan in truth.plans
        ]
    )  # fmt: skip


def _lines(cameras: pd.DataFrame, true: Known, counted: Known) -> pd.DataFrame:
    """One row a camera and direction, with true and counted crossings; marks which crossings are which on both sides."""
    for side in (true.crossings, counted.crossings):
        side["met"] = False
    both = []
    for row in cameras.to_dict("records"):
        for forward in (0, 1):
            t, c = (
                side.crossings[(side.crossings["camera_id"] == row["camera_id"]) & (side.crossings[FORWARD] == forward)]
                for side in (true, counted)
            )
            pairs = match(t["t_us"].to_numpy(), c["t_us"].to_numpy(), _SAME_CROSSING_US)
            true.crossings.loc[t.index[pairs[:, 0]], "met"] = True
            counted.crossings.loc[c.index[pairs[:, 1]], "met"] = True
            both.append(row | {FORWARD: forward, "true": len(t), "counted": len(c), "met": len(pairs)})
    return pd.DataFrame(both)


def match(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], within: int) -> npt.NDArray[np.int64]:
    """(n, 2) places of those of ``a`` and ``b`` that belong together: nearest first, each once."""
    gaps = np.abs(a[:, None] - b[None, :])
    left, right = np.nonzero(gaps <= within)
    taken_a, taken_b, pairs = set(), set(), []
    for k in np.argsort(gaps[left, right], kind="stable"):
        i, j = int(left[k]), int(right[k])
        if i not in taken_a and j not in taken_b:
            taken_a.add(i)
            taken_b.add(j)
            pairs.append((i, j))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _group(name: str, lines: pd.DataFrame) -> Group:
    true, counted = int(lines["true"].sum()), int(lines["counted"].sum())
    over = lines["counted"] - lines["true"]
    return Group(
        name=name,
        lines=len(lines),
        true=true,
        counted=counted,
        error_pct=100.0 * (counted - true) / max(true, 1),
        line_error_pct=100.0 * float(over.abs().sum()) / max(true, 1),
        over=int((over > 0).sum()),
        worst_over=int(over.max()),
        missed=true - int(lines["met"].sum()),
        false=counted - int(lines["met"].sum()),
    )


def _judge_sums(verdict: Verdict, true: Known, counted: Known) -> None:
    """Sums that must be exact, over all and camera by camera."""
    expected = true.health.set_index("camera_id")
    health = counted.health.groupby("camera_id").sum(numeric_only=True).reindex(expected.index, fill_value=0)
    windows = counted.counts.groupby("camera_id")["detections"].sum().reindex(expected.index, fill_value=0)
    for name in ("frames_received", "frames_expected", "detections", "batches_duplicate"):
        _note(verdict, name, expected[name], health[name])
    _note(verdict, "detections in windows", expected["countable"], windows)
    dead = counted.dead.groupby("camera_id").size().reindex(expected.index, fill_value=0)
    _note(verdict, "refused messages", true.dead.groupby("camera_id").size().reindex(expected.index, fill_value=0), dead)


def _note(verdict: Verdict, name: str, sent: "pd.Series[int]", found: "pd.Series[int]") -> None:
    verdict.sent[name], verdict.counted[name] = int(sent.sum()), int(found.sum())
    verdict.wrong_cameras[name] = int((sent.astype(int) != found.astype(int)).sum())


def _judge_windows(verdict: Verdict, true: Known, counted: Known, cameras: set[str]) -> None:
    """Objects per camera, window and class."""
    keys = ["camera_id", "window_us", "class_name"]
    t = true.counts[true.counts["camera_id"].isin(cameras)].set_index(keys)["objects"]
    c = counted.counts[counted.counts["camera_id"].isin(cameras)].groupby(keys)["objects"].sum()
    both = pd.concat([t.rename("true"), c.rename("counted")], axis=1).fillna(0)
    off = both["counted"] - both["true"]
    total = max(float(both["true"].sum()), 1.0)
    verdict.windows = {
        "windows": len(both),
        "true": float(both["true"].sum()),
        "counted": float(both["counted"].sum()),
        "error_pct": 100.0 * float(off.sum()) / total,
        "absolute_error_pct": 100.0 * float(off.abs().sum()) / total,
        "exact_pct": 100.0 * float((off == 0).mean()) if len(both) else 100.0,
    }


def _judge_visits(verdict: Verdict, true: Known, counted: Known, cameras: set[str]) -> None:
    """Stays in zones, paired by the time of entry, and how long they were."""
    t = true.visits[true.visits["camera_id"].isin(cameras)]
    c = counted.visits[counted.visits["camera_id"].isin(cameras)]
    met, off_s, stays_s = 0, [], []
    groups = dict(list(c.groupby(["camera_id", "zone"])))
    for key, rows in t.groupby(["camera_id", "zone"]):
        other = groups.get(key)
        if other is None:
            continue
        pairs = match(rows["start_us"].to_numpy(), other["start_us"].to_numpy(), _SAME_VISIT_US)
        met += len(pairs)
        a, b = ((side["end_us"] - side["start_us"]).to_numpy() / 1e6 for side in (rows, other))
        off_s.append(b[pairs[:, 1]] - a[pairs[:, 0]])
        stays_s.append(a[pairs[:, 0]])
    off, stays = (np.concatenate(each) if each else np.zeros(0) for each in (off_s, stays_s))
    verdict.visits = {
        "true": len(t),
        "counted": len(c),
        "matched": met,
        "median_dwell_s": float(np.median(stays)) if len(stays) else 0.0,
        "median_dwell_error_s": float(np.median(np.abs(off))) if len(off) else 0.0,
        "mean_dwell_error_pct": 100.0 * float(off.sum() / stays.sum()) if stays.sum() else 0.0,
    }


def _events(true: pd.DataFrame, told: pd.DataFrame) -> list[Event]:
    kinds = sorted(set(true["kind"]) | set(told["kind"]))
    found = []
    for kind in kinds:
        happened, c = _once(true[true["kind"] == kind]), told[told["kind"] == kind]
        t = happened[happened["sound"] > 0]
        found.append(Event(kind, len(t), len(c), right=_met(t, c), allowed=_met(happened, c)))
    return found


def _met(true: pd.DataFrame, told: pd.DataFrame) -> int:
    """How many of either are the same events."""
    met = 0
    for camera, rows in true.groupby("camera_id"):
        other = told[told["camera_id"] == camera]
        met += len(match(rows["start_us"].to_numpy(), other["start_us"].to_numpy(np.int64), _SAME_EVENT_US))
    return met


def _once(events: pd.DataFrame) -> pd.DataFrame:
    """One accident of the two that are in it."""
    events = events.sort_values(["camera_id", "start_us"])
    soon = events["start_us"] - events["start_us"].shift() < _SAME_EVENT_US
    again = (events["camera_id"] == events["camera_id"].shift()) & soon
    return events[~(again & (events["kind"] == "possible_accident"))]


def _examples(true: Known, counted: Known, cameras: pd.DataFrame, most: int, start_us: int) -> list[str]:
    """Crossings that were missed, and counts that are none, in words."""
    info = cameras.set_index("camera_id")
    lines = []
    for what, rows in (("missed", true.crossings), ("false", counted.crossings)):
        for row in rows[~rows["met"]].head(most).to_dict("records"):
            where = info.loc[row["camera_id"]]
            number = row.get("number", row.get("track_no", row.get("track_id", "")))
            who = f"{row.get('role', '')} {row.get('class_name', '')} {number}"
            way = "forward" if row[FORWARD] else "backward"
            lines.append(
                f"{what}: {row['camera_id']} ({where['layout']}, {where['traffic']}, {where['rate']}/s, {where['fault']}) "
                f"{way} at {(row['t_us'] - start_us) / 1e6:.2f} s: {who}"
            )
    return lines
