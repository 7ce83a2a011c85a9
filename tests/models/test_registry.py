"""The registry on a real MLflow with its database in a file."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import typer
import yaml
from blob_detector import write_blob_detector
from typer.testing import CliRunner

from sightline.rollout.start import can_run
from sightline_contract.errors import BrokerError, ModelError, RegistryError
from sightline_contract.events import AuditRecord
from sightline_contract.model_card import load_card
from sightline_contract.targets import parse_target
from sightline_models.evaluation import ClassFigures, Evaluation, OpenDetector
from sightline_models.fetch import sha256_of
from sightline_models.pull import pull_file
from sightline_models.registry import Registry, Version
from sightline_models.registry_commands import add_registry_commands
from sightline_models.registry_engines import (
    download_engine,
    engine_targets,
    log_engine,
    log_parity,
    parity,
)

TARGET = parse_target("openvino-any-x86_64-fp16")
EVALUATION = Evaluation(
    set_name="yard",
    set_licence="CC0-1.0",
    set_origin="drawn",
    set_digest="sha256:" + "1" * 64,
    images=3,
    map50=0.75,
    map=0.5,
    by_class={"person": ClassFigures(ap50=0.75, ap=0.5, boxes=9, in_model=True)},
    latency_p50_ms=1.5,
    latency_p95_ms=2.5,
    cpu="a processor",
    threads=2,
)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Making MLflow's tables takes two seconds, and opening them none."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    assert Registry(f"sqlite:///{path}").versions() == []
    return path


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    (tmp_path / "mlflow").mkdir()
    return f"sqlite:///{shutil.copy(empty_database, tmp_path / 'mlflow/mlflow.db')}"


@pytest.fixture
def audits() -> list[AuditRecord]:
    return []


@pytest.fixture
def registry(uri: str, audits: list[AuditRecord]) -> Registry:
    return Registry(uri, audits.append, now_us=lambda: 17)


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Path]:
    """A model folder; each word gives a file of another digest."""

    def make(word: str = "", name: str = "blobs", **card: Any) -> Path:
        path = write_blob_detector(tmp_path / f"{name}{word}.onnx")
        content = onnx.load(path)
        content.doc_string = word
        onnx.save(content, path)
        draft = {
            "name": name,
            "licence": "MIT",
            "training_data": "none: it was written down",
            "input": {"name": "image", "size": [64, 64], "layout": "NHWC", "channels": "RGB", "resize": "stretch"},
            "output": {"name": "detections", "decode": "boxes_score_class"},
            "labels": ["person"],
        }
        (tmp_path / "card.yaml").write_text(yaml.safe_dump(draft | card))
        return pull_file(path, tmp_path / f"models{word}", tmp_path / "card.yaml")

    return make


def test_a_registered_model_comes_back_as_it_was(registry: Registry, model: Callable[..., Path], tmp_path: Path) -> None:
    folder = model()
    version = registry.register(folder, "ada", evaluation=EVALUATION)
    assert (version.name, version.number, version.aliases) == ("blobs", 1, ("candidate",))
    back = registry.download(version, tmp_path / "back")
    assert (back / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    card = load_card(back)
    assert (card.name, card.version) == ("blobs", "1")
    kept = {"name": card.name, "version": card.version}
    assert card == load_card(folder).model_copy(update=kept)
    assert card.training_data == "none: it was written down"
    assert registry.evaluation(version) == EVALUATION
    assert [each.name for each in (tmp_path / "back").iterdir()] == ["blobs-1"]


def test_mlflow_shows_signature_parameters_and_figures(registry: Registry, model: Callable[..., Path]) -> None:
    """What MLflow's own pages show, and a model that MLflow itself can load."""
    import mlflow.onnx

    version = registry.register(model(), "ada", evaluation=EVALUATION)
    run = registry.client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["licence"] == "MIT"
    assert run.data.params["input.size"] == "64, 64"
    assert run.data.params["labels"] == "person"
    assert run.data.metrics["mAP50"] == 0.75
    assert run.data.metrics["AP/person"] == 0.5
    assert run.data.metrics["latency_p95_ms"] == 2.5
    local = registry.fetch(version, "model", Path(registry.uri.removeprefix("sqlite:///")).parent)
    loaded = mlflow.onnx.load_model(str(local))
    assert onnxruntime.InferenceSession(loaded.SerializeToString()).get_inputs()[0].name == "image"
    signature = mlflow.models.get_model_info(str(local)).signature
    assert [(each.name, each.shape) for each in signature.inputs.inputs] == [("image", (-1, 64, 64, 3))]
    assert [(each.name, each.shape) for each in signature.outputs.inputs] == [("detections", (-1, 100, 6))]


def test_without_an_evaluation_a_version_says_so(registry: Registry, model: Callable[..., Path]) -> None:
    version = registry.register(model(), "ada")
    assert version.tags["evaluated"] == "false"
    assert registry.evaluation(version) is None


