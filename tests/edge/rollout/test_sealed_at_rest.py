"""A model that came sealed lies sealed on a node's disk, and whatever happens to disk or keys, the node has a model."""

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_rig import Bundle, Rig, Site, desired, picture_model, write_model
from opened_content import plaintexts, search

from sightline_contract.manifest import GOLDEN_PART
from sightline_contract.model_card import MODEL_FILE
from sightline_contract.rollout import Assignment, Phase, Slot
from sightline_contract.targets import Runtime
from sightline_edge.backends import cpu_target
from sightline_edge.rollout.store import WRAPPED_KEY_FILE, hex_of
from sightline_edge.rollout.unsealing import file_name, open_key
from sightline_models.sealing import new_content_key, wrap_key

CONTENT_KEY = new_content_key()
SEALED_MODEL = f"{MODEL_FILE}.sealed"


@pytest.fixture
def better(site: Site, tmp_path: Path) -> Bundle:
    return site.bundle(
        write_model(tmp_path / "better", "2", picture_model(left=0.12, padding=20_000, seed=2)),
        number=5,
        content_key=CONTENT_KEY,
    )


@pytest.fixture
def best(site: Site, tmp_path: Path) -> Bundle:
    return site.bundle(
        write_model(tmp_path / "best", "3", picture_model(left=0.14, padding=20_000, seed=3)), number=6, content_key=CONTENT_KEY
    )


@pytest.fixture
def plain(site: Site, tmp_path: Path) -> Bundle:
    """One that is not sealed."""
    return site.bundle(write_model(tmp_path / "plain", "1", picture_model(left=0.13)), number=4)


@pytest.fixture
def rig(make_rig: Callable[..., Rig], tmp_path: Path) -> Rig:
    return make_rig(key=tmp_path / "keys/models.key")


def at(rig: Rig, bundle: Bundle, content_key: bytes = CONTENT_KEY) -> Assignment:
    """Assigned, with the content key wrapped to the key that the node announces now."""
    wrapped = wrap_key(content_key, rig.status().public_key, "node")
    return bundle.at().model_copy(update={"wrapped_key": wrapped})


def serving(rig: Rig, bundle: Bundle, revision: int = 1) -> None:
    rig.agent.take(desired(revision, serve=at(rig, bundle) if bundle.manifest.parts[MODEL_FILE].sealed else bundle.at()))
    rig.settle()
    assert rig.frame() == bundle.manifest.model_version


def secrets(*bundles: Bundle) -> dict[str, bytes]:
    """What must not lie on the disk of a node."""
    return {
        f"{bundle.manifest.model_version} {name}": content
        for bundle in bundles
        for name, content in plaintexts(bundle, CONTENT_KEY).items()
    }


def contents(plain: Bundle) -> bytes:
    return b"".join(plain.part(name).read_bytes() for name in plain.manifest.parts)


def test_the_search_finds_what_lies_open(rig: Rig, better: Bundle, site: Site, tmp_path: Path) -> None:
    """The same models, not sealed, are found: the other tests' search is one that can find."""
    assert set(plaintexts(better, CONTENT_KEY)) == {MODEL_FILE, GOLDEN_PART}
    serving(rig, site.bundle(tmp_path / "better", number=3))
    for name in (MODEL_FILE, GOLDEN_PART):
        found = search(rig.state, {name: plaintexts(better, CONTENT_KEY)[name]})()
        assert len(found) == 2, "in its folder, and among the parts"
        assert any(path.endswith(name) for path in found)


