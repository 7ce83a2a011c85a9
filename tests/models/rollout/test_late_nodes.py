"""Nodes that come late or change their key, of sealed and of open rollouts, while one runs and after its end."""

import pytest
from fleets import START_US
from rollout_run import MINUTE_US, Run, run_of

from sightline_models.rollout.plan import Kind, Wanted
from sightline_models.rollout.steps import StepName


def _sealed_run() -> Run:
    """A sealed rollout whose nodes all have their keys."""
    run = run_of(3, sealed=True, shadow_s=0.0, rings=(1.0,))
    for node_id in run.fleet.statuses:
        run.announce(node_id, f"key of {node_id}")
        run.give(node_id, f"key of {node_id}")
    return run


def test_a_node_that_comes_after_the_end_follows_once_it_has_a_key() -> None:
    run = _sealed_run()
    run.minutes(300)
    assert run.names()[-1] is StepName.COMPLETED
    run.come_with_own_model("late")
    run.announce("late", "key of late")
    run.minutes(20)
    assert "late" not in run.touched()
    run.give("late", "key of late", serial=1)
    run.minutes(20)
    assert run.fleet.live()["late"] == "2"
    assert run.serves("late") == "new for key of late"


def test_a_node_whose_key_changed_is_told_the_same_again_with_its_new_key() -> None:
    """Protection: the serial in the revision; without it the node takes nothing, since it has followed that revision."""
    run = _sealed_run()
    run.minutes(300)
    before = run.last("node-001")
    run.announce("node-001", "a new key")
    run.minutes(20)
    assert run.last("node-001") == before
    run.give("node-001", "a new key", serial=1)
    run.restart()  # a judge that starts now tells it, and nobody else anything
    published = len(run.fleet.published)
    run.minutes(20)
    assert [message.node_id for message in run.fleet.published[published:]] == ["node-001"]
    after = run.last("node-001")
    assert after.revision > before.revision
    assert after.serve is not None
    assert before.serve is not None
    assert (after.serve.envelope, after.serve.wrapped_key) == (before.serve.envelope, "new for a new key")


def test_the_way_back_goes_above_every_key_that_was_given_on_the_way() -> None:
    run = _sealed_run()
    run.minutes(10)
    run.announce("node-001", "a new key")
    run.give("node-001", "a new key", serial=7)
    run.minutes(10)
    forth = run.last("node-001")
    run.want(Wanted.ABORT)
    run.minutes(30)
    back = run.last("node-001")
    assert back.revision > forth.revision
    assert run.serves("node-001") == "old for a new key"
    assert run.names()[-1] is StepName.RESTORED
    run.announce("node-001", "a third key")
    run.give("node-001", "a third key", serial=8)
    run.minutes(20)
    assert run.last("node-001").revision > back.revision
    assert run.serves("node-001") == "old for a third key"


@pytest.mark.parametrize("sealed", [False, True])
def test_a_node_that_comes_after_a_rollback_gets_what_the_others_serve(sealed: bool) -> None:
    run = _sealed_run() if sealed else run_of(3)
    run.minutes(20)
    run.want(Wanted.ABORT)
    run.minutes(30)
    assert run.names()[-1] is StepName.RESTORED
    run.come_with_own_model("late")
    if sealed:
        run.announce("late", "key of late")
        run.minutes(10)
        assert "late" not in run.touched()
        run.give("late", "key of late", serial=1)
    run.restart()
    run.minutes(20)
    assert run.fleet.live()["late"] == "1"
    assert run.serves("late") == ("old for key of late" if sealed else "")
    assert (run.rows[-1].name, run.rows[-1].nodes) == (StepName.JOINED, ("late",))
    assert run.controller.finished


def test_a_comparison_that_is_over_leaves_newcomers_with_its_first_version() -> None:
    run = run_of(4, kind=Kind.AB, rings=(0.5,), shadow_s=0.0, until_us=START_US + 60 * MINUTE_US)
    run.minutes(90)
    assert run.names()[-1] is StepName.RESTORED
    run.come_with_own_model("late")
    run.minutes(20)
    assert run.fleet.live()["late"] == "1"


def test_the_end_of_a_rollout_brings_no_fleet_to_a_baseline_that_it_never_served() -> None:
    """Protection: the majority in Fleet.newcomers; without it an aborted first ring changes the whole fleet at once."""
    run = run_of(0)
    for number in range(20):
        run.come_with_own_model(f"node-{number}")
    run.minutes(20)
    run.want(Wanted.ABORT)
    run.minutes(60)
    assert run.names()[-1] is StepName.RESTORED
    assert len(run.touched()) == 1
    assert sorted(run.fleet.live().values()) == ["0"] * 19 + ["1"]