def test_the_same_digest_is_refused_with_the_version_that_it_is(registry: Registry, model: Callable[..., Path]) -> None:
    registry.register(model(), "ada")
    registry.register(model("other"), "ada")
    with pytest.raises(ModelError, match=r"sha256:\w+ is registered already: it is blobs version 1"):
        registry.register(model(), "bob")
    with pytest.raises(ModelError, match="it is blobs version 2"):
        registry.register(model("other"), "bob", name="another-name")
    assert [str(version) for version in registry.versions()] == ["blobs version 1", "blobs version 2"]


def test_of_two_that_race_one_stays(uri: str, model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have looked and found nothing before either makes its version."""
    folder = model()
    both_looked = threading.Barrier(2, timeout=60)
    monkeypatch.setattr(Registry, "require_new", lambda _self, _digest: both_looked.wait())
    ends: list[Version | Exception] = []

    def register() -> None:
        try:
            ends.append(Registry(uri).register(folder, "ada"))
        except (ModelError, RegistryError) as error:
            ends.append(error)

    threads = [threading.Thread(target=register) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [end for end in ends if isinstance(end, Exception)]
    (stays,) = [end for end in ends if isinstance(end, Version)]
    assert [str(error).partition(": it is ")[2] for error in refused] == [f"{stays}: use that one"]
    assert [str(version) for version in Registry(uri).versions()] == [str(stays)]
    assert Registry(uri).by_alias("blobs", "candidate") == stays


def test_a_later_version_of_a_digest_gives_way_under_any_name(
    registry: Registry, model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = model()
    registry.register(folder, "ada", name="zebra")
    monkeypatch.setattr(Registry, "require_new", lambda *_: None)  # it looked before zebra was there
    for name in ("antelope", "zebra"):
        with pytest.raises(ModelError, match="it is zebra version 1"):
            registry.register(folder, "ada", name=name)
    assert [str(version) for version in registry.versions()] == ["zebra version 1"]


def test_a_promoted_version_is_champion_and_the_one_before_it_previous(registry: Registry, model: Callable[..., Path]) -> None:
    for word in ("a", "b", "c"):
        registry.register(model(word), "ada")
    assert registry.promote("blobs", 1, "judge").aliases == ("champion",)
    registry.set_alias("blobs", "canary", 2, "judge")
    assert registry.promote("blobs", 2, "judge").aliases == ("champion",)
    assert registry.version("blobs", 1).aliases == ("previous",)
    registry.promote("blobs", 2, "judge")  # again, as after a crash
    assert registry.version("blobs", 1).aliases == ("previous",)
    assert registry.promote("blobs", 1, "judge").aliases == ("champion",)
    assert registry.version("blobs", 2).aliases == ("previous",)
    assert registry.version("blobs", 3).aliases == ("candidate",)
    assert registry.by_alias("blobs", "canary") is None


def test_a_promotion_that_was_cut_off_is_finished_by_its_repetition(registry: Registry, model: Callable[..., Path]) -> None:
    for word in ("a", "b"):
        registry.register(model(word), "ada")
    registry.promote("blobs", 1, "judge")
    registry.set_alias("blobs", "previous", 1, "judge")  # the first step of promoting version 2
    registry.promote("blobs", 2, "judge")
    assert (registry.version("blobs", 1).aliases, registry.version("blobs", 2).aliases) == (("previous",), ("champion",))


def test_every_step_is_announced(registry: Registry, model: Callable[..., Path], audits: list[AuditRecord]) -> None:
    version = registry.register(model(), "ada", evaluation=EVALUATION)
    registry.promote("blobs", 1, "judge", "better in every ring")
    told = [(each.kind, each.actor, each.reason) for each in audits]
    assert told == [
        ("model_registered", "ada", ""),
        ("alias_moved", "judge", "better in every ring"),
        ("alias_moved", "judge", "better in every ring"),
    ]
    assert audits[0].details == {
        "model": "blobs", "version": 1, "digest": version.digest, "alias": "candidate", "evaluation_set": "yard"
    }  # fmt: skip
    assert audits[1].details == {"model": "blobs", "alias": "champion", "from_version": 0, "to_version": 1}
    assert audits[2].details == {"model": "blobs", "alias": "candidate", "from_version": 1, "to_version": 0}
    assert {each.at_us for each in audits} == {17}
    assert len({each.record_id for each in audits}) == 3


def test_a_move_that_was_told_and_cut_off_is_told_again_as_the_same_and_one_back_and_forth_as_another(
    uri: str, registry: Registry, model: Callable[..., Path], audits: list[AuditRecord]
) -> None:
    for word in ("a", "b"):
        registry.register(model(word), "ada")
    audits.clear()

    def lost(record: AuditRecord) -> None:
        audits.append(record)
        raise BrokerError("Kafka is away")

    with pytest.raises(BrokerError):
        Registry(uri, announce=lost).set_alias("blobs", "canary", 1, "ada")
    assert registry.by_alias("blobs", "canary") is None, "nothing moves that nobody was told of"
    for number in (1, 2, 1, 2):
        registry.set_alias("blobs", "canary", number, "ada")
    ids = [each.record_id for each in audits]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4


def test_engines_and_what_the_gates_said_lie_with_the_version(
    registry: Registry, model: Callable[..., Path], tmp_path: Path
) -> None:
    version = registry.register(model(), "ada")
    with pytest.raises(RegistryError, match=r"blobs version 1 has no engine for openvino-any-x86_64-fp16: compile it"):
        download_engine(registry, version, TARGET, tmp_path)
    assert parity(registry, version) == {}
    (tmp_path / "engine").write_bytes(b"an engine")
    log_engine(registry, version, TARGET, tmp_path / "engine")
    log_parity(registry, version, TARGET, passed=True, figures={"build_s": 3.5, "builder": "a tool"})
    again = registry.version("blobs", 1)
    assert engine_targets(again) == [str(TARGET)]
    files = download_engine(registry, again, TARGET, tmp_path)
    assert [(each.name, each.read_bytes()) for each in files.iterdir()] == [("engine", b"an engine")]
    assert parity(registry, again) == {str(TARGET): {"passed": True, "build_s": 3.5, "builder": "a tool"}}
    assert registry.client.get_run(again.run_id).data.metrics[f"parity/{TARGET}/build_s"] == 3.5


def test_a_later_refusal_holds_and_a_rollout_leaves_the_target_out(registry: Registry, model: Callable[..., Path]) -> None:
    version = registry.register(model(), "ada")
    target = parse_target("openvino-any-x86_64-fp32")
    for passed, figures in ((True, {"build_s": 3.5}), (False, {"reason": "sees other things"})):
        assert can_run(registry.version("blobs", 1), str(target))
        log_parity(registry, version, target, passed=passed, figures=figures)
    again = registry.version("blobs", 1)
    assert not can_run(again, str(target))
    assert parity(registry, again) == {str(target): {"passed": False, "reason": "sees other things"}}


def test_a_file_changed_in_the_store_is_refused(registry: Registry, model: Callable[..., Path], tmp_path: Path) -> None:
    version = registry.register(model(), "ada")
    (stored,) = (tmp_path / "mlflow/artifacts").rglob("model.onnx")
    stored.write_bytes(stored.read_bytes() + b"\x00")
    with pytest.raises(RegistryError, match=r"blobs version 1 has digest sha256:\w+ and not sha256:\w+ as was registered"):
        registry.download(version, tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == []


def test_a_folder_that_is_not_whole_is_not_registered(registry: Registry, model: Callable[..., Path]) -> None:
    folder = model()
    (folder / "model.onnx").write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"has digest sha256:\w+ and not sha256:\w+ as its card says"):
        registry.register(folder, "ada")
    assert registry.versions() == []


def test_trouble_is_one_line(registry: Registry, tmp_path: Path, model: Callable[..., Path]) -> None:
    with pytest.raises(RegistryError, match=r"no model registry answers at http://127\.0\.0\.1:1 .*sightline up"):
        Registry("http://user:word@127.0.0.1:1").versions()
    with pytest.raises(RegistryError, match=r"Model Version \(name=blobs, version=9\) not found"):
        registry.version("blobs", 9)
    with pytest.raises(RegistryError, match="'a/b' is no name for a registered model"):
        registry.register(model(), "ada", name="a/b")
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"this is no database " * 100)
    with pytest.raises(RegistryError, match=r"registry sqlite:////.*damaged\.db: .*not a database.*restore") as raised:
        Registry(f"sqlite:///{damaged}").versions()
    assert "\n" not in str(raised.value)


def run(uri: str, *words: str | Path) -> str:
    def refuse(_folder: Path, _min_score: float) -> Any:
        raise AssertionError

    app = typer.Typer()
    add_registry_commands(app, uri, OpenDetector(refuse, 1))
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_commands_register_list_show_and_move(uri: str, model: Callable[..., Path], tmp_path: Path) -> None:
    assert run(uri, "versions") == "nothing is registered\n"
    digest = sha256_of(model() / "model.onnx")
    assert (
        run(uri, "register", tmp_path / "blobs.onnx", "--card", tmp_path / "card.yaml")
        == f"blobs version 1 registered as candidate ({digest}, not evaluated)\n"
    )
    with pytest.raises(ModelError, match="it is blobs version 1"):
        run(uri, "register", tmp_path / "blobs.onnx", "--card", tmp_path / "card.yaml", "--evaluate", tmp_path / "no-set")
    assert run(uri, "alias", "blobs", "champion", "1") == "blobs version 1: champion\n"
    Registry(uri).register(model("better"), "ada", evaluation=EVALUATION)
    head, first, second = run(uri, "versions", "blobs").splitlines()
    assert head.split() == ["model", "version", "digest", "aliases", "mAP50", "mAP", "licence", "registered"]
    assert first.split()[:7] == ["blobs", "1", digest[7:19], "champion", "-", "-", "MIT"]
    assert second.split()[1:7] == ["2", second.split()[2], "candidate", "0.750", "0.500", "MIT"]
    shown = run(uri, "show", "blobs", "2")
    for words in ("licence        MIT", "image 64x64 NHWC RGB", "yard, 3 pictures: mAP50 0.750", "a processor, 2 threads"):
        assert words in shown
    assert "person: AP50 0.750, AP 0.500 (9 boxes)" in shown
