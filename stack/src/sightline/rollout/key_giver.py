"""``sightline models rollout keys``: nodes that came later, or whose key changed, get keys of the newest rollout's parts.

Once, or as long as it is let. A look reads the plans, the keys that were given and what nodes announce; only where a node waits
does it come to the desk (key_topic.py), where one works at a time. Two that run at once see what the other one gave.
"""

import itertools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Final

from sightline.rollout.attesting import Attested
from sightline.rollout.desk import OvertakenError
from sightline.rollout.giving import ContentKeys, announce_keys, content_keys_of, wrap
from sightline.rollout.installation import Installation
from sightline.rollout.key_topic import KeyDesk, read_keys
from sightline.rollout.plan_topic import PlanFollower, newest_plan, read_plans
from sightline.rollout.status_follower import StatusFollower
from sightline_contract.errors import ConfigError, SightlineError
from sightline_contract.rollout import ModelStatus
from sightline_models.rollout.keys import NodeKeys, waiting
from sightline_models.rollout.plan import RolloutPlan

LOOK_S: Final = 5.0
_AT_ONCE: Final = 500  # nodes in a transaction, so that one that is overtaken has lost little
_TRIES: Final = 8
_RETRY_S: Final = 0.5
_RETRY_MOST_S: Final = 8.0
# Two devices of one name announce their keys in turn: neither gets a key with every report.
_EACH_NODE_S: Final = 60.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Giver:
    """Who gives keys: the folder of content keys, by which statements about the boot it goes, in whose name.

    ``attested`` is None where nobody said what a good statement is. ``tell`` gets a line for each node.
    """

    installation: Installation
    folder: Path
    attested: Attested | None
    actor: str
    tell: Tell
    warn: Tell

    def once(self) -> None:
        """Give keys to the nodes that wait for them now; raises SightlineError."""
        kafka = self.installation.config.kafka
        plan = newest_plan(read_plans(kafka), None)
        if not plan.sealed:
            raise ConfigError(f"rollout {plan.rollout_id}: its parts are not sealed, so no node needs a key")
        content = self.content_of(plan)
        statuses = self.installation.history.statuses()
        nodes = waiting(plan, statuses.values(), read_keys(kafka).get(plan.rollout_id, {}))
        if not nodes:
            self.tell(f"{plan.rollout_id}: all nodes that announce a public key have theirs")
            return
        for node_id, why in self.give(plan, content, nodes, Event()).items():
            self.warn(f"{node_id}: gets no key: {why}")

    def follow(self, to_stop: Event, look_s: float = LOOK_S) -> None:
        """Go on giving keys until ``to_stop`` is set. What can't be done is told once, and tried again.

        Raises ConfigError where the newest rollout is sealed and its content keys are not there when this begins.
        """
        follower = _Follower(self)
        try:
            while not to_stop.is_set():
                follower.look(to_stop)
                to_stop.wait(look_s)
        finally:
            follower.close()

    def content_of(self, plan: RolloutPlan) -> ContentKeys:
        """The plan's content keys; raises ConfigError where this giver can give none of them."""
        if plan.require_attestation and self.attested is None:
            raise ConfigError(
                f"rollout {plan.rollout_id} requires attestation: say which statements are good, --attest-policy and --trust"
            )
        return content_keys_of(plan, self.folder)

    def give(self, plan: RolloutPlan, content: ContentKeys, nodes: Sequence[ModelStatus], to_stop: Event) -> Mapping[str, str]:
        """Give keys to those of ``nodes`` that still wait; returns who gets none, and why. Raises SightlineError."""
        refused: dict[str, str] = {}
        for attempt in itertools.count(1):
            try:
                desk = KeyDesk(self.installation.config.kafka)
                while True:
                    known = desk.keys.get(plan.rollout_id, {})
                    left = [status for status in waiting(plan, nodes, known) if status.node_id not in refused]
                    if not left or to_stop.is_set():
                        break
                    refused |= self._give_some(desk, plan, content, left[:_AT_ONCE], known)
            except OvertakenError:
                if attempt == _TRIES:
                    raise
                to_stop.wait(min(_RETRY_S * 2**attempt, _RETRY_MOST_S) * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            else:
                break
        return refused

    def _give_some(
        self,
        desk: KeyDesk,
        plan: RolloutPlan,
        content: ContentKeys,
        nodes: Sequence[ModelStatus],
        known: Mapping[str, NodeKeys],
    ) -> Mapping[str, str]:
        kafka, now_us = self.installation.config.kafka, time.time_ns() // 1000
        made = wrap(plan.rollout_id, content, nodes, known, self.attested)
        if made.keys:
            desk.give(made.keys, lambda: announce_keys(plan, made.keys, made.reasons, self.actor, now_us, kafka))
        for keys in made.keys:
            self.tell(f"{keys.node_id}: was given its key of {plan.rollout_id}: {made.reasons[keys.node_id]}")
        return made.refused


class _Follower:
    """What a giver that goes on remembers from look to look; it holds one connection."""

    def __init__(self, giver: Giver) -> None:
        self._giver = giver
        self._plans = PlanFollower(giver.installation.config.kafka, group="rollout-keys")
        self._statuses = StatusFollower(giver.installation.history)
        self._given_s: dict[str, float] = {}
        self._told: dict[str, str] = {}  # what was said of a node, or of all ("")
        plan = self._plans.newest
        if plan is not None and plan.sealed:
            giver.content_of(plan)

    def close(self) -> None:
        self._plans.close()

    def look(self, to_stop: Event) -> None:
        try:
            self._look(to_stop)
            self._told.pop("", None)
        except SightlineError as error:
            self._warn("", str(error))

    def _look(self, to_stop: Event) -> None:
        self._plans.poll()
        self._statuses.poll()
        plan = self._plans.newest
        if plan is None or not plan.sealed:
            return
        now_s = time.monotonic()
        self._given_s = {node: at_s for node, at_s in self._given_s.items() if now_s - at_s < _EACH_NODE_S}
        nodes = waiting(plan, self._statuses.statuses.values(), self._plans.keys_of(plan.rollout_id))
        nodes = [status for status in nodes if status.node_id not in self._given_s]
        if nodes:
            refused = self._giver.give(plan, self._giver.content_of(plan), nodes, to_stop)
            self._given_s |= dict.fromkeys((status.node_id for status in nodes), now_s)
            for node_id, why in refused.items():
                self._warn(node_id, why)

    def _warn(self, node_id: str, why: str) -> None:
        if self._told.get(node_id) != why:
            self._giver.warn(f"{node_id}: gets no key: {why}" if node_id else why)
        self._told[node_id] = why
