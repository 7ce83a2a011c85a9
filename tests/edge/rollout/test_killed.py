"""A real process is killed at random moments, while it fetches, prepares and swaps: it always starts with a model."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import killed_node
import pytest
from bundle_rig import NOW_US, Rig, Site, desired, picture_model, write_model
from opened_content import search

from sightline_edge.rollout.unsealing import open_key, public_pem
from sightline_models.sealing import new_content_key, wrap_key

ROUNDS = 8
MODELS = 400
CONTENT_KEY = new_content_key()


@pytest.fixture
def job(site: Site, own: Path, tmp_path: Path) -> Path:
    """Hundreds of manifests, each with a higher number, of models that differ; every other one is sealed."""
    models = [
        write_model(tmp_path / f"m{i}", f"{i}", picture_model(left=0.1 + i / 100, padding=200_000, seed=i)) for i in range(6)
    ]
    key = tmp_path / "models.key"
    wrapped = wrap_key(CONTENT_KEY, public_pem(open_key(key)), "node")
    golden_of = {}
    wanted = []
    for number in range(1, MODELS + 1):
        model = models[number % len(models)]
        content_key = CONTENT_KEY if number % 2 else None
        bundle = golden_of.setdefault(model, None) or site.bundle(model, number, content_key=content_key)
        golden_of[model] = bundle
        manifest = bundle.manifest.model_copy(update={"number": number})
        envelope = site.signer.sign(manifest)
        changes = {"envelope": envelope.model_dump_json(), "wrapped_key": wrapped if content_key else None}
        assignment = bundle.at().model_copy(update=changes)
        slots = {"shadow": assignment} if number % 3 == 0 else {"serve": assignment}
        wanted.append(desired(number, **slots).model_dump(mode="json"))
    path = tmp_path / "job.json"
    told = {"trust": str(site.trust), "own": str(own), "key": str(key), "now_us": NOW_US, "desired": wanted}
    path.write_text(json.dumps(told))
    return path


def test_a_node_that_is_killed_again_and_again_never_goes_back_and_never_has_no_model(
    job: Path, site: Site, own: Path, tmp_path: Path
) -> None:
    chance = random.Random(11)
    last, seen = 0, []
    for _ in range(ROUNDS):
        process = subprocess.Popen(
            [sys.executable, killed_node.__file__, str(tmp_path / "state"), str(job)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        first = process.stdout.readline()
        assert first, process.stderr.read()
        time.sleep(chance.uniform(0, 0.7))
        process.kill()
        numbers = [int(line.split()[1]) for line in [first, *process.stdout]]
        process.communicate()
        assert numbers == sorted(numbers)
        # Recorded before it serves: it may have served what it did not print any more.
        assert numbers[0] >= last
        last = numbers[-1]
        seen.append(len(numbers))
    assert sum(seen) > ROUNDS  # it was killed while it was at work
    rig = Rig(site, tmp_path / "state", own, trial_starts=1000, key=tmp_path / "models.key")
    assert rig.agent.switch.live.ref.number >= last > 0
    rig.settle()
    assert not list((tmp_path / "state/models").glob("*.new"))
    contents = [(tmp_path / f"m{i}/model.onnx").read_bytes() for i in range(6)]
    sealed = {f"m{i}": contents[i] for i in range(1, 6, 2)}
    assert search(tmp_path / "state", sealed, known=b"".join(contents[::2]))() == []
    rig.close()
