"""One node's agent against real bundles, real signatures and real models; only the clock is ours."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_rig import BLUE, DAY_US, NOW_US, RED, Bundle, Rig, Site, desired, detector, picture_model, tampered, write_model

from sightline_contract.errors import StorageError
from sightline_contract.model_card import MODEL_FILE
from sightline_contract.rollout import Phase, Slot
from sightline_contract.targets import parse_target
from sightline_edge.detector import Detector
from sightline_edge.rollout.store import State, Store


@pytest.fixture
def better(site: Site, tmp_path: Path) -> Bundle:
    return site.bundle(write_model(tmp_path / "better", "2", picture_model(left=0.12)), number=5)


@pytest.fixture
def ticket(site: Site, own: Path, tmp_path: Path) -> Bundle:
    """The way back: the model that the nodes began with, with a higher number."""
    return site.bundle(own, number=6)


@pytest.fixture
def faulty(site: Site, tmp_path: Path) -> Bundle:
    """It has parity on its golden clip, and fails on blue pictures."""
    return site.bundle(write_model(tmp_path / "faulty", "3", picture_model(fails_on_blue=True)), number=7)


def serving(rig: Rig, bundle: Bundle, revision: int = 1) -> None:
    rig.agent.take(desired(revision, serve=bundle.at()))
    rig.settle()
    assert rig.frame() == bundle.manifest.model_version


def test_a_desired_model_is_fetched_and_serves_from_the_next_frame(rig: Rig, better: Bundle) -> None:
    assert rig.frame() == "own"
    assert rig.agent.take(desired(1, serve=better.at()))
    assert rig.agent.phase is Phase.FETCHING
    rig.settle()
    assert rig.frame() == "2"
    status = rig.status()
    assert (status.phase, status.revision, status.rollout_id) == (Phase.FOLLOWING, 1, "r1")
    assert (status.live.model_version, status.live.number, status.live.digest) == ("2", 5, f"sha256:{better.name}")
    frames = {(each.model_version, each.slot, each.frames) for each in status.figures}
    assert frames == {("own", Slot.LIVE, 1), ("2", Slot.LIVE, 1)}
    rig.restart()
    assert rig.frame() == "2"


def test_a_candidate_runs_in_the_shadow_then_serves_without_being_loaded_again(
    make_rig: Callable[..., Rig], better: Bundle
) -> None:
    loads: list[Path] = []
    rig = make_rig(load=lambda folder, target: (loads.append(folder), detector(folder, target))[1])
    rig.agent.take(desired(1, shadow=better.at()))
    rig.settle()
    assert rig.frame() == "own"
    assert (rig.status().live.number, rig.status().shadow.number) == (0, 5)
    rig.agent.take(desired(2, serve=better.at()))
    rig.settle()
    assert rig.frame() == "2"
    assert rig.status().shadow is None
    assert len(loads) == 1


def test_a_disk_that_refuses_the_record_costs_no_engine_no_start_and_no_number(
    make_rig: Callable[..., Rig], site: Site, own: Path, better: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[Detector] = []
    closed: list[Detector] = []
    rig = make_rig(load=lambda folder, target: (engines.append(detector(folder, target)), engines[-1])[1])

    def close(engine: Detector) -> None:
        closed.append(engine)

    monkeypatch.setattr(Detector, "close", close)
    write = Store.write

    def full(store: Store, state: State) -> None:
        if state.live != store.state.live:
            raise StorageError("the disk is full")
        write(store, state)

    with monkeypatch.context() as small:
        small.setattr(Store, "write", full)
        rig.agent.take(desired(1, serve=better.at()))
        rig.settle(120)
        assert rig.frame() == "own"
        assert len(engines) > rig.config.trial_starts, "it goes on trying"
        assert closed == engines
        assert rig.agent.state.starts == {}
    older = site.bundle(own, number=better.manifest.number - 1)
    rig.agent.take(desired(2, serve=older.at()))
    rig.settle(600)
    assert (rig.status().phase, rig.status().live.number) == (Phase.FOLLOWING, older.manifest.number)


def test_going_back_takes_a_manifest_with_a_higher_number_and_fetches_nothing_that_is_there(
    rig: Rig, better: Bundle, ticket: Bundle, site: Site, own: Path
) -> None:
    older = site.bundle(own, number=4)
    serving(rig, better)
    serving(rig, ticket, revision=2)
    rig.agent.take(desired(3, serve=older.at()))
    rig.settle()
    assert rig.frame() == "own"
    assert rig.agent.phase is Phase.REFUSED
    assert "number" in rig.status().reason


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("tampered", "signature"),
        ("foreign", "signature"),
        ("expired", "expiry"),
        ("other target", "target"),
        ("truncated", "bytes long"),
        ("changed", "another content"),
        ("mixed", "another content"),
        ("no envelope", "form"),
        ("replayed", "number"),
        ("no parity", "does not see what the model sees"),
    ],
)
def test_a_bad_bundle_is_refused_once_and_the_model_before_it_serves_on(
    rig: Rig, site: Site, better: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, rule: str
) -> None:
    serving(rig, better)
    other = write_model(tmp_path / "other", "9", picture_model(left=0.3))
    bad = site.bundle(other, number=4 if kind == "replayed" else 8)
    assignment = bad.at()
    if kind == "tampered":
        assignment = tampered(bad).at()
    elif kind == "foreign":
        assignment = Site(tmp_path / "foreign").bundle(other, number=8).at()
    elif kind == "expired":
        assignment = site.bundle(other, number=8, expires_us=NOW_US + 1).at()
    elif kind == "other target":
        assignment = site.bundle(other, number=8, target=parse_target("openvino-any-x86_64-fp32")).at()
    elif kind == "truncated":
        bad.part(MODEL_FILE).write_bytes(bad.part(MODEL_FILE).read_bytes()[:-10])
    elif kind == "changed":
        content = bytearray(bad.part(MODEL_FILE).read_bytes())
        content[100] ^= 1
        bad.part(MODEL_FILE).write_bytes(content)
    elif kind == "mixed":  # each part is signed, but not together: what is there under one name is another's of its size
        size = bad.part(MODEL_FILE).stat().st_size
        bad.part(MODEL_FILE).write_bytes(better.part(MODEL_FILE).read_bytes().ljust(size, b"\0")[:size])
    elif kind == "no envelope":
        assignment = assignment.model_copy(update={"envelope": '{"payload": 1}'})
    elif kind == "no parity":
        assignment = site.bundle(other, number=8, golden_of=rig.own).at()
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        rig.agent.take(desired(2, serve=assignment))
        rig.settle(3600)
    status = rig.status()
    assert status.phase is Phase.REFUSED
    assert rule in status.reason
    assert "\n" not in status.reason
    assert [record for record in caplog.records if "refused" in record.message] == caplog.records
    assert len(caplog.records) == 1
    assert rig.frame() == "2"
    assert (status.live.number, rig.agent.state.live) == (5, better.name)
    rig.restart()
    rig.settle()
    assert rig.frame() == "2"
    assert not list((rig.state / "models/partial").iterdir())


def test_what_could_not_be_believed_is_tried_again_with_the_next_revision_and_what_failed_here_is_not(
    rig: Rig, site: Site, better: Bundle, own: Path, tmp_path: Path
) -> None:
    content = better.part(MODEL_FILE).read_bytes()
    better.part(MODEL_FILE).write_bytes(content[:-1])
    rig.agent.take(desired(1, serve=better.at()))
    rig.settle()
    better.part(MODEL_FILE).write_bytes(content)
    rig.settle(3600)
    assert rig.agent.phase is Phase.REFUSED
    serving(rig, better, revision=2)

    blind = site.bundle(write_model(tmp_path / "blind", "9", picture_model(gain=0.5)), number=8, golden_of=own)
    rig.agent.take(desired(3, serve=blind.at()))
    rig.settle()
    assert rig.agent.phase is Phase.REFUSED
    before = rig.agent.state
    rig.agent.take(desired(4, serve=blind.at()))
    rig.settle()
    assert (rig.agent.phase, rig.agent.state.refused) == (Phase.REFUSED, before.refused)
    assert rig.frame() == "2"


def test_lower_revisions_and_other_nodes_messages_change_nothing(rig: Rig, better: Bundle, ticket: Bundle) -> None:
    serving(rig, better, revision=7)
    assert not rig.agent.take(desired(6, serve=ticket.at()))
    assert not rig.agent.take(desired(7, serve=ticket.at()))
    assert not rig.agent.take(desired(8, serve=ticket.at(), node_id="another"))
    rig.restart()
    assert not rig.agent.take(desired(6, serve=ticket.at()))
    rig.settle()
    assert rig.frame() == "2"


def test_a_model_that_fails_too_often_is_put_back_at_once_and_no_frame_is_lost(
    rig: Rig, better: Bundle, faulty: Bundle
) -> None:
    serving(rig, better)
    serving(rig, faulty, revision=2)
    rig.status()
    seen = [rig.frame(BLUE) for _ in range(7)]
    assert seen == ["2"] * 7  # the first five were the faulty model's to see: the one before it saw them instead
    rig.settle()
    status = rig.status()
    by_version = {each.model_version: (each.frames, each.errors) for each in status.figures}
    assert by_version == {"3": (0, 5), "2": (7, 0)}
    assert (status.phase, status.live.model_version) == (Phase.REFUSED, "2")
    assert "5 of the last 6 inferences failed" in status.reason
    rig.restart()
    rig.agent.take(desired(3, serve=faulty.at()))
    rig.settle()
    assert (rig.frame(), rig.agent.phase) == ("2", Phase.REFUSED)


def test_a_few_failures_are_taken_over_frame_by_frame(rig: Rig, better: Bundle, faulty: Bundle) -> None:
    serving(rig, better)
    serving(rig, faulty, revision=2)
    assert [rig.frame(pixels) for pixels in (RED, BLUE, RED, BLUE, RED)] == ["3", "2", "3", "2", "3"]
    rig.settle()
    assert rig.agent.phase is Phase.FOLLOWING


def test_after_its_trial_a_model_that_fails_is_still_put_back_for_the_one_before(
    rig: Rig, better: Bundle, faulty: Bundle
) -> None:
    serving(rig, better)
    rig.now_us += 400_000_000
    serving(rig, faulty, revision=2)
    rig.now_us += 400_000_000
    rig.settle()
    assert rig.agent.state.starts == {}
    rig.restart()
    assert [rig.frame(BLUE) for _ in range(6)] == ["2"] * 6
    rig.settle()
    assert rig.status().live.model_version == "2"


def test_a_model_that_the_node_does_not_survive_is_put_back_at_the_start(rig: Rig, better: Bundle, faulty: Bundle) -> None:
    serving(rig, better)
    rig.now_us += 400_000_000
    rig.settle()
    serving(rig, faulty, revision=2)
    for _ in range(2):
        rig.restart()
        assert rig.frame() == "3"
    rig.restart()
    assert rig.frame() == "2"
    rig.settle()
    status = rig.status()
    assert (status.phase, status.live.model_version) == (Phase.REFUSED, "2")
    assert "did not survive" in status.reason


def test_ends_in_order_and_ends_after_the_trial_are_no_crashes(rig: Rig, better: Bundle) -> None:
    serving(rig, better)
    for _ in range(5):
        rig.restart(orderly=True)
    rig.now_us += 400_000_000
    rig.settle()
    for _ in range(5):
        rig.restart()
    assert rig.frame() == "2"


def test_a_candidate_that_takes_the_node_down_from_the_shadow_is_not_started_for_ever(rig: Rig, better: Bundle) -> None:
    rig.agent.take(desired(1, shadow=better.at()))
    for _ in range(3):
        rig.settle()
        assert rig.agent.switch.shadow is not None
        rig.restart()
    rig.settle()
    assert rig.agent.switch.shadow is None
    assert (rig.agent.phase, rig.frame()) == (Phase.REFUSED, "own")


def test_a_source_that_does_not_answer_is_tried_again_with_back_off(rig: Rig, better: Bundle, tmp_path: Path) -> None:
    elsewhere = tmp_path / "not-yet"
    rig.agent.take(desired(1, serve=better.at(str(elsewhere))))
    rig.settle(3600)
    assert rig.agent.phase is Phase.FETCHING
    assert "is not there" in rig.status().reason
    assert 10 <= rig.agent._failures <= 30
    elsewhere.symlink_to(better.store)
    rig.settle(600)
    assert (rig.frame(), rig.agent.phase) == ("2", Phase.FOLLOWING)


def test_a_model_damaged_on_the_disk_is_replaced_by_the_one_before_and_fetched_again(
    rig: Rig, better: Bundle, ticket: Bundle
) -> None:
    serving(rig, better)
    serving(rig, ticket, revision=2)
    damaged = rig.state / "models" / ticket.name / MODEL_FILE
    damaged.write_bytes(b"\0" * damaged.stat().st_size)
    rig.restart()
    assert rig.frame() == "2"
    rig.settle()
    assert rig.frame() == "own"
    assert rig.status().live.number == 6


def test_a_record_that_cannot_be_read_leaves_the_nodes_own_model_and_the_next_message_mends_it(
    rig: Rig, better: Bundle
) -> None:
    serving(rig, better)
    (rig.state / "models/state.json").write_text('{"live": 7')
    rig.restart()
    assert rig.frame() == "own"
    serving(rig, better)


def test_an_expired_model_that_serves_goes_on_and_one_set_back_clock_revives_nothing(
    rig: Rig, better: Bundle, site: Site, tmp_path: Path
) -> None:
    late = site.bundle(
        write_model(tmp_path / "late", "4"), number=9, issued_us=NOW_US + 20 * DAY_US, expires_us=NOW_US + 30 * DAY_US
    )
    serving(rig, better)
    rig.now_us = NOW_US + 21 * DAY_US
    rig.restart()
    assert rig.frame() == "2"
    serving(rig, late, revision=2)
    rig.now_us = NOW_US
    rig.restart()
    rig.agent.take(desired(3, serve=site.bundle(write_model(tmp_path / "old", "5"), number=10).at()))
    rig.settle()
    assert (rig.frame(), rig.agent.phase) == ("4", Phase.REFUSED)
    assert "expiry" in rig.status().reason


def test_a_sealed_bundle_needs_the_nodes_key(make_rig: Callable[..., Rig], site: Site, tmp_path: Path) -> None:
    from sightline_models.sealing import new_content_key, wrap_key

    content_key = new_content_key()
    sealed = site.bundle(write_model(tmp_path / "sealed", "2"), number=5, content_key=content_key)
    without, rig = make_rig(), make_rig(key=tmp_path / "node-sealing.key")
    wrapped = wrap_key(content_key, rig.status().public_key, "node")
    assignment = sealed.at().model_copy(update={"wrapped_key": wrapped})
    for each in (without, rig):
        each.agent.take(desired(1, serve=assignment))
        each.settle()
    assert (without.frame(), without.agent.phase) == ("own", Phase.REFUSED)
    assert "no key" in without.status().reason
    assert (rig.frame(), rig.agent.phase) == ("2", Phase.FOLLOWING)


def test_only_what_may_be_needed_stays_on_the_disk(rig: Rig, better: Bundle, ticket: Bundle, faulty: Bundle) -> None:
    for revision, bundle in enumerate((better, ticket, faulty), 1):
        serving(rig, bundle, revision)
        rig.settle()
    models = rig.state / "models"
    assert {each.name for each in models.iterdir() if each.is_dir()} == {"parts", "partial", ticket.name, faulty.name}
    needed = {part.digest for bundle in (ticket, faulty) for part in bundle.manifest.parts.values()}
    assert {f"sha256:{part.name}" for part in (models / "parts").iterdir()} == needed


def test_what_expires_while_it_is_fetched_is_not_taken_into_service(
    make_rig: Callable[..., Rig], site: Site, tmp_path: Path
) -> None:
    large = write_model(tmp_path / "large", "2", picture_model(padding=2_000_000))
    rig = make_rig(max_bytes_per_s=100_000)
    rig.agent.take(desired(1, serve=site.bundle(large, number=5, expires_us=NOW_US + 15_000_000).at()))
    rig.settle()
    assert (rig.frame(), rig.agent.phase) == ("own", Phase.REFUSED)
    assert "expiry" in rig.status().reason
