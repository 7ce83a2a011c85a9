"""A rollout from its start to its end, over a fleet in memory, with the real judge."""

import pytest
from answers import answer_of
from fleets import START_US, TARGET, envelope, plan_of
from hypothesis import given, settings
from hypothesis import strategies as st
from rollout_run import MINUTE_US, run_of

from sightline_contract.rollout import ModelStatus
from sightline_models.rollout.controller import Controller
from sightline_models.rollout.fleet import revision_of
from sightline_models.rollout.plan import Bundles, Wanted
from sightline_models.rollout.state import Told, fold
from sightline_models.rollout.steps import Alias, Audit, Desire, Record, StepName


def test_a_good_version_goes_ring_by_ring_to_the_whole_fleet() -> None:
    run = run_of()
    run.minutes(600)
    one_ring = [StepName.SERVING, StepName.OBSERVING]
    assert run.names() == [
        StepName.STARTED, StepName.SHADOWING, StepName.SHADOW_PASSED,
        *one_ring, StepName.PROMOTED, *one_ring, StepName.PROMOTED, *one_ring, StepName.COMPLETED,
    ]  # fmt: skip
    assert set(run.fleet.live().values()) == {"2"}
    serving = [len(row.nodes) for row in run.rows if row.name is StepName.SERVING]
    assert serving == [3, 12, 45]


def test_aliases_move_when_the_rollout_is_complete_and_not_before() -> None:
    run = run_of()
    while StepName.COMPLETED not in run.names():
        assert not any(isinstance(action, Alias) and action.alias == "champion" for action in run.done)
        run.minutes(5)
    last = {action.alias: action.version for action in run.done if isinstance(action, Alias)}
    # The registry takes 'candidate' from the new champion; by now it may be another version's.
    assert last == {"champion": "2", "previous": "1", "canary": None}


def test_a_judge_that_starts_again_asks_the_registry_and_the_audit_log_for_nothing_anew() -> None:
    """What a row asked for is in the judge's journal: asked for again, it would undo what people have done since."""
    run = run_of()
    run.minutes(600)
    assert run.names()[-1] is StepName.COMPLETED
    anew = Controller(run.controller.plan, run.rows)
    assert not [action for action in anew.step(run.now_us, run.fleet.statuses) if not isinstance(action, Desire)]


@pytest.mark.parametrize("harm", ["shadow", "confidence", "errors"])
def test_a_bad_version_touches_five_percent_and_every_touched_node_goes_back(harm: str) -> None:
    run = run_of()
    run.harm = harm
    run.minutes(300)
    assert StepName.ROLLED_BACK in run.names()
    assert run.names()[-1] is StepName.RESTORED
    assert len(run.touched()) <= 0.05 * 60
    assert set(run.fleet.live().values()) == {"1"}
    back = [message for message in run.fleet.published if message.serve and message.serve.envelope == envelope("1", 8)]
    assert {message.node_id for message in back} == run.touched()
    rolled_back = next(row for row in run.rows if row.name is StepName.ROLLED_BACK)
    assert rolled_back.reasons
    assert rolled_back.counts["since_first_told_s"] > 0


def test_the_reason_says_what_how_much_and_how_often() -> None:
    run = run_of()
    run.harm = "confidence"
    run.minutes(300)
    reasons = next(row for row in run.rows if row.name is StepName.ROLLED_BACK).reasons
    assert any(text.startswith("confidence: PSI") and "(limit 0.25) in" in text for text in reasons)


def test_canaries_that_all_give_the_version_up_end_the_rollout_at_once() -> None:
    run = run_of()
    run.fleet.refusing = set(run.fleet.statuses)
    run.minutes(120)
    rolled_back = next(row for row in run.rows if row.name is StepName.ROLLED_BACK)
    assert rolled_back.reasons == ("all 3 canaries gave the version up by themselves",)
    assert set(run.fleet.live().values()) == {"1"}


def test_a_node_that_was_away_catches_up_with_what_became_of_the_rollout() -> None:
    run = run_of()
    run.fleet.away = {"node-007", "node-008"}
    run.minutes(600)
    assert run.names()[-1] is StepName.COMPLETED
    assert run.fleet.live()["node-007"] == "1"
    run.fleet.away = set()
    run.minutes(10)
    assert set(run.fleet.live().values()) == {"2"}


