"""The rollout's state machine: rows of its history and nodes' reports in, actions out. No clock, no I/O.

Invariants:
- The recorded rows are the whole state (state.py). A row is recorded before what it tells nodes is published, so that after a
  crash between the two the same nodes are told the same thing.
- A node is told one thing at a time, under revisions that grow; to tell it again does no harm.
- Only a ring's verdict widens the ring; harm sends every node that was told anything its return ticket, paused or not.
- Only the newest plan's controller may be stepped: an older one would publish over the newer one's messages.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sightline_contract.rollout import ModelStatus
from sightline_models.judge.judge import judge
from sightline_models.judge.shadow import judge_shadow
from sightline_models.judge.verdict import Decision, MetricVerdict, Verdict
from sightline_models.rollout.consequences import consequences
from sightline_models.rollout.fleet import Fleet
from sightline_models.rollout.keys import NodeKeys
from sightline_models.rollout.plan import Kind, RolloutPlan, Wanted
from sightline_models.rollout.state import State, Told, after, fold
from sightline_models.rollout.steps import Action, Answer, Desire, Question, Record, Step, StepName
from sightline_models.rollout.strata import Node, choose, quota

_BEFORE_US = 24 * 3600 * 1_000_000  # how far back windows tell what the arms differed by


@dataclass(frozen=True)
class _Row:
    """A row to be: what of it the rest of the state does not say. ``ring``: None is the one that is open."""

    name: StepName
    reasons: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    metrics: tuple[MetricVerdict, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    ring: int | None = None


class Controller:
    """One rollout. ``steps`` are its recorded rows: a controller made from them goes on exactly where they end.

    Actions that were given out are the caller's to carry out, also over a restart: they are not given out again, save what
    nodes are told and have not confirmed.

    ``attested(status)`` says in one line why a node's attestation is not good enough, or "" if it is. ``keys`` of sealed parts
    by node may grow and change: who was told something is told it again with a new key.
    """

    def __init__(
        self,
        plan: RolloutPlan,
        steps: Iterable[Step] = (),
        attested: Callable[[ModelStatus], str] = lambda _: "",
        keys: Mapping[str, NodeKeys] | None = None,
    ) -> None:
        self._plan = plan
        self._keys = {} if keys is None else keys
        self._attested = attested
        self._state = fold(steps)
        self.verdict: Verdict | None = None  # of the last step's answer, for people
        self._sent: dict[str, int] = {}  # revisions that this process has published

    def update(self, plan: RolloutPlan) -> None:
        """Take a newer message of the same plan: what people want of it."""
        if plan.rollout_id == self._plan.rollout_id and plan.edit >= self._plan.edit:
            asked = {"wanted": plan.wanted, "edit": plan.edit, "actor": plan.actor, "note": plan.note}
            self._plan = self._plan.model_copy(update=asked)

    @property
    def plan(self) -> RolloutPlan:
        """The plan as it is wanted now."""
        return self._plan

    @property
    def state(self) -> State:
        """What the rows so far add up to."""
        return self._state

    @property
    def finished(self) -> bool:
        """True once completed, or restored: nothing is judged any more; ``step`` still serves nodes that join."""
        return self._state.at in (StepName.COMPLETED, StepName.RESTORED)

    def question(self, now_us: int, statuses: Mapping[str, ModelStatus]) -> Question | None:
        """Which windows the next ``step`` needs; None if none."""
        state = self._state
        if state.at is StepName.SHADOWING:
            return Question(True, state.ring_nodes, frozenset(), state.since_us, state.since_us)
        if state.at in (StepName.SERVING, StepName.OBSERVING):
            controls = self._fleet(now_us, statuses).controls(state, state.serving_us)
            before_us = state.serving_us - _BEFORE_US
            return Question(False, state.ring_nodes, controls, state.serving_us, before_us)
        return None

    def step(self, now_us: int, statuses: Mapping[str, ModelStatus], answer: Answer | None = None) -> tuple[Action, ...]:
        """What is to be done now, in this order. ``statuses``: the latest report of every node ever heard of.

        Without an ``answer`` nothing is judged; what does not depend on a verdict goes on.
        """
        fleet = self._fleet(now_us, statuses)
        actions: list[Action] = []
        for wanted in self._rows(fleet, answer):
            row = self._row(fleet, wanted)
            self._state = after(self._state, row)
            actions += [Record(row), *consequences(self._plan, row)]
        return (*actions, *self._desires(fleet))

    def _fleet(self, now_us: int, statuses: Mapping[str, ModelStatus]) -> Fleet:
        return Fleet(self._plan, statuses, now_us, self._attested, self._keys)

    def _row(self, fleet: Fleet, row: _Row) -> Step:
        ring = self._state.ring if row.ring is None else row.ring
        counts = {**fleet.counts(self._state), **row.counts}
        return Step(
            self._plan.rollout_id, self._state.seq, fleet.now_us, row.name, ring, row.reasons, row.nodes, row.metrics, counts
        )

    def _desires(self, fleet: Fleet) -> Iterator[Desire]:
        """What nodes were told and, as far as this process knows, may not have heard."""
        for node_id, (told, at_us) in sorted(self._state.told.items()):
            revision = fleet.revision(node_id, told)
            status = fleet.statuses.get(node_id)
            heard = status is not None and status.revision >= revision
            if heard or self._sent.get(node_id, 0) >= revision:
                continue
            if desired := fleet.desired(node_id, told, at_us):
                self._sent[node_id] = revision
                yield Desire(node_id, desired)

    # Rows to add, one by one; each is folded into the state before the next is asked for.

    def _rows(self, fleet: Fleet, answer: Answer | None) -> Iterator[_Row]:
        if self._state.at is None:
            yield _Row(StepName.STARTED, (self._plan.note or "a new version", *fleet.left_out()))
        if self._plan.wanted is Wanted.ABORT and not self._state.over:
            yield _Row(StepName.ABORTED, (self._wish(),), counts=self._durations(fleet))
        if self._state.over:
            yield from self._ending(fleet)
            return
        yield from self._wishes()
        verdict = self.verdict = self._verdict(fleet, answer)
        if verdict and verdict.decision is Decision.ROLL_BACK:
            yield _Row(StepName.ROLLED_BACK, verdict.reasons, metrics=verdict.metrics, counts=self._durations(fleet))
            yield from self._ending(fleet)
            return
        yield from self._onward(fleet, verdict)

    def _wishes(self) -> Iterator[_Row]:
        """Pauses and resumptions that people ask for."""
        plan, state = self._plan, self._state
        if plan.wanted is Wanted.PAUSE and state.paused_by != "person":
            counts = {"edit": plan.edit, "by_person": 1}
            yield _Row(StepName.PAUSED, (self._wish(),), counts=counts)
        elif plan.wanted is Wanted.RUN and state.paused_by and plan.edit > state.paused_edit:
            yield _Row(StepName.RESUMED, (self._wish(),), counts={"by_person": 1})

    def _wish(self) -> str:
        return f"{self._plan.actor} wants it" + (f": {self._plan.note}" if self._plan.note else "")

    def _verdict(self, fleet: Fleet, answer: Answer | None) -> Verdict | None:
        """Of the state as it was asked about; None where there is nothing to judge."""
        plan, state = self._plan, self._state
        if answer is None:
            return None
        if state.at is StepName.SHADOWING:
            cohort = fleet.shadow_cohort(state, plan.shadow_of(state.ring))
            return judge_shadow(answer.shadow, plan.rules, fleet.now_us, cohort, plan.stages, state.resumed_us)
        if state.at in (StepName.SERVING, StepName.OBSERVING):
            cohort_ = fleet.cohort(state)
            return judge(answer.arms, plan.rules, fleet.now_us, cohort_, answer.before, plan.stages, state.resumed_us)
        return None

    def _onward(self, fleet: Fleet, verdict: Verdict | None) -> Iterator[_Row]:
        plan, at = self._plan, self._state.at
        if plan.kind is Kind.AB and at in (StepName.SERVING, StepName.OBSERVING) and fleet.now_us >= (plan.until_us or 0):
            metrics = verdict.metrics if verdict else ()
            yield _Row(StepName.COMPARED, ("its time is over",), metrics=metrics, counts=self._durations(fleet))
            return
        yield from self._judged_pause(verdict)
        if self._state.paused_by:
            return
        if at is StepName.SERVING and self._enough_serve(fleet):
            yield _Row(StepName.OBSERVING)
        if verdict and verdict.decision is Decision.PROMOTE:
            yield from self._promoted(fleet, verdict)
        if self._state.at in (StepName.STARTED, StepName.PROMOTED):
            yield from self._next_ring(fleet)
        if self._state.at is StepName.SHADOW_PASSED:
            yield from self._serve(fleet, tuple(sorted(self._state.ring_nodes)))
        yield from self._joining(fleet)

    def _judged_pause(self, verdict: Verdict | None) -> Iterator[_Row]:
        """The judge's own pause: it ends by itself once there is a reason to promote."""
        if verdict is None or self._plan.kind is Kind.AB:
            return
        counts = {"edit": self._plan.edit}
        if verdict.decision is Decision.PAUSE and not self._state.paused_by:
            yield _Row(StepName.PAUSED, verdict.reasons, metrics=verdict.metrics, counts=counts)
        elif verdict.decision is Decision.PROMOTE and self._state.paused_by == "judge":
            yield _Row(StepName.RESUMED, verdict.reasons, metrics=verdict.metrics)

    def _promoted(self, fleet: Fleet, verdict: Verdict) -> Iterator[_Row]:
        if self._state.at is StepName.SHADOWING:
            yield _Row(StepName.SHADOW_PASSED, verdict.reasons, metrics=verdict.metrics)
        elif self._state.at is StepName.OBSERVING and self._plan.kind is Kind.ROLLOUT:
            last = self._state.ring == len(self._plan.rings) - 1
            name = StepName.COMPLETED if last else StepName.PROMOTED
            yield _Row(name, verdict.reasons, metrics=verdict.metrics, counts=self._durations(fleet))

    def _next_ring(self, fleet: Fleet) -> Iterator[_Row]:
        ring = 0 if self._state.at is StepName.STARTED else self._state.ring + 1
        share = self._plan.rings[ring]
        eligible = fleet.eligible()
        already = frozenset(self._state.told)
        everyone = frozenset(node.node_id for node in eligible)
        chosen = everyone if share == 1 else choose(eligible, share, self._plan.rollout_id, already)
        new = tuple(sorted(chosen - already))
        if not new:
            yield from self._empty_ring(ring, eligible, already)
        elif self._plan.shadow_of(ring):
            yield _Row(StepName.SHADOWING, nodes=new, ring=ring)
        else:
            yield from self._serve(fleet, new, ring)

    def _empty_ring(self, ring: int, eligible: Sequence[Node], already: frozenset[str]) -> Iterator[_Row]:
        """A ring that adds no node is passed over if it is full; else it waits for nodes to come."""
        share = self._plan.rings[ring]
        if already and len(already) >= quota(len(eligible), share):
            name = StepName.COMPLETED if ring == len(self._plan.rings) - 1 else StepName.PROMOTED
            yield _Row(name, (f"a ring of {share:.0%} adds no node",), ring=ring)

    def _serve(self, fleet: Fleet, nodes: tuple[str, ...], ring: int | None = None) -> Iterator[_Row]:
        where = self._state.ring if ring is None else ring
        yield _Row(StepName.SERVING, nodes=nodes, ring=where)
        has_other_arm = self._plan.kind is Kind.AB and any(bundles.baseline for bundles in self._plan.bundles.values())
        if has_other_arm and (others := fleet.untold(self._state.told)):
            yield _Row(StepName.JOINED, nodes=others, counts={"baseline": 1})

    def _joining(self, fleet: Fleet) -> Iterator[_Row]:
        """Nodes that came when the whole fleet is to serve the version."""
        whole = self._plan.rings[self._state.ring] == 1.0 and self._state.at in (StepName.SERVING, StepName.OBSERVING)
        if (whole or self._state.at is StepName.COMPLETED) and (new := fleet.untold(self._state.told)):
            yield _Row(StepName.JOINED, nodes=new)

    def _enough_serve(self, fleet: Fleet) -> bool:
        nodes = [node for node in self._state.ring_nodes if fleet.online(node)]
        done = sum(fleet.serves(node, self._plan.version) or fleet.refuses(node, Told.SERVE) for node in nodes)
        served = any(fleet.serves(node, self._plan.version) for node in nodes)
        return served and done >= self._plan.rules.reported * len(nodes)

    def _ending(self, fleet: Fleet) -> Iterator[_Row]:
        if self._state.at is StepName.COMPLETED:
            yield from self._joining(fleet)
        elif self._state.at is StepName.RESTORED and (new := fleet.newcomers(self._state.told)):
            yield _Row(StepName.JOINED, nodes=tuple(new), counts={"back": 1})
        elif self._state.going_back and self._all_back(fleet):
            yield _Row(StepName.RESTORED, counts={"restore_s": (fleet.now_us - self._state.back_us) // 1_000_000})

    def _all_back(self, fleet: Fleet) -> bool:
        """Whether every node that is there serves the baseline and shadows nothing."""
        there = [node for node in self._state.told if fleet.online(node)]
        return all(fleet.serves(node, self._plan.baseline_version) and fleet.statuses[node].shadow is None for node in there)

    def _durations(self, fleet: Fleet) -> dict[str, int]:
        state = self._state
        first_us = state.first_told_us if state.first_told_us is not None else fleet.now_us
        since_us = state.serving_us or first_us
        return {"since_first_told_s": (fleet.now_us - first_us) // 10**6, "since_ring_s": (fleet.now_us - since_us) // 10**6}
