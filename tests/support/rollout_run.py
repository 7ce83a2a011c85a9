"""A rollout's controller with its caller, over a fleet in memory, with the real judge."""

from answers import answer_of
from fleets import START_US, Fleet, plan_of

from sightline_contract.rollout import DesiredModels
from sightline_contract.sealing import key_name
from sightline_models.rollout.controller import Controller
from sightline_models.rollout.keys import NodeKeys
from sightline_models.rollout.plan import RolloutPlan, Wanted
from sightline_models.rollout.steps import Record, Step, StepName

MINUTE_US = 60 * 10**6


class Run:
    """The caller of a controller: executes actions in order, keeps the rows, may be killed and started again."""

    def __init__(self, plan: RolloutPlan, fleet: Fleet) -> None:
        self.plan, self.fleet = plan, fleet
        self.rows: list[Step] = []
        self.done: list[object] = []
        self.now_us = START_US
        self.keys: dict[str, NodeKeys] = {}
        self.controller = Controller(plan, keys=self.keys)
        self.harm = ""

    def minutes(self, count: int, every: int = 5) -> None:
        for _ in range(0, count, every):
            self.now_us += every * MINUTE_US
            self.fleet.report(self.now_us)
            question = self.controller.question(self.now_us, self.fleet.statuses)
            actions = self.controller.step(self.now_us, self.fleet.statuses, answer_of(question, self.now_us, self.harm))
            self.rows += [action.step for action in actions if isinstance(action, Record)]
            self.done += actions
            self.fleet.publish(actions)

    def restart(self) -> None:
        self.controller = Controller(self.controller.plan, self.rows, keys=self.keys)

    def announce(self, node_id: str, public_key: str) -> None:
        """The node says which key it has."""
        status = self.fleet.statuses[node_id]
        self.fleet.statuses[node_id] = status.model_copy(update={"public_key": public_key})

    def give(self, node_id: str, public_key: str, serial: int = 0) -> None:
        """Somebody with the content keys makes keys for it."""
        self.keys[node_id] = NodeKeys(
            rollout_id=self.plan.rollout_id, node_id=node_id, serial=serial, public_key=key_name(public_key),
            candidate=f"new for {public_key}", baseline=f"old for {public_key}",
        )  # fmt: skip

    def last(self, node_id: str) -> DesiredModels:
        """What the node was told last."""
        return self.fleet.topic[node_id]

    def serves(self, node_id: str) -> str:
        """The wrapped key with which it was told to serve something."""
        serve = self.last(node_id).serve
        assert serve is not None
        return serve.wrapped_key or ""

    def come_with_own_model(self, node_id: str) -> None:
        """A node that is new: it serves neither version."""
        self.fleet.add([node_id], self.now_us)
        status = self.fleet.statuses[node_id]
        own = status.live.model_copy(update={"model_version": "0"})
        self.fleet.statuses[node_id] = status.model_copy(update={"live": own})

    def want(self, wanted: Wanted) -> None:
        newer = self.controller.plan.model_copy(update={"wanted": wanted, "edit": self.controller.plan.edit + 1})
        self.controller.update(newer)

    def names(self) -> list[StepName]:
        return [row.name for row in self.rows]

    def touched(self) -> set[str]:
        return {message.node_id for message in self.fleet.published}


def run_of(nodes: int = 60, **changes: object) -> Run:
    """A rollout over so many nodes that serve the baseline."""
    plan = plan_of(**changes)
    fleet = Fleet(plan)
    fleet.add((f"node-{number:03d}" for number in range(nodes)), START_US)
    return Run(plan, fleet)
