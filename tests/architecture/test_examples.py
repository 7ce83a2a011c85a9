"""The configuration files that we hand out are ones that we would accept."""

from pathlib import Path

import pytest

from sightline_contract.camera import load_cameras
from sightline_contract.rules import EVENT_KINDS
from sightline_edge.config import load_node_config
from sightline_streaming.config import load_job_config

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "camera", ["edge/configs/gate.yaml", "edge/configs/crossroads.yaml", "stack/src/sightline/demo/campus.yaml"]
)
def test_an_example_camera_is_valid(camera: str) -> None:
    assert load_cameras(ROOT / camera)[0].lines


def test_the_example_with_rules_shows_one_of_every_kind() -> None:
    (crossroads,) = load_cameras(ROOT / "edge/configs/crossroads.yaml")
    assert crossroads.homography
    assert {rule.kind for zone in crossroads.zones for rule in zone.rules} == set(EVENT_KINDS)


def test_the_example_node_reads_cameras_that_exist() -> None:
    node = load_node_config(ROOT / "edge/configs/node.yaml")
    assert [load_cameras(entry.camera)[0].camera_id for entry in node.cameras] == ["campus"]


def test_the_example_job_is_valid() -> None:
    job = load_job_config(ROOT / "streaming/configs/local.yaml", {})
    assert load_cameras(ROOT / job.cameras)[0].lines


def test_the_example_node_shows_how_models_come_over_the_air(tmp_path: Path) -> None:
    lines = (ROOT / "edge/configs/node.yaml").read_text(encoding="utf-8").splitlines()
    first = lines.index("# models:")
    last = next(i for i in range(first, len(lines)) if not lines[i].startswith("#"))
    example = [line.removeprefix("# ") if first <= i < last else line for i, line in enumerate(lines)]
    (tmp_path / "node.yaml").write_text("\n".join(example), encoding="utf-8")
    models = load_node_config(tmp_path / "node.yaml").models
    assert models is not None
    assert (models.trust, models.site) == (tmp_path / "tls/ca.pem", "north")