def test_at_no_step_does_a_sealed_model_lie_open_and_a_restart_serves_it_without_a_message(
    rig: Rig, better: Bundle, best: Bundle
) -> None:
    opened = search(rig.state, secrets(better, best))
    rig.agent.take(desired(1, serve=at(rig, better), shadow=at(rig, best)))
    for _ in range(400):
        wait_us = rig.agent.step(rig.now_us)
        rig.agent.switch.turn()
        assert opened() == []
        rig.now_us += max(1, wait_us)
        if rig.agent.phase is Phase.FOLLOWING:
            break
    assert (rig.frame(), rig.status().shadow.model_version) == ("2", "3")
    rig.agent.take(desired(2, serve=at(rig, best)))
    rig.settle()
    assert rig.frame() == "3"
    shutil.rmtree(better.store)
    for orderly in (True, False):
        rig.restart(orderly=orderly)
        assert rig.frame() == "3"
        rig.settle()
        assert (rig.frame(), rig.agent.phase) == ("3", Phase.FOLLOWING)
    assert opened() == []
    folder = rig.state / "models" / best.name
    assert {each.name for each in folder.iterdir()} == {
        SEALED_MODEL, f"{GOLDEN_PART}.sealed", "card.yaml", "thresholds.yaml", "envelope.json", WRAPPED_KEY_FILE,
    }  # fmt: skip
    part = best.manifest.parts[MODEL_FILE]
    assert (rig.state / "models/parts" / hex_of(part.sealed.digest)).samefile(folder / SEALED_MODEL)
    assert (folder / WRAPPED_KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_two_manifests_of_one_sealed_model_have_its_files_once_and_fetch_them_once(
    rig: Rig, site: Site, better: Bundle, tmp_path: Path
) -> None:
    serving(rig, better)
    back = site.bundle(tmp_path / "better", number=9, content_key=CONTENT_KEY)
    back.part(MODEL_FILE).unlink()
    serving(rig, back, revision=2)
    rig.restart()
    assert (rig.status().live.number, rig.frame()) == (9, "2")
    models = rig.state / "models"
    assert (models / better.name / SEALED_MODEL).samefile(models / back.name / SEALED_MODEL)


def new_key(rig: Rig) -> None:
    """As if the node had lost its key: it makes another one at the next start."""
    Path(rig.config.key).unlink()


def other_nodes_key(rig: Rig) -> None:
    shutil.copyfile(Path(rig.config.key).with_name("other.key"), rig.config.key)


@pytest.mark.parametrize("lose", [new_key, other_nodes_key])
@pytest.mark.parametrize("before", ["own", "plain", "sealed"])
def test_a_node_that_lost_its_key_serves_what_it_can_open_and_a_newly_wrapped_key_brings_the_model_back(
    rig: Rig, better: Bundle, best: Bundle, plain: Bundle, caplog: pytest.LogCaptureFixture,
    lose: Callable[[Rig], None], before: str,
) -> None:  # fmt: skip
    opened = search(rig.state, secrets(better, best), contents(plain))
    if before != "own":
        serving(rig, plain if before == "plain" else better)
    serving(rig, best, revision=2)
    rig.now_us += 400_000_000
    rig.settle()
    announced = rig.status().public_key
    open_key(Path(rig.config.key).with_name("other.key"))
    lose(rig)
    with caplog.at_level(logging.WARNING):
        rig.restart()
    falls_to = "1" if before == "plain" else "own"
    assert rig.frame() == falls_to
    lost = [better.name, best.name] if before == "sealed" else [best.name]
    assert [record.message[:18] for record in caplog.records] == [f"model {name[:12]}" for name in reversed(lost)]
    for record in caplog.records:
        assert "cannot serve: sealing: the wrapped key is not for this node's key" in record.message
    rig.settle()
    status = rig.status()
    assert (status.phase, status.live.model_version) == (Phase.REFUSED, falls_to)
    assert "the wrapped key is not for this node's key" in status.reason
    assert status.public_key not in (None, announced)
    rig.restart()
    assert rig.frame() == falls_to

    shutil.rmtree(best.store)  # what is there is not fetched again
    serving(rig, best, revision=3)
    rig.restart()
    assert rig.frame() == "3"
    assert opened() == []


def test_without_its_setting_a_sealed_model_gives_way_to_the_one_before(
    make_rig: Callable[..., Rig], rig: Rig, better: Bundle, plain: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    serving(rig, plain)
    serving(rig, better, revision=2)
    rig.config = rig.config.model_copy(update={"key": None})
    rig.restart()
    assert rig.frame() == "1"
    assert "this node has no key: set models.key" in caplog.text


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def open_up(path: Path) -> None:
    """Somebody puts other content there, which is not sealed."""
    path.write_bytes(b"\0" * path.stat().st_size)


@pytest.mark.parametrize("harm", [flip, cut, open_up, Path.unlink])
@pytest.mark.parametrize("name", [SEALED_MODEL, f"{GOLDEN_PART}.sealed"])
def test_a_sealed_file_that_was_changed_on_the_disk_is_noticed_and_fetched_again(
    rig: Rig, better: Bundle, best: Bundle, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None], name: str
) -> None:
    serving(rig, better)
    serving(rig, best, revision=2)
    harm(rig.state / "models" / best.name / name)
    rig.restart()
    assert rig.frame() == "2"
    assert f"cannot serve: disk: {name.removesuffix('.sealed')} " in caplog.text
    rig.settle()
    assert (rig.frame(), rig.agent.phase) == ("3", Phase.FOLLOWING)


@pytest.mark.parametrize("harm", [flip, cut, open_up, Path.unlink])
def test_a_wrapped_key_or_an_envelope_that_was_changed_on_the_disk_is_replaced_by_the_one_that_came(
    rig: Rig, better: Bundle, best: Bundle, harm: Callable[[Path], None]
) -> None:
    serving(rig, better)
    serving(rig, best, revision=2)
    for name in (WRAPPED_KEY_FILE, "envelope.json"):
        harm(rig.state / "models" / best.name / name)
        rig.restart()
        assert rig.frame() == "2"
        rig.settle()
        assert rig.frame() == "3"
        rig.restart()
        assert rig.frame() == "3"


def test_a_candidate_whose_files_were_changed_meanwhile_is_fetched_again(rig: Rig, better: Bundle, best: Bundle) -> None:
    rig.agent.take(desired(1, serve=at(rig, better), shadow=at(rig, best)))
    rig.settle()
    flip(rig.state / "models" / best.name / SEALED_MODEL)
    rig.restart()
    rig.settle()
    assert (rig.frame(), rig.status().shadow.model_version) == ("2", "3")


@pytest.mark.parametrize("slot", [Slot.LIVE, Slot.SHADOW])
def test_a_key_that_opens_something_else_is_refused_before_anything_is_made_and_the_right_one_is_taken(
    rig: Rig, better: Bundle, best: Bundle, slot: Slot
) -> None:
    serving(rig, better)
    wrong = at(rig, best, new_content_key())
    rig.agent.take(desired(2, serve=wrong) if slot is Slot.LIVE else desired(2, shadow=wrong))
    rig.settle()
    assert (rig.agent.phase, rig.frame()) == (Phase.REFUSED, "2")
    assert "sealed with another key" in rig.status().reason
    assert not (rig.state / "models" / best.name).exists()
    serving(rig, best, revision=3)


def test_a_bad_key_for_a_model_that_is_there_does_not_take_the_place_of_the_good_one(
    rig: Rig, better: Bundle, best: Bundle
) -> None:
    serving(rig, better)
    rig.agent.take(desired(2, shadow=at(rig, best)))
    rig.settle()
    kept = (rig.state / "models" / best.name / WRAPPED_KEY_FILE).read_text()
    rig.agent.take(desired(3, serve=at(rig, best, new_content_key())))
    rig.settle()
    assert (rig.agent.phase, rig.frame()) == (Phase.REFUSED, "2")
    assert (rig.state / "models" / best.name / WRAPPED_KEY_FILE).read_text() == kept
    # A message without a key goes by the one that is there.
    rig.agent.take(desired(4, serve=best.at()))
    rig.settle()
    assert rig.frame() == "3"


def as_earlier_versions_kept_it(rig: Rig, bundle: Bundle) -> None:
    """Opened parts among the parts and in the model's folder, no wrapped key, and what a kill left of a part being opened."""
    folder, parts = rig.state / "models" / bundle.name, rig.state / "models/parts"
    for name, content in plaintexts(bundle, CONTENT_KEY).items():
        part = bundle.manifest.parts[name]
        (folder / file_name(name, part)).unlink()
        (parts / hex_of(part.sealed.digest)).unlink()
        (parts / hex_of(part.digest)).write_bytes(content)
        os.link(parts / hex_of(part.digest), folder / name)
    (folder / WRAPPED_KEY_FILE).unlink()
    (parts / f".{'0' * 64}.opening").write_bytes(plaintexts(bundle, CONTENT_KEY)[MODEL_FILE][:200])


@pytest.mark.parametrize("linked", [True, False])
def test_what_an_earlier_version_left_open_goes_at_the_start_and_is_fetched_again_sealed(
    rig: Rig, plain: Bundle, better: Bundle, best: Bundle, caplog: pytest.LogCaptureFixture, linked: bool
) -> None:
    opened = search(rig.state, secrets(better, best), contents(plain))
    serving(rig, plain)
    serving(rig, better, revision=2)
    rig.agent.take(desired(3, shadow=at(rig, best)))
    rig.settle()
    for bundle in (better, best):
        as_earlier_versions_kept_it(rig, bundle)
    if not linked:
        better.store.rename(better.store.with_name("away"))
    assert opened()
    with caplog.at_level(logging.WARNING):
        rig.restart()
    assert rig.frame() == "1"
    assert opened() == []
    assert caplog.text.count("lies opened on the disk, as earlier versions kept it: it is removed") == 2
    rig.agent.take(desired(4, serve=at(rig, better)))
    rig.settle(600)
    assert (rig.frame(), rig.agent.phase) == (("2", Phase.FOLLOWING) if linked else ("1", Phase.FETCHING))
    assert opened() == []


def test_what_an_earlier_version_opened_and_no_model_has_goes_with_the_first_step(
    rig: Rig, plain: Bundle, best: Bundle
) -> None:
    opened = search(rig.state, secrets(best), contents(plain))
    serving(rig, plain)
    part = best.manifest.parts[MODEL_FILE]
    (rig.state / "models/parts" / hex_of(part.digest)).write_bytes(plaintexts(best, CONTENT_KEY)[MODEL_FILE])
    assert opened()
    rig.restart()
    rig.settle()
    assert opened() == []


PROGRAM = """
import resource, signal, sys
from pathlib import Path
from bundle_rig import RED
from sightline_contract.manifest import Manifest
from sightline_contract.parity import parse_golden
from sightline_contract.targets import parse_target
from sightline_edge.detector import Detector
from sightline_edge.rollout.unsealing import SealedModel

signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python would have an error where the signal ends what other code writes
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
if sys.argv[1] == "write":
    Path("file").write_bytes(b"1")
manifest = Manifest.model_validate_json(Path("manifest.json").read_bytes())
model = SealedModel(Path("model"), manifest.parts, bytes.fromhex(sys.argv[2]))
detector = Detector(model, 0.1, 1, 4, parse_target(sys.argv[1]))
parse_golden(model.read("golden.npz"), Path("golden.npz"))
sys.exit(len(detector.see([RED], 0.5)[0]) != 1)
"""


@pytest.fixture
def where_no_file_can_be_written(better: Bundle, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs PROGRAM: it opens a sealed model for a target, in a process that the first byte written to any file ends."""
    home = tmp_path / "home"
    (home / "model").mkdir(parents=True)
    for name, part in better.manifest.parts.items():
        shutil.copyfile(better.part(name), home / "model" / file_name(name, part))
    (home / "manifest.json").write_text(better.manifest.model_dump_json())
    support = Path(__file__).parents[2] / "support"
    environment = os.environ | {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(support),
    }
    return lambda what: subprocess.run(
        [sys.executable, "-c", PROGRAM, what, CONTENT_KEY.hex()],
        cwd=home, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("runtime", [Runtime.ONNXRUNTIME, Runtime.OPENVINO])
def test_a_runtime_that_loads_a_sealed_model_writes_no_file(
    where_no_file_can_be_written: Callable[[str], subprocess.CompletedProcess[str]], runtime: Runtime
) -> None:
    done = where_no_file_can_be_written(str(cpu_target(runtime)))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_program_that_writes_there_is_ended(
    where_no_file_can_be_written: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    assert where_no_file_can_be_written("write").returncode == -signal.SIGXFSZ
