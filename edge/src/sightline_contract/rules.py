"""What a zone watches for: each rule makes the tracking job tell an event where it is broken. docs/facts.md defines them.

Lengths that hold without a scale are in sizes of the object: the mean of its box's width and height on the picture.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from sightline_contract.settings import Settings

# A track's state has room for so many rules of its camera.
MAX_RULES = 16

# "HH:MM-HH:MM" in UTC, may run over midnight; empty means always.
Hours = Annotated[str, StringConstraints(pattern=r"^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$")]
Classes = Annotated[tuple[str, ...], Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Speed = Annotated[float, Field(gt=0, le=1000)]

VEHICLES = ("car", "bus", "truck", "motorcycle", "bicycle")


class StoppedRule(Settings):
    """An object stands still in the zone."""

    kind: Literal["stopped"]
    classes: Classes = VEHICLES
    after_s: Seconds = 10.0


class WrongWayRule(Settings):
    """An object goes against the zone's heading."""

    kind: Literal["wrong_way"]
    classes: Classes = VEHICLES
    # The way that is allowed, as (dx, dy) on the picture; its length does not matter.
    heading: tuple[float, float]
    # How far an object must go against it, in sizes.
    after_sizes: Annotated[float, Field(gt=0, le=100)] = 2.0

    @model_validator(mode="after")
    def _has_direction(self) -> Self:
        if not 0 < math.hypot(*self.heading) < math.inf:
            raise ValueError(f"heading {list(self.heading)} has no direction: give (dx, dy), such as [1, 0] for to the right")
        return self


class RestrictedRule(Settings):
    """An object is in the zone, where none may be."""

    kind: Literal["restricted"]
    classes: Classes = ("person",)
    hours: Hours = ""
    after_s: Seconds = 0.5


class SpeedingRule(Settings):
    """An object is faster than allowed; needs the camera's scale."""

    kind: Literal["speeding"]
    classes: Classes = VEHICLES
    limit_km_h: Speed = 50.0
    tolerance_km_h: Annotated[float, Field(ge=0, le=1000)] = 5.0


class CongestionRule(Settings):
    """Many objects in the zone, and slow ones, for long."""

    kind: Literal["congestion"]
    classes: Classes = VEHICLES
    min_objects: Annotated[int, Field(ge=1, le=1000)] = 5
    # Exactly one of these: by the camera's scale, or in sizes a second.
    below_km_h: Speed | None = None
    below_sizes_s: Speed | None = None
    for_s: Seconds = 20.0

    @model_validator(mode="after")
    def _has_one_speed(self) -> Self:
        _one_of(self, "below_km_h", "below_sizes_s")
        return self


class AccidentRule(Settings):
    """A possible accident: an object stops suddenly beside another, or two objects' boxes merge, and both stay."""

    kind: Literal["accident"]
    classes: Classes = VEHICLES
    # Exactly one of these: the speed that an object must have had, by the camera's scale or in sizes a second.
    from_km_h: Speed | None = None
    from_sizes_s: Speed | None = None
    # From that speed to standing still.
    within_s: Seconds = 2.0
    stay_s: Seconds = 5.0

    @model_validator(mode="after")
    def _has_one_speed(self) -> Self:
        _one_of(self, "from_km_h", "from_sizes_s")
        return self


Rule = Annotated[
    StoppedRule | WrongWayRule | RestrictedRule | SpeedingRule | CongestionRule | AccidentRule, Field(discriminator="kind")
]

# Kind of rule to the kind of event that it makes.
EVENT_KINDS = {
    "stopped": "stopped_vehicle",
    "wrong_way": "wrong_way",
    "restricted": "restricted_zone",
    "speeding": "speeding",
    "congestion": "congestion",
    "accident": "possible_accident",
}


def needs_scale(rule: Rule) -> bool:
    """Whether the rule speaks of km/h, which takes a homography or metres_per_pixel."""
    return isinstance(rule, SpeedingRule) or any(getattr(rule, name, None) for name in ("below_km_h", "from_km_h"))


def minutes_of(hours: Hours) -> tuple[int, int]:
    """Minutes of the UTC day, from and to (exclusive); to is not above from where the hours run over midnight."""
    if not hours:
        return 0, 24 * 60
    first, last = (int(hour) * 60 + int(minute) for hour, minute in (time.split(":") for time in hours.split("-")))
    return first, last


def _one_of(rule: CongestionRule | AccidentRule, metric: str, plain: str) -> None:
    if (getattr(rule, metric) is None) == (getattr(rule, plain) is None):
        raise ValueError(f"a {rule.kind} rule takes either {metric} (with a scale) or {plain} (without): give exactly one")
