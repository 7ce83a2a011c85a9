"""Which nodes a ring takes: by a stable hash within strata of site and hardware.

Invariants, for any fleet: a ring never has more than its share of the fleet (rounded down; one node where that would be none);
who is in a ring is in all later ones; who is chosen depends on ids, the rollout and who was chosen before, and on no order.
Each rollout has its own order, so that it is not always the same nodes that take the risk.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b


@dataclass(frozen=True)
class Node:
    """A node that could take part. One that is not there now can be counted, but not chosen."""

    node_id: str
    site: str
    hardware: str
    online: bool = True

    @property
    def stratum(self) -> tuple[str, str]:
        """What nodes must share to stand for each other."""
        return self.site, self.hardware


def quota(nodes: int, share: float) -> int:
    """How many nodes a ring may have: the share rounded down, and at least one of any."""
    return min(nodes, max(1, math.floor(share * nodes + 1e-9)))


def rank(rollout_id: str, node_id: str) -> bytes:
    """Place of a node in a rollout's order."""
    return blake2b(node_id.encode(), digest_size=16, key=blake2b(rollout_id.encode(), digest_size=32).digest()).digest()


def choose(nodes: Iterable[Node], share: float, rollout_id: str, already: frozenset[str] = frozenset()) -> frozenset[str]:
    """Nodes of a ring: those of the rings before it, and as many more as the share leaves room for.

    Each stratum gets its part of the ring, whole nodes by largest remainder; where a stratum's nodes are not there, the ring
    is smaller.
    """
    by_stratum: dict[tuple[str, str], list[Node]] = defaultdict(list)
    for node in nodes:
        by_stratum[node.stratum].append(node)
    total = sum(len(members) for members in by_stratum.values())
    room = quota(total, share) - len(already)
    chosen = set(already)
    parts = _parts(by_stratum, quota(total, share), rollout_id) if total else {}
    for stratum in sorted(parts, key=lambda key: rank(rollout_id, repr(key))):
        members = by_stratum[stratum]
        wanted = parts[stratum] - sum(node.node_id in already for node in members)
        free = sorted((n.node_id for n in members if n.online and n.node_id not in already), key=lambda i: rank(rollout_id, i))
        taken = free[: max(min(wanted, room), 0)]
        room -= len(taken)
        chosen.update(taken)
    return frozenset(chosen) if chosen else _any_one(by_stratum, rollout_id)


def _any_one(by_stratum: dict[tuple[str, str], list[Node]], rollout_id: str) -> frozenset[str]:
    """The first node that is there, where the strata that have a part in the ring are all away."""
    there = [node.node_id for members in by_stratum.values() for node in members if node.online]
    return frozenset(sorted(there, key=lambda node_id: rank(rollout_id, node_id))[:1])


def _parts(by_stratum: dict[tuple[str, str], list[Node]], ring: int, rollout_id: str) -> dict[tuple[str, str], int]:
    """Seats of a ring by stratum, by largest remainder (Hamilton's method); ties by the rollout's order."""
    total = sum(len(members) for members in by_stratum.values())
    exact = {stratum: ring * len(members) / total for stratum, members in by_stratum.items()}
    parts = {stratum: math.floor(seats + 1e-9) for stratum, seats in exact.items()}
    by_remainder = sorted(exact, key=lambda key: (round(parts[key] - exact[key], 9), rank(rollout_id, repr(key))))
    for stratum in by_remainder[: ring - sum(parts.values())]:
        parts[stratum] += 1
    return parts
