"""A fleet in memory that follows what it is told: nodes' reports from desired models, step by step."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from sightline_contract.rollout import DesiredModels, ModelRef, ModelStatus, Phase
from sightline_models.judge.rules import Rules
from sightline_models.rollout.plan import Bundles, RolloutPlan
from sightline_models.rollout.steps import Action, Desire

TARGET = "onnxruntime-any-x86_64-fp32"
START_US = 1_790_000_000_000_000


def envelope(version: str, number: int) -> str:
    """Text that stands for a signed envelope: the controller does not look inside."""
    return json.dumps({"version": version, "number": number})


def plan_of(**changes: object) -> RolloutPlan:
    """A rollout of version 2 against version 1, with short rules."""
    rules = Rules(observe="1h", observe_last="30m", window="10m", patience="2h", min_windows=3, min_frames=10, min_objects=5)
    fields: dict[str, object] = {
        "rollout_id": "r1",
        "model_name": "centernet",
        "version": "2",
        "baseline_version": "1",
        "number": 7,
        "return_number": 8,
        "shadow_s": 1800.0,
        "rules": rules,
        "started_us": START_US,
        "actor": "anna",
        "bundles": {TARGET: Bundles(candidate=envelope("2", 7), back=envelope("1", 8))},
    }
    return RolloutPlan.model_validate({**fields, **changes})


@dataclass
class Fleet:
    """Nodes that do what they are told as soon as they are there."""

    plan: RolloutPlan
    away: set[str] = field(default_factory=set)
    refusing: set[str] = field(default_factory=set)  # to serve the candidate
    statuses: dict[str, ModelStatus] = field(default_factory=dict)
    topic: dict[str, DesiredModels] = field(default_factory=dict)  # compacted: the last message of each node
    published: list[DesiredModels] = field(default_factory=list)

    def add(self, node_ids: Iterable[str], now_us: int, sites: int = 2) -> None:
        """Nodes that serve the baseline and report."""
        for number, node_id in enumerate(node_ids):
            self.statuses[node_id] = ModelStatus(
                node_id=node_id, site=f"site-{number % sites}", hardware=TARGET, targets=(TARGET,),
                from_us=now_us, reported_us=now_us, live=ModelRef(model_name="centernet", model_version="1", number=1),
            )  # fmt: skip

    def publish(self, actions: Iterable[Action]) -> None:
        """What the controller's caller does with its wishes."""
        for action in actions:
            if isinstance(action, Desire):
                self.topic[action.node_id] = action.desired
                self.published.append(action.desired)

    def report(self, now_us: int) -> None:
        """Nodes that are there follow the topic, and say so."""
        for node_id, status in self.statuses.items():
            if node_id not in self.away:
                self.statuses[node_id] = self._followed(status, self.topic.get(node_id), now_us)

    def _followed(self, status: ModelStatus, desired: DesiredModels | None, now_us: int) -> ModelStatus:
        changes: dict[str, object] = {"reported_us": now_us, "from_us": now_us}
        if desired is not None and desired.revision >= status.revision:
            changes |= {"revision": desired.revision, "rollout_id": desired.rollout_id, "phase": Phase.FOLLOWING, "reason": ""}
            serve = self._ref(desired.serve.envelope) if desired.serve else status.live
            changes |= {"live": serve, "shadow": self._ref(desired.shadow.envelope) if desired.shadow else None}
            if status.node_id in self.refusing and serve.model_version == self.plan.version:
                changes |= {"live": status.live, "phase": Phase.REFUSED, "reason": "3 crashes in 10 min"}
        return status.model_copy(update=changes)

    def _ref(self, text: str) -> ModelRef:
        content = json.loads(text)
        return ModelRef(model_name=self.plan.model_name, model_version=content["version"], number=content["number"])

    def live(self) -> dict[str, str]:
        """Version that each node serves."""
        return {node_id: status.live.model_version for node_id, status in self.statuses.items()}
