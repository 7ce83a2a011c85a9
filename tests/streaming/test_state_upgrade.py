"""A job of this release goes on from a checkpoint whose state an earlier release wrote."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import old_states
import pytest
from pyspark import cloudpickle

from sightline_contract.ids import shard_of
from sightline_lakehouse.tables import TRACKER_FACTS
from sightline_streaming import tracking
from sightline_streaming.core.state import VERSION, Identity, restore
from sightline_streaming.packed_state import unpack_state
from sightline_streaming.sharding import shard_keys

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql.streaming.state import GroupState
    from tests.streaming.conftest import Site


def operator_of_the_release_before(*given: Any) -> tracking.Operator:
    """The operator as a release had it whose states are of version 2."""
    operate = REAL_OPERATOR(*given)
    as_version_2 = old_states.as_version_2

    def track_shard(key: tuple[Any, ...], parts: "Iterator[pd.DataFrame]", state: "GroupState") -> "Iterator[pd.DataFrame]":
        yield from operate(key, parts, state)
        state.update((as_version_2(unpack_state(state.get[0])),))

    return track_shard


REAL_OPERATOR = tracking.shard_operator


@pytest.fixture
def release_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Has jobs write states of version 2; calling it has them write today's again."""
    cloudpickle.register_pickle_by_value(old_states)  # workers do not have the tests' modules
    monkeypatch.setattr(tracking, "shard_operator", operator_of_the_release_before)
    yield lambda: monkeypatch.setattr(tracking, "shard_operator", REAL_OPERATOR)
    cloudpickle.unregister_pickle_by_value(old_states)


def states(site: "Site") -> dict[int, bytes]:
    """The checkpoint's states by shard number."""
    store = site.spark.read.format("statestore").load(f"{site.config.checkpoint_root}/tracking")
    keys = shard_keys(site.config.shards, site.config.shuffle_partitions)
    rows = store.select("key.*", "value.groupState.*").collect()
    return {keys.index(row.shard): unpack_state(bytes(row.shard_state)) for row in rows}


@pytest.mark.spark
@pytest.mark.kafka
def test_a_job_goes_on_from_an_old_checkpoint_whose_state_is_of_the_version_before(
    site: "Site", release_before: Callable[[], None]
) -> None:
    """Protection: core.state.UPGRADES[2]; without it the second start fails: "does not read any more"."""
    site.send_batches(0, 1, 2)
    site.run("tracking")
    assert {old_states.version_of(state) for state in states(site).values()} == {2}

    release_before()
    site.send_batches(2, 3, 4, 5)
    site.run("tracking")
    facts = site.rows(TRACKER_FACTS)
    segments = [row for row in facts if row["kind"] == "segment"]
    assert sum(row["observations"] for row in segments) == 60
    assert {row["track_no"] for row in segments} == {1}
    assert [row["kind"] for row in facts].count("crossing") == 1
    assert sum(row["batches_duplicate"] for row in facts if row["kind"] == "health") == 1

    number = shard_of(site.camera, site.config.shards)
    state = states(site)[number]
    assert old_states.version_of(state) == VERSION
    assert site.camera.encode() in restore(state, 1_000_000, Identity(number, site.config.shards)).names
