from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sightline_contract.errors import ConfigError
from sightline_edge.config import load_node_config

EXAMPLE = Path(__file__).parents[2] / "edge" / "configs" / "node.yaml"


@pytest.fixture
def node_file(tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: object) -> Path:
        entries = {
            "node_id": "n",
            "kafka": {"bootstrap_servers": "127.0.0.1:1"},
            "model": "models/m",
            "cameras": [{"source": "clip.mp4", "camera": "c.yaml"}],
        }
        path = tmp_path / "node.yaml"
        path.write_text(yaml.safe_dump(entries | changes))
        return path

    return write


def test_relative_paths_are_taken_from_the_files_folder(node_file: Callable[..., Path], tmp_path: Path) -> None:
    tmp_path = tmp_path.resolve()
    config = load_node_config(node_file())
    assert config.model == tmp_path / "models/m"
    assert config.cameras[0].source == str(tmp_path / "clip.mp4")
    assert config.cameras[0].camera == tmp_path / "c.yaml"


def test_secrets_come_from_the_environment(node_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_PASSWORD", "s3cret")
    path = node_file(
        cameras=[{"source": "rtsp://u:${GATE_PASSWORD}@h/1", "camera": "c.yaml"}],
        kafka={"bootstrap_servers": "h:1", "options": {"sasl.password": "${GATE_PASSWORD}"}},
    )
    config = load_node_config(path)
    assert config.cameras[0].source == "rtsp://u:s3cret@h/1"
    assert config.kafka.options == {"sasl.password": "s3cret"}


def test_a_secret_that_the_environment_lacks_is_named(node_file: Callable[..., Path]) -> None:
    path = node_file(cameras=[{"source": "rtsp://u:${NOT_SET_ANYWHERE}@h/1", "camera": "c.yaml"}])
    with pytest.raises(ConfigError, match="NOT_SET_ANYWHERE"):
        load_node_config(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_s": 2}, "batch_s: Input should be less than or equal to 1"),
        ({"unknown": 1}, "unknown: Extra inputs are not permitted"),
        ({"cameras": []}, "cameras: "),
        ({"watch_list": [{"class_name": "dragon"}]}, "'dragon' is not a class"),
        ({"start_time": "2026-01-31T08:00:00"}, "start_time: needs a time zone"),
        ({"cameras": [{"source": "rtsp://u:pw@h", "camera": c} for c in ("a", "b")]}, r"two cameras read rtsp://u:\*\*\*@h"),
    ],
)
def test_a_wrong_setting_is_named(node_file: Callable[..., Path], changes: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_node_config(node_file(**changes))


def test_the_example_is_valid() -> None:
    assert load_node_config(EXAMPLE).node_id == "gate-north"
