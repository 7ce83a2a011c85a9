"""The commands of rollouts on a real broker, registry, signer and store; no judge runs."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np
import pytest
from bundles import SiteOfModels
from deltalake import write_deltalake
from model_messages import figures, report
from registered_blobs import register_blobs
from sample_tables import as_arrow
from typer.testing import CliRunner, Result

from sightline.broker import Broker, BrokerConfig
from sightline.models import models_app
from sightline.ports import free_port
from sightline.rollout.plan_topic import PlanDesk, read_plans
from sightline.rollout.records import row_of
from sightline_contract.errors import ConfigError, SightlineError
from sightline_contract.rollout import ModelStatus
from sightline_contract.targets import parse_target
from sightline_edge.rollout.trusted import Trusted
from sightline_edge.security.authority import Authority, init
from sightline_lakehouse.ddl import create_local_tables
from sightline_lakehouse.tables import MODEL_ROLLOUTS, MODEL_STATUS
from sightline_models.registry import Registry
from sightline_models.rollout.plan import Kind, RolloutPlan, Wanted
from sightline_models.rollout.steps import Step, StepName
from sightline_streaming.archived import Received
from sightline_streaming.config import KafkaConfig
from sightline_streaming.model_reports import sort_reports

pytestmark = pytest.mark.kafka

CPU = "onnxruntime-any-x86_64-fp32"
GPU = "tensorrt-10.6.0-sm_90-fp16"


class Place:
    """A home folder with its broker, two registered versions, a signer, a clip."""

    def __init__(self, home: Path, broker: Broker) -> None:
        self.home, self.broker = home, broker
        self.kafka = KafkaConfig(bootstrap_servers=broker.bootstrap)
        self.uri = f"sqlite:///{home}/mlflow.db"
        self.site = SiteOfModels(home)
        init(home / "pki", None, datetime.now(UTC))
        Authority(home / "pki", None).issue("release", home, datetime.now(UTC), signer=True)
        register_blobs(Registry(self.uri), home, "blobs", "old", "new")
        Registry(self.uri).promote("blobs", 1, "ada")
        self.clip = write_clip(home / "clip.mp4")

    def run(self, *words: str) -> Result:
        at = ["--home", str(self.home), "--port", str(self.broker.config.port)]
        return CliRunner().invoke(models_app, [*words, *at], env={"COLUMNS": "200"})

    def start(self, *words: str) -> Result:
        release = self.home / "release"
        signed = ["--signer", str(release / "signer.pem"), "--key", str(release / "signer.key"), "--clip", str(self.clip)]
        return self.run(*words, "--model", "blobs", *signed, "--registry", self.uri)

    def plans(self) -> list[RolloutPlan]:
        return list(read_plans(self.kafka).values())

    def hear(self, *statuses: ModelStatus) -> None:
        values = [status.model_dump_json().encode() for status in statuses]
        rows = sort_reports(Received("model_status", 0, n, 0, value) for n, value in enumerate(values)).rows[MODEL_STATUS]
        write_deltalake(str(self.home / "tables" / MODEL_STATUS.path), rows, mode="append")

    def record(self, plan: RolloutPlan, *steps: StepName, nodes: tuple[str, ...] = ()) -> None:
        """What a judge would have written."""
        made = []
        for seq, name in enumerate(steps):
            added = nodes if name is StepName.SERVING else ()
            made.append(Step(plan.rollout_id, seq, plan.started_us + seq, name, 0, (f"because of {name}",), added))
        rows = as_arrow(MODEL_ROLLOUTS, [row_of(plan, step) for step in made])
        write_deltalake(str(self.home / "tables" / MODEL_ROLLOUTS.path), rows, mode="append")


def write_clip(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()
        for number in range(20):
            picture = np.zeros((64, 64, 3), np.uint8)
            picture[10:18, number : number + 8] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def seen(*nodes: str, targets: Sequence[str] = (CPU,)) -> list[ModelStatus]:
    now = figures("1", name="blobs")
    return [report(node, 5, now, targets=tuple(targets), hardware=targets[0]) for node in nodes]


def said(result: Result) -> str:
    assert isinstance(result.exception, SightlineError), result.exception
    return str(result.exception)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, jars: object) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("place")
    with Broker(BrokerConfig(home / "broker", free_port())) as broker:
        yield Place(home, broker)


@pytest.fixture
def tables(place: Place) -> Place:
    """The place with empty tables; whatever a test began before is over."""
    import shutil

    shutil.rmtree(place.home / "tables", ignore_errors=True)
    create_local_tables(str(place.home / "tables"), (MODEL_STATUS, MODEL_ROLLOUTS))
    for plan in place.plans():
        place.record(plan, StepName.STARTED, StepName.ABORTED, StepName.RESTORED)
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


def test_parts_are_sealed_to_nodes_that_told_their_key(tables: Place) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    (told,) = seen("a")
    tables.hear(told.model_copy(update={"public_key": pem}), *seen("b"))
    assert tables.start("rollout", "start", "2", "--seal", str(tables.home / "keys")).exit_code == 0
    plan = tables.plans()[-1]
    assert plan.sealed
    assert set(plan.wrapped_keys) == {"a"}
    assert {path.name for path in (tables.home / "keys").iterdir()} == {"blobs-1.key", "blobs-2.key"}
