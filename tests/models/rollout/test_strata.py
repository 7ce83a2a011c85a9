"""Rings: nested, within their share, spread over strata, stable."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sightline_models.rollout.strata import Node, choose, quota

RINGS = (0.05, 0.25, 1.0)
sites, hardware = st.sampled_from(["north", "south", "east"]), st.sampled_from(["cpu", "gpu"])
nodes = st.builds(Node, st.integers(0, 10**6).map(str), sites, hardware, st.booleans())
fleets = st.lists(nodes, min_size=1, max_size=80, unique_by=lambda node: node.node_id)


@given(fleets, st.text(min_size=1))
def test_rings_are_nested_and_never_larger_than_their_share(fleet: list[Node], rollout_id: str) -> None:
    before: frozenset[str] = frozenset()
    for share in RINGS:
        ring = choose(fleet, share, rollout_id, before)
        assert before <= ring
        assert len(ring) <= max(1, int(share * len(fleet) + 1e-9))
        before = ring


@given(fleets, st.text(min_size=1), st.randoms())
def test_the_order_in_which_nodes_are_known_does_not_matter(fleet: list[Node], rollout_id: str, random) -> None:
    shuffled = fleet.copy()
    random.shuffle(shuffled)
    assert choose(fleet, 0.25, rollout_id) == choose(shuffled, 0.25, rollout_id)


@given(fleets, fleets)
def test_nodes_that_come_later_displace_nobody(fleet: list[Node], later: list[Node]) -> None:
    first = choose(fleet, 0.25, "r1")
    known = {node.node_id for node in fleet}
    grown = [*fleet, *(node for node in later if node.node_id not in known)]
    assert first <= choose(grown, 0.25, "r1", first)


@given(fleets)
def test_a_ring_takes_a_node_if_any_is_there(fleet: list[Node]) -> None:
    assert bool(choose(fleet, 0.05, "r1")) == any(node.online for node in fleet)


def test_every_stratum_has_its_part_of_the_ring() -> None:
    fleet = [Node(f"n{i}", f"site-{i % 4}", "cpu" if i % 8 < 6 else "gpu") for i in range(400)]
    ring = choose(fleet, 0.25, "r1")
    held = Counter(node.stratum for node in fleet if node.node_id in ring)
    whole = Counter(node.stratum for node in fleet)
    assert all(abs(held[stratum] - whole[stratum] / 4) < 1 for stratum in whole)


def test_another_rollout_takes_other_nodes() -> None:
    fleet = [Node(f"n{i}", "site", "cpu") for i in range(200)]
    assert choose(fleet, 0.05, "r1") != choose(fleet, 0.05, "r2")
    assert choose(fleet, 0.05, "r1") == choose(fleet, 0.05, "r1")


def test_a_share_that_binary_fractions_cannot_hold_is_rounded_right() -> None:
    assert quota(100, 0.29) == 29
    assert quota(100, 0.07) == 7
    assert quota(19, 0.05) == 1
