"""The commands of rollouts on a real broker, registry, signer and store; no judge runs."""

from collections.abc import Iterator

import pytest
from model_messages import figures, report
from rollout_place import CPU, Place, said, seen

from sightline.broker import Broker, BrokerConfig
from sightline.ports import free_port
from sightline.rollout.plan_topic import PlanDesk
from sightline_contract.errors import ConfigError
from sightline_contract.targets import parse_target
from sightline_edge.rollout.trusted import Trusted
from sightline_models.rollout.plan import Kind, Wanted
from sightline_models.rollout.steps import StepName

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

GPU = "tensorrt-10.6.0-sm_90-fp16"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, jars: object) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("place")
    with Broker(BrokerConfig(home / "broker", free_port())) as broker:
        yield Place(home, broker)


@pytest.fixture
def tables(place: Place) -> Place:
    """The place with empty tables; whatever a test began before is over."""
    place.empty()
    return place


def test_a_start_signs_both_manifests_for_what_nodes_run_and_nodes_take_them_in_turn(tables: Place) -> None:
    tables.hear(*seen("a", "b"), *seen("c", targets=(GPU, CPU)))
    result = tables.start("rollout", "start", "candidate", "--canary", "10%", "--shadow", "10m", "--note", "sees more")
    assert result.exit_code == 0, result.exception
    plan = tables.plans()[-1]
    assert result.stdout.strip() == plan.rollout_id
    assert (plan.version, plan.baseline_version, plan.kind, plan.note) == ("2", "1", Kind.ROLLOUT, "sees more")
    assert (plan.rings, plan.shadow_s) == ((0.1, 0.25, 1.0), 600.0)
    assert set(plan.bundles) == {CPU}  # no engine was made for the GPU, and its node runs on the processor, too
    bundles = plan.bundles[CPU]
    trusted = Trusted((tables.home / "pki/ca.pem").read_bytes(), (parse_target(CPU),))
    now_us = plan.started_us + 1_000_000
    first = trusted.accept(bundles.candidate, now_us)
    assert (first.model_name, first.model_version, first.number) == ("blobs", "2", plan.number)
    assert (plan.return_number, plan.number) == (plan.number + 1, plan.number)
    for part in first.parts.values():
        assert (tables.home / "bundles/sha256" / part.digest.removeprefix("sha256:")).stat().st_size == part.bytes


def test_one_rollout_runs_at_a_time_and_numbers_only_grow(tables: Place) -> None:
    tables.hear(*seen("a"))
    assert tables.start("rollout", "start", "2").exit_code == 0
    first = tables.plans()[-1]
    assert said(tables.start("rollout", "start", "2")).startswith(f"rollout {first.rollout_id} still runs")
    tables.record(first, StepName.STARTED, StepName.COMPLETED)
    assert tables.start("rollout", "start", "2").exit_code == 0
    second = tables.plans()[-1]
    assert second.number == first.return_number + 1


def test_of_two_starts_at_once_one_is_refused(tables: Place) -> None:
    """Protection: PlanDesk's transaction; without its fence both plans are on the topic."""
    earlier, later = PlanDesk(tables.kafka), PlanDesk(tables.kafka)
    plan = tables.plans()[-1]
    with pytest.raises(ConfigError, match="another rollout was begun meanwhile"):
        earlier.begin(plan.model_copy(update={"rollout_id": "earlier"}))
    later.begin(plan.model_copy(update={"rollout_id": "later", "started_us": plan.started_us + 1}))
    ids = [each.rollout_id for each in tables.plans()]
    assert "later" in ids
    assert "earlier" not in ids


def test_what_cannot_begin_is_one_line(tables: Place) -> None:
    assert (
        said(tables.start("rollout", "start", "2"))
        == "no node has reported its targets in the last day: name them with --target"
    )
    tables.hear(*seen("g", targets=(GPU,)))
    assert (
        said(tables.start("rollout", "start", "2")) == f"blobs version 2: has no engine for what nodes run ({GPU}): compile it"
    )
    assert said(tables.start("rollout", "start", "1")) == "blobs version 1 is the baseline itself: name another version"
    assert said(tables.start("rollout", "start", "nightly")).startswith("blobs: no version is 'nightly'")
    assert said(tables.start("rollout", "start", "2", "--canary", "all")).startswith("'all': is no share of the fleet")
    for rings in ("5,25", "5,100,25", "5,25,25,100"):
        told = said(tables.start("rollout", "start", "2", "--rings", rings))
        assert told == f"--rings {rings}: must grow and end with 100, as in 5,25,100"


def test_pause_resume_and_abort_are_edits_of_the_plan_until_it_is_over(tables: Place) -> None:
    tables.hear(*seen("a"))
    assert tables.start("rollout", "start", "2").exit_code == 0
    for words, wanted in ((["pause"], Wanted.PAUSE), (["resume"], Wanted.RUN), (["abort", "too slow"], Wanted.ABORT)):
        assert tables.run("rollout", *words).exit_code == 0
        plan = tables.plans()[-1]
        assert plan.wanted is wanted
    assert (plan.edit, plan.note) == (3, "too slow")
    tables.record(plan, StepName.STARTED, StepName.ABORTED, StepName.RESTORED)
    assert said(tables.run("rollout", "resume")) == f"rollout {plan.rollout_id} is over: there is nothing to run"


def test_status_tells_rings_nodes_and_why_without_a_judge(tables: Place) -> None:
    tables.hear(*seen("a", "b", "c"))
    assert tables.start("rollout", "start", "2").exit_code == 0
    plan = tables.plans()[-1]
    assert "waits for the judge" in tables.run("rollout", "status").stdout
    tables.record(plan, StepName.STARTED, StepName.SERVING, nodes=("a",))
    tables.hear(report("a", 10, figures("2", name="blobs"), rollout_id=plan.rollout_id, revision=13))
    shown = tables.run("rollout", "status").stdout
    assert f"rollout {plan.rollout_id}: blobs 1 -> 2, serving" in shown
    rings = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if line.startswith("│")]
    assert ["1", "5%", "1", "1", "serving"] in rings
    assert ["2", "25%", "0", "0", "waiting"] in rings
    assert ["2", "blobs 1", "", "following", ""] in rings
    assert ["1", "blobs 2", "", "following", ""] in rings
    assert "because of serving" in shown
    assert "judge: never ran here" in shown
    assert plan.rollout_id in tables.run("rollout", "list").stdout


def test_a_comparison_serves_both_versions_and_leaves_the_fleet_with_the_first(tables: Place) -> None:
    tables.hear(*seen("a"))
    assert tables.start("ab", "start", "1", "2", "--share", "50%", "--for", "2h").exit_code == 0
    plan = tables.plans()[-1]
    assert (plan.kind, plan.version, plan.baseline_version, plan.rings) == (Kind.AB, "2", "1", (0.5,))
    assert plan.until_us == seen("a")[0].reported_us + 2 * 3600 * 1_000_000
    assert plan.bundles[CPU].baseline is None  # the champion is served already
