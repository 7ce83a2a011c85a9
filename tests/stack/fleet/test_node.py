from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from sightline.fleet.detectors import Behaviour, Version, write_version
from sightline.fleet.engines import Engines
from sightline.fleet.fleet import TARGETS
from sightline.fleet.node import Place, SimulatedNode
from sightline.fleet.scenes import Pictures, pictures, streets
from sightline_edge.security import authority

START_US = 1_780_000_000_000_000
TICK_US = 900_000_000


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SimulatedNode]:
    baseline = write_version(tmp_path, Version("street", "1", Behaviour.BASELINE))
    authority.init(tmp_path / "pki", None, datetime.now(UTC))
    place = Place("node-1", "site-1", TARGETS[0])
    made = SimulatedNode(place, baseline, tmp_path / "pki" / "ca.pem", tmp_path / "node-1", Engines(), START_US)
    yield made
    made.close()


@pytest.fixture
def seen() -> Pictures:
    rng = np.random.default_rng(1)
    return pictures(START_US, streets(1, rng), 8, rng)[0]


def test_batches_are_numbered_as_a_real_nodes_are(node: SimulatedNode, seen: Pictures) -> None:
    told = [batch for tick in range(3) for batch in node.live(seen, START_US + tick * TICK_US)[1]]
    assert [(batch.session, batch.seq) for batch in told] == [(START_US, 0), (START_US, 1), (START_US, 2)]
    node.switch_off()
    node.switch_on(START_US + 9 * TICK_US)
    (batch,) = node.live(seen, START_US + 9 * TICK_US)[1]
    assert (batch.session, batch.seq) == (START_US + 9 * TICK_US, 0)


def test_without_a_link_reports_and_batches_are_kept_and_told_once(node: SimulatedNode, seen: Pictures) -> None:
    node.linked = False
    assert [node.live(seen, START_US + tick * TICK_US) for tick in range(2)] == [([], []), ([], [])]
    node.linked = True
    statuses, batches = node.live(seen, START_US + 2 * TICK_US)
    assert [batch.seq for batch in batches] == [0, 1, 2]
    assert len(statuses) == 3
    assert [len(each) for each in node.live(seen, START_US + 3 * TICK_US)] == [1, 1]
