"""The tracker with one idea taken out each: what that costs is what the idea brings."""

from typing import NamedTuple

from sightline_contract.camera import Scene
from sightline_streaming.core.params import FIXED_CAMERA, MOVING_CAMERA, TrackerParams


class Ablation(NamedTuple):
    """Parameters for a fixed and for a moving camera that lack ``idea``."""

    idea: str
    fixed: TrackerParams
    moving: TrackerParams

    def params(self, scene: Scene) -> TrackerParams:
        """Those for a scene."""
        return self.fixed if scene is Scene.FIXED else self.moving


def _without(idea: str, **changes: float) -> Ablation:
    return Ablation(idea, FIXED_CAMERA._replace(**changes), MOVING_CAMERA._replace(**changes))


DEFAULT = _without("(nothing)")
# What a moving camera's boxes do is less predictable: two numbers more.
_STEADY = {name: getattr(FIXED_CAMERA, name) for name in ("accelerate", "first_speed")}
_RESTLESS = {name: getattr(MOVING_CAMERA, name) for name in ("accelerate", "first_speed")}

ABLATIONS = (
    _without("unsure detections", second_overlap=2.0),
    _without("price of surprise", surprise_cost=0.0),
    _without("price and limit of surprise", surprise_cost=0.0, surprise_limit=1e9),
    _without("first steps by distance", first_reach=0.0),
    _without("looking on the way", way_overlap=2.0),
    _without("perspective", most_grown=0.0),
    _without("more than a little overlap", first_overlap=0.15),
    _without("filled gaps", fill_s=0.0),
    _without("evidence (three hits confirm)", confirm_evidence=-1e9, confirm_hits=3.0),
    _without("long memory", lost_s=0.5),
    Ablation("less memory for moving cameras", FIXED_CAMERA, MOVING_CAMERA._replace(lost_s=FIXED_CAMERA.lost_s)),
    Ablation("more noise for moving cameras", FIXED_CAMERA, MOVING_CAMERA._replace(**_STEADY)),
    Ablation("less noise for fixed cameras", FIXED_CAMERA._replace(**_RESTLESS), MOVING_CAMERA),
)
