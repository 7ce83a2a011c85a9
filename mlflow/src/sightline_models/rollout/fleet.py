"""What nodes' latest reports say about a rollout: who can take part, who is there, who serves what."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sightline_contract.rollout import Assignment, DesiredModels, ModelStatus, Phase
from sightline_models.judge.shadow import ShadowCohort
from sightline_models.judge.verdict import Cohort
from sightline_models.rollout.keys import MOST_SERIALS, NodeKeys, fits
from sightline_models.rollout.plan import Bundles, RolloutPlan
from sightline_models.rollout.state import State, Told
from sightline_models.rollout.strata import Node

# More than there are things that a node can be told.
_TOLD = 10


def revision_of(plan: RolloutPlan, told: Told, keys: NodeKeys | None = None) -> int:
    """Grows with what is told, and with every key that the node is given meanwhile; over rollouts, since numbers do."""
    return (plan.number * _TOLD + told) * MOST_SERIALS + (keys.serial if keys else 0)


@dataclass(frozen=True)
class Fleet:
    """All nodes ever heard of, as of ``now_us``."""

    plan: RolloutPlan
    statuses: Mapping[str, ModelStatus]
    now_us: int
    attested: Callable[[ModelStatus], str]
    keys: Mapping[str, NodeKeys]  # of sealed parts, by node

    def bundles(self, node_id: str) -> Bundles | None:
        """Those of the node's best target that the plan has."""
        status = self.statuses.get(node_id)
        return self.plan.bundles_for(status.targets) if status else None

    def revision(self, node_id: str, told: Told) -> int:
        """The revision under which the node is told so."""
        return revision_of(self.plan, told, self.keys.get(node_id))

    def hindrance(self, node_id: str) -> str:
        """Why the node can't take part, or nothing."""
        status = self.statuses[node_id]
        if self.bundles(node_id) is None:
            return f"no bundle for {status.hardware}"
        if self.plan.sealed and not fits(self.keys.get(node_id), status):
            return "no key of the sealed parts: see 'sightline models rollout keys'"
        if self.plan.require_attestation:
            return self.attested(status) if status.attestation else "no attestation"
        return ""

    def eligible(self) -> list[Node]:
        """Nodes that can take part, by id."""
        able = [status for node_id, status in sorted(self.statuses.items()) if not self.hindrance(node_id)]
        return [Node(s.node_id, s.site, s.hardware, self.online(s.node_id)) for s in able]

    def left_out(self) -> tuple[str, ...]:
        """One sentence for each reason to leave nodes out."""
        counted = Counter(reason for node_id in sorted(self.statuses) if (reason := self.hindrance(node_id)))
        return tuple(f"{count} nodes left out: {reason}" for reason, count in counted.items())

    def online(self, node_id: str) -> bool:
        """Whether it was heard of lately."""
        status = self.statuses.get(node_id)
        return status is not None and self.now_us - status.reported_us <= self.plan.rules.silent_after * 1e6

    def serves(self, node_id: str, version: str) -> bool:
        """Whether it said so last."""
        status = self.statuses.get(node_id)
        return status is not None and (status.live.model_name, status.live.model_version) == (self.plan.model_name, version)

    def refuses(self, node_id: str, told: Told) -> bool:
        """Whether it refuses what it was told, or took it and gave it up."""
        status = self.statuses.get(node_id)
        return (
            status is not None
            and status.phase is Phase.REFUSED
            and status.revision == self.revision(node_id, told)
            and not (told is Told.SERVE and self.serves(node_id, self.plan.version))
        )

    def heard_since(self, node_id: str, since_us: int) -> bool:
        """Whether it was there at that time or has come since."""
        status = self.statuses.get(node_id)
        return status is not None and status.reported_us >= since_us - self.plan.rules.silent_after * 1e6

    def controls(self, state: State, since_us: int) -> frozenset[str]:
        """Nodes that serve the baseline and were told nothing else."""
        free = (node for node in self.statuses if state.told.get(node, (Told.BASELINE, 0))[0] is Told.BASELINE)
        return frozenset(n for n in free if self.serves(n, self.plan.baseline_version) and self.heard_since(n, since_us))

    def cohort(self, state: State) -> Cohort:
        """Who is compared in the current ring."""
        since_us = state.serving_us
        told = [n for n, (what, _) in state.told.items() if what is Told.SERVE and self.heard_since(n, since_us)]
        reverted = [node for node in told if self.refuses(node, Told.SERVE)]
        serving = [node for node in told if self.serves(node, self.plan.version)]
        vanished = [node for node in told if not self.online(node) and node not in serving and node not in reverted]
        controls = self.controls(state, since_us)
        swapped_us = since_us + int(self.plan.rules.swap * 1e6)
        # Silence by windows and figures are the ring's own nodes'; those of earlier rings count where they give up.
        ring = [node for node in (*serving, *vanished) if node in state.ring_nodes]
        return Cohort(
            since_us=since_us,
            canaries=len(ring),
            controls=len(controls),
            settled_us=min(swapped_us, state.observing_us or swapped_us),
            observing_us=state.observing_us,
            told=len(told),
            reverted=len(reverted),
            silent=sum(not self.online(node) for node in ring),
            vanished=sum(node in vanished for node in ring),
            controls_silent=sum(not self.online(node) for node in controls),
        )

    def shadow_cohort(self, state: State, shadow_s: float) -> ShadowCohort:
        """Whose shadow is judged in the current ring."""
        told = [node for node in state.ring_nodes if self.heard_since(node, state.since_us)]
        running = [node for node in told if self._shadows(node)]
        refused = [node for node in told if self.refuses(node, Told.SHADOW)]
        there = [node for node in told if self.online(node) or node in running]
        return ShadowCohort(state.since_us, shadow_s, len(running), len(there), len(refused))

    def _shadows(self, node_id: str) -> bool:
        shadow = self.statuses[node_id].shadow
        return shadow is not None and shadow.model_version == self.plan.version

    def counts(self, state: State) -> dict[str, int]:
        """Nodes by what they do, for a row."""
        told = state.told
        return {
            "fleet": len(self.statuses),
            "online": sum(self.online(node) for node in self.statuses),
            "told": sum(what is not Told.BASELINE for what, _ in told.values()),
            "touched": sum(self.touched(node) for node in told),
            "serving": sum(self.serves(node, self.plan.version) for node in self.statuses),
        }

    def newcomers(self, told: Collection[str]) -> list[str]:
        """Nodes that are there, were told nothing and serve something else, where most of those like them serve the baseline.

        Where most do not, the fleet was never brought to the baseline, and it is not for the end of a rollout to do so.
        """
        there = [node_id for node_id in self.statuses if self.online(node_id) and self.bundles(node_id)]
        serving = [node_id for node_id in there if self.serves(node_id, self.plan.baseline_version)]
        if 2 * len(serving) < len(there):
            return []
        known = {*serving, *told}
        return sorted(node_id for node_id in there if node_id not in known and not self.hindrance(node_id))

    def untold(self, told: Collection[str]) -> tuple[str, ...]:
        """Nodes that can take part and were told nothing, by id."""
        return tuple(node_id for node_id in sorted(self.statuses) if node_id not in told and not self.hindrance(node_id))

    def touched(self, node_id: str) -> bool:
        """Whether the node has taken notice of the rollout."""
        status = self.statuses.get(node_id)
        return status is not None and (status.rollout_id == self.plan.rollout_id or self.serves(node_id, self.plan.version))

    def desired(self, node_id: str, told: Told, at_us: int) -> DesiredModels | None:
        """The message that tells a node so; None if it can't follow.

        That is where the plan has no bundle for any target that it still names, or there is no key for it.
        """
        bundles, keys = self.bundles(node_id), self.keys.get(node_id)
        if bundles is None or (self.plan.sealed and keys is None):
            return None
        new, old = (keys.candidate, keys.baseline) if keys else (None, None)
        assignments = {
            Told.SHADOW: self._assignment(bundles.candidate, new),
            Told.SERVE: self._assignment(bundles.candidate, new),
            Told.BASELINE: self._assignment(bundles.baseline or bundles.back, old),
            Told.BACK: self._assignment(bundles.back, old),
        }
        return DesiredModels(
            node_id=node_id,
            rollout_id=self.plan.rollout_id,
            revision=self.revision(node_id, told),
            issued_us=at_us,
            serve=None if told is Told.SHADOW else assignments[told],
            shadow=assignments[told] if told is Told.SHADOW else None,
        )

    def _assignment(self, envelope: str, key: str | None) -> Assignment:
        return Assignment(envelope=envelope, sources=self.plan.sources, wrapped_key=key)
