"""The rollout's state machine: rows of its history and nodes' reports in, actions out. No clock, no I/O."""

from collections.abc import Callable, Iterable, Mapping

from sightline_contract.rollout import ModelStatus
from sightline_models.rollout.plan import RolloutPlan
from sightline_models.rollout.steps import Action, Answer, Question, Step


class Controller:
    """One rollout. ``steps`` are its recorded rows: a controller made from them goes on exactly where they end.

    ``attested(status)`` says in one line why a node's attestation is not good enough, or "" if it is.
    """

    def __init__(
        self, plan: RolloutPlan, steps: Iterable[Step] = (), attested: Callable[[ModelStatus], str] = lambda _: ""
    ) -> None: ...

    def update(self, plan: RolloutPlan) -> None:
        """Take a newer message of the same plan."""

    @property
    def finished(self) -> bool:
        """True once completed, or restored: nothing is judged any more; ``step`` still serves nodes that join."""
        raise NotImplementedError

    def question(self, now_us: int, statuses: Mapping[str, ModelStatus]) -> Question | None:
        """Which windows the next ``step`` needs; None if none."""
        raise NotImplementedError

    def step(self, now_us: int, statuses: Mapping[str, ModelStatus], answer: Answer | None = None) -> tuple[Action, ...]:
        """What is to be done now, in this order. ``statuses``: the latest report of every node ever heard of."""
        raise NotImplementedError