def test_a_canary_that_is_away_during_the_rollback_goes_back_when_it_comes() -> None:
    run = run_of()
    run.minutes(60)
    canary = sorted(run.controller.state.ring_nodes)[0]
    assert run.fleet.live()[canary] == "2"
    run.fleet.away = {canary}
    run.harm = "confidence"
    run.minutes(240)
    assert run.names()[-1] is StepName.RESTORED
    run.fleet.away = set()
    run.fleet.report(run.now_us)
    assert run.fleet.live()[canary] == "1"


def test_a_node_that_joins_after_the_end_serves_the_new_version() -> None:
    run = run_of()
    run.minutes(600)
    run.fleet.add(["node-new"], run.now_us)
    run.minutes(10)
    assert run.fleet.live()["node-new"] == "2"
    assert run.names()[-1] is StepName.JOINED


def test_nodes_without_a_bundle_are_left_out_and_named() -> None:
    run = run_of()
    other = run.fleet.statuses["node-005"].model_copy(update={"targets": ("openvino-any-x86_64-int8",), "hardware": "openvino"})
    run.fleet.statuses["node-005"] = other
    run.minutes(600)
    assert "1 nodes left out: no bundle for openvino" in run.rows[0].reasons
    assert run.fleet.live()["node-005"] == "1"
    assert run.names()[-1] is StepName.COMPLETED


def test_sealed_bundles_go_to_nodes_that_have_a_key() -> None:
    run = run_of(sealed=True)
    for node_id in ("node-003", "node-004"):
        run.announce(node_id, f"key of {node_id}")
    run.give("node-003", "key of node-003")
    run.give("node-004", "the key before")
    run.minutes(90)
    assert run.touched() == {"node-003"}
    assert {m.shadow.wrapped_key for m in run.fleet.published if m.shadow} == {"new for key of node-003"}


def test_where_attestation_is_required_a_node_needs_a_good_one() -> None:
    run = run_of(require_attestation=True)

    def attested(status: ModelStatus) -> str:
        return "" if status.attestation == "good" else "its boot state is unknown"

    for node_id in ("node-001", "node-002"):
        text = "good" if node_id == "node-001" else "bad"
        run.fleet.statuses[node_id] = run.fleet.statuses[node_id].model_copy(update={"attestation": text})
    run.controller = Controller(run.plan, attested=attested)
    run.minutes(90)
    assert run.touched() == {"node-001"}
    assert "1 nodes left out: its boot state is unknown" in run.rows[0].reasons


def test_a_pause_holds_the_ring_and_a_resume_goes_on() -> None:
    run = run_of()
    run.minutes(60)
    run.want(Wanted.PAUSE)
    run.minutes(300)
    assert run.names()[-1] is StepName.PAUSED
    assert len(run.touched()) == 3
    run.want(Wanted.RUN)
    run.minutes(600)
    assert StepName.RESUMED in run.names()
    assert run.names()[-1] is StepName.COMPLETED


def test_harm_rolls_back_a_paused_rollout_too() -> None:
    run = run_of()
    run.minutes(60)
    run.want(Wanted.PAUSE)
    run.minutes(10)
    run.harm = "errors"
    run.minutes(120)
    assert StepName.ROLLED_BACK in run.names()


def test_an_abort_sends_everybody_back() -> None:
    run = run_of()
    run.minutes(200)
    assert "2" in run.fleet.live().values()
    run.want(Wanted.ABORT)
    run.minutes(30)
    assert run.names()[-2:] == [StepName.ABORTED, StepName.RESTORED]
    assert set(run.fleet.live().values()) == {"1"}


def test_a_ring_without_data_is_paused_with_a_reason_and_goes_on_when_data_comes() -> None:
    run = run_of()
    run.minutes(60)
    for _ in range(60):  # reports come, figures do not
        run.now_us += 5 * MINUTE_US
        run.fleet.report(run.now_us)
        actions = run.controller.step(run.now_us, run.fleet.statuses, answer_of(None, run.now_us))
        run.rows += [action.step for action in actions if isinstance(action, Record)]
        run.fleet.publish(actions)
    assert run.names()[-1] is StepName.PAUSED
    assert run.rows[-1].reasons[0].startswith("no verdict after")
    run.minutes(10)
    assert StepName.RESUMED in run.names()


def test_an_ab_comparison_ends_at_its_time_with_everybody_on_the_baseline() -> None:
    run = run_of(kind="ab", rings=(0.5,), shadow_s=0.0, until_us=START_US + 300 * MINUTE_US)
    run.minutes(200)
    assert list(run.fleet.live().values()).count("2") == 30
    run.minutes(120)
    assert run.names()[-2:] == [StepName.COMPARED, StepName.RESTORED]
    assert set(run.fleet.live().values()) == {"1"}


