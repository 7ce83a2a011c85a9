"""The cameras' zone rules as the kernels see them: one WATCH record for each, camera after camera, zone after zone.

Thresholds of speed are in m/s where a rule gives km/h (``metric``), else in sizes a second.
"""

from collections.abc import Iterable

import numpy as np

from sightline_contract.camera import CameraConfig
from sightline_contract.labels import class_ids
from sightline_contract.rules import EVENT_KINDS, Rule, minutes_of
from sightline_streaming.core.kernel import Records

KM_H_PER_M_S = 3.6

# Kinds of rules, in the order of the contract's.
STOPPED, WRONG_WAY, RESTRICTED, SPEEDING, CONGESTION, ACCIDENT = range(len(EVENT_KINDS))

WATCH = np.dtype(
    [
        ("after_us", np.int64),  # how long what it watches for must last
        ("within_us", np.int64),  # accident: from speed to standing still
        ("limit", np.float64),  # speed; wrong way: sizes gone against the heading
        ("heading_x", np.float64),  # of length 1
        ("heading_y", np.float64),
        ("from_minute", np.int32),  # of the UTC day
        ("to_minute", np.int32),
        ("min_objects", np.int32),
        ("zone", np.int32),  # among the camera's own
        ("kind", np.uint8),
        ("metric", np.uint8),
        ("classes", np.uint8, (256,)),  # whether it watches a class
    ],
    align=True,
)


def zone_rules(camera: CameraConfig) -> list[tuple[int, str, Rule]]:
    """The camera's rules in the order of its WATCH records: number of the zone, name within the zone, rule.

    The name is the rule's kind; the second of its kind in a zone is called ``kind.2``, and so on.
    """
    found = []
    for number, zone in enumerate(camera.zones):
        kinds = [rule.kind for rule in zone.rules]
        for k, rule in enumerate(zone.rules):
            nth = kinds[: k + 1].count(rule.kind)
            found.append((number, rule.kind if nth == 1 else f"{rule.kind}.{nth}", rule))
    return found


def watches_of(cameras: Iterable[CameraConfig]) -> Records:
    """The records of all cameras' rules."""
    rules = [(camera, zone, rule) for camera in cameras for zone, _, rule in zone_rules(camera)]
    watches = np.zeros(len(rules), WATCH)
    for watch, (camera, zone, rule) in zip(watches, rules, strict=True):
        watch["zone"] = zone
        watch["kind"] = list(EVENT_KINDS).index(rule.kind)
        watch["classes"][list(class_ids(rule.classes, camera.site_labels))] = 1
        _fill(watch, rule)
    return watches


def _fill(watch: np.void, rule: Rule) -> None:
    watch["to_minute"] = 24 * 60
    if rule.kind == "stopped":
        watch["after_us"] = round(rule.after_s * 1e6)
    elif rule.kind == "wrong_way":
        watch["limit"] = rule.after_sizes
        watch["heading_x"], watch["heading_y"] = np.array(rule.heading) / np.hypot(*rule.heading)
    elif rule.kind == "restricted":
        watch["after_us"] = round(rule.after_s * 1e6)
        watch["from_minute"], watch["to_minute"] = minutes_of(rule.hours)
    elif rule.kind == "speeding":
        watch["limit"], watch["metric"] = (rule.limit_km_h + rule.tolerance_km_h) / KM_H_PER_M_S, 1
    elif rule.kind == "congestion":
        watch["after_us"], watch["min_objects"] = round(rule.for_s * 1e6), rule.min_objects
        _fill_speed(watch, rule.below_km_h, rule.below_sizes_s)
    else:
        watch["after_us"], watch["within_us"] = round(rule.stay_s * 1e6), round(rule.within_s * 1e6)
        _fill_speed(watch, rule.from_km_h, rule.from_sizes_s)


def _fill_speed(watch: np.void, km_h: float | None, sizes_s: float | None) -> None:
    watch["metric"] = km_h is not None
    watch["limit"] = km_h / KM_H_PER_M_S if km_h is not None else (sizes_s or 0.0)


def limit_of(rule: Rule) -> tuple[float, str]:
    """The number that an event of the rule is measured against, and its unit."""
    if rule.kind == "stopped" or rule.kind == "restricted":  # noqa: PLR1714 - mypy narrows it so
        return rule.after_s, "s"
    if rule.kind == "wrong_way":
        return rule.after_sizes, "sizes"
    if rule.kind == "speeding":
        return rule.limit_km_h, "km/h"
    if rule.kind == "congestion":
        metric, plain = rule.below_km_h, rule.below_sizes_s
    else:
        metric, plain = rule.from_km_h, rule.from_sizes_s
    return (metric, "km/h") if metric is not None else (plain or 0.0, "sizes/s")
