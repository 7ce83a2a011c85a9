"""A new checkpoint is a new writer: Delta must not take its first batches for those of the old one, nor have it write again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_city import SmallCity, Uplink
from faulty_judge import assert_exactly_once, assert_facts_of
from faulty_run import FaultyRun

from sightline_lakehouse.tables import CAMERA_HEALTH, TRACKER_FACTS, Table

pytestmark = [pytest.mark.spark, pytest.mark.kafka, pytest.mark.faults]


def writers(tables: Path, table: Table) -> set[str]:
    """Transaction application ids in the table's log."""
    log = (tables / table.path / "_delta_log").glob("*.json")
    actions = (json.loads(line) for file in log for line in file.read_text(encoding="utf-8").splitlines())
    return {action["txn"]["appId"] for action in actions if "txn" in action}


def test_a_new_checkpoint_on_a_new_table_root_writes_everything_under_ids_of_its_own(
    run_of: Callable[[SmallCity], FaultyRun], uplink: Uplink
) -> None:
    """Protection: the transaction's application id is the query's, which is born with the checkpoint; with one id for all
    checkpoints both write under the same, and Delta would skip the second one's first batches on tables of the first.
    """
    city = SmallCity(30)
    uplink.send(city.messages)
    uplink.flush()
    ids = []
    for run in (run_of(city), run_of(city)):
        run.finish()
        assert_exactly_once(run.tables, uplink.acknowledged)
        assert_facts_of(run.tables, city)
        for table in (TRACKER_FACTS, CAMERA_HEALTH):
            ids.append(writers(run.tables, table))
    assert all(len(each) == 1 for each in ids)
    assert len(set.union(*ids)) == 4


def run_through(city: SmallCity, run_of: Callable[[SmallCity], FaultyRun], uplink: Uplink) -> FaultyRun:
    """A run that has taken all of the city's messages and ended."""
    uplink.send(city.messages)
    uplink.flush()
    run = run_of(city)
    run.finish()
    return run


def test_a_new_checkpoint_over_the_tables_of_another_is_refused_in_one_line_and_writes_nothing(
    run_of: Callable[[SmallCity], FaultyRun], uplink: Uplink
) -> None:
    """Protection: JobContext.claim(); without it the job reads the topic again and every camera has twice its messages."""
    city = SmallCity(30)
    run = run_through(city, run_of, uplink)
    kept = run.checkpoints.rename(run.home / "kept")
    for _ in range(2):
        run.start("--drain")
        line = run.last_words()
        assert "bronze/tracker_facts: holds what another checkpoint of tracking wrote: bring that back, or" in line
    assert_exactly_once(run.tables, uplink.acknowledged)
    shutil.rmtree(run.checkpoints)
    kept.rename(run.checkpoints)
    run.finish()
    assert_exactly_once(run.tables, uplink.acknowledged)
    assert_facts_of(run.tables, city)


def test_the_tables_behind_the_log_are_made_again_from_it_by_a_new_checkpoint_of_facts(
    run_of: Callable[[SmallCity], FaultyRun], uplink: Uplink
) -> None:
    """Protection: none but the log itself, which keeps every fact: tables and checkpoint of facts go together."""
    city = SmallCity(30)
    run = run_through(city, run_of, uplink)
    before = writers(run.tables, CAMERA_HEALTH)
    for folder in (run.checkpoints / "facts", *(run.tables / layer for layer in ("silver", "gold", "quarantine"))):
        shutil.rmtree(folder)
    run.finish(jobs="facts")
    assert_exactly_once(run.tables, uplink.acknowledged)
    assert writers(run.tables, CAMERA_HEALTH).isdisjoint(before)
