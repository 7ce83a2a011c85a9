"""A handful of nodes that do what model_rollout tells them and report it, in seconds of their own time."""

import base64
import json
from collections.abc import Callable

from confluent_kafka import Consumer, Producer, TopicPartition
from model_messages import START_US, figures, report

from sightline_contract.rollout import DesiredModels, Figures, ModelStatus, Slot
from sightline_contract.topics import MODEL_ROLLOUT, MODEL_STATUS
from sightline_models.judge.rules import Rules
from sightline_models.rollout.plan import Bundles, RolloutPlan

NAME, OLD, NEW = "street", "1", "2"
TARGET = "onnxruntime-any-x86_64-fp32"
STEP_S = 5

Does = Callable[[str, Slot], Figures]


def as_usual(version: str, slot: Slot) -> Figures:
    """Every version sees the same."""
    shadow = {"matched": 100} if slot is Slot.SHADOW else {}
    return figures(version, slot, name=NAME, **shadow)


def envelope(version: str, number: int) -> str:
    """What stands for a signed envelope here: nodes of this module check nothing."""
    payload = base64.b64encode(json.dumps({"version": version, "number": number}).encode()).decode()
    return json.dumps({"payload": payload, "payloadType": "test", "signatures": [{"sig": "", "certificate": ""}]})


def plan_of(rollout_id: str, rules: Rules, number: int = 1, **fields: object) -> RolloutPlan:
    """A plan from OLD to NEW."""
    bundles = {TARGET: Bundles(candidate=envelope(NEW, number), back=envelope(OLD, number + 1))}
    about = {"model_name": NAME, "version": NEW, "baseline_version": OLD, "number": number, "return_number": number + 1}
    plan = RolloutPlan(rollout_id=rollout_id, rules=rules, started_us=START_US, actor="somebody", bundles=bundles, **about)
    return plan.model_copy(update=fields)


class SimulatedFleet:
    """Nodes by id, each with the version that it serves and shadows. ``does`` says what a version sees and takes."""

    def __init__(self, bootstrap: str, nodes: int, does: Does = as_usual) -> None:
        options = {"bootstrap.servers": bootstrap, "group.id": "fleet", "enable.auto.commit": False, "fetch.wait.max.ms": 5}
        options["log_level"] = 0
        self._consumer = Consumer(options)
        self._consumer.assign([TopicPartition(MODEL_ROLLOUT.name, 0, 0)])
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
        self.does = does
        self.second = 0
        self.live = {f"node-{number}": OLD for number in range(nodes)}
        self.shadow: dict[str, str | None] = dict.fromkeys(self.live)
        self.desired: dict[str, DesiredModels] = {}
        self.heard: list[DesiredModels] = []
        self.public_keys: dict[str, str] = {}  # that nodes announce, PEM

    def reset(self, does: Does) -> None:
        """Nodes serve OLD again; one report tells so."""
        self.does = does
        self.step()
        self.live, self.shadow = dict.fromkeys(self.live, OLD), dict.fromkeys(self.live)
        self.step()

    def close(self) -> None:
        """End the connections."""
        self._consumer.close()
        self._producer.flush(5)

    def step(self) -> None:
        """Every node does what it was told, and reports its last five seconds."""
        self.second += STEP_S
        self._follow()
        for node in self.live:
            status = self._report(node)
            self._producer.produce(MODEL_STATUS.name, key=node, value=status.model_dump_json().encode())
        assert self._producer.flush(20) == 0

    def _follow(self) -> None:
        for message in self._consumer.consume(1000, 0.05):
            desired = DesiredModels.model_validate_json(message.value() or b"")
            self.heard.append(desired)
            known = self.desired.get(desired.node_id)
            if known is None or known.revision < desired.revision:
                self.desired[desired.node_id] = desired
                if desired.serve:
                    self.live[desired.node_id] = version_in(desired.serve.envelope)
                self.shadow[desired.node_id] = version_in(desired.shadow.envelope) if desired.shadow else None

    def _report(self, node: str) -> ModelStatus:
        told = [self.does(self.live[node], Slot.LIVE)]
        if shadow := self.shadow[node]:
            told.append(self.does(shadow, Slot.SHADOW))
        desired = self.desired.get(node)
        about = {"rollout_id": desired.rollout_id, "revision": desired.revision} if desired else {}
        return report(node, self.second, *told, span_s=STEP_S, public_key=self.public_keys.get(node), **about)


def version_in(text: str) -> str:
    """The version that an envelope of this module is about."""
    return str(json.loads(base64.b64decode(json.loads(text)["payload"]))["version"])