def test_the_other_arm_of_an_ab_comparison_gets_its_own_bundle() -> None:
    bundles = {TARGET: Bundles(candidate=envelope("2", 7), back=envelope("1", 8), baseline=envelope("1", 6))}
    run = run_of(kind="ab", rings=(0.5,), shadow_s=0.0, until_us=START_US + 300 * MINUTE_US, bundles=bundles)
    run.minutes(30)
    assert sorted(status.live.number for status in run.fleet.statuses.values()) == [6] * 30 + [7] * 30


def test_a_single_node_is_a_fleet() -> None:
    run = run_of(nodes=1)
    run.minutes(900)
    assert run.names()[-1] is StepName.COMPLETED
    assert run.fleet.live() == {"node-000": "2"}


def test_every_row_is_audited_once_under_a_name_of_its_own() -> None:
    run = run_of()
    run.minutes(600)
    ids = [action.record_id for action in run.done if isinstance(action, Audit)]
    assert ids == [f"r1:{row.seq}" for row in run.rows]


def test_a_judge_killed_after_a_row_was_written_tells_the_same_nodes() -> None:
    run = run_of()
    run.now_us += 5 * MINUTE_US
    actions = run.controller.step(run.now_us, run.fleet.statuses)
    rows = [action.step for action in actions if isinstance(action, Record)]
    told = {action.node_id: action.desired for action in actions if isinstance(action, Desire)}
    again = Controller(run.plan, rows).step(run.now_us + MINUTE_US, run.fleet.statuses)
    assert {action.node_id: action.desired for action in again if isinstance(action, Desire)} == told
    assert not any(isinstance(action, Record) for action in again)


def test_a_row_comes_before_what_it_tells_nodes() -> None:
    actions = run_of().controller.step(START_US, run_of().fleet.statuses)
    first = next(index for index, action in enumerate(actions) if isinstance(action, Desire))
    recorded = {node for action in actions[:first] if isinstance(action, Record) for node in action.step.nodes}
    assert recorded == {action.node_id for action in actions if isinstance(action, Desire)}


@settings(max_examples=25)
@given(
    nodes=st.integers(1, 45),
    harm_from=st.one_of(st.none(), st.integers(0, 60)),
    harm=st.sampled_from(["shadow", "confidence", "errors"]),
    restarts=st.sets(st.integers(0, 80), max_size=6),
    away=st.sets(st.integers(0, 44), max_size=6),
    wishes=st.dictionaries(st.integers(0, 80), st.sampled_from(list(Wanted)), max_size=3),
)
def test_whatever_happens_a_node_is_told_one_thing_and_has_a_model(nodes, harm_from, harm, restarts, away, wishes) -> None:
    run = run_of(nodes=nodes)
    for tick in range(80):
        run.harm = harm if harm_from is not None and tick >= harm_from else ""
        run.fleet.away = {f"node-{number:03d}" for number in away} if 10 <= tick < 60 else set()
        if tick in restarts:
            run.restart()
        if tick in wishes:
            run.want(wishes[tick])
        run.minutes(10, every=10)
    by_revision: dict[tuple[str, int], set[str]] = {}
    for message in run.fleet.published:
        by_revision.setdefault((message.node_id, message.revision), set()).add(message.model_dump_json(exclude={"issued_us"}))
        assert message.serve is not None or message.shadow is not None
    assert all(len(contents) == 1 for contents in by_revision.values())
    assert fold(run.rows) == run.controller.state
    assert fold([*run.rows, *run.rows]) == run.controller.state
    for ring, share in enumerate(run.plan.rings):
        until = {node for row in run.rows if row.ring <= ring for node in row.nodes}
        assert len(until) <= max(1, int(share * nodes + 1e-9))
    last = {message.node_id: message for message in sorted(run.fleet.published, key=lambda m: m.revision)}
    if run.controller.finished or run.controller.state.going_back:
        assert all(message.serve is not None for message in last.values())
    assert set(run.fleet.live().values()) <= {"1", "2"}


def test_revisions_grow_over_rollouts() -> None:
    first, second = plan_of(), plan_of(rollout_id="r2", number=9, return_number=10)
    assert max(revision_of(first, told) for told in Told) < min(revision_of(second, told) for told in Told)
