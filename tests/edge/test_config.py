import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sightline_contract.errors import ConfigError
from sightline_edge.config import load_node_config
from sightline_edge.health.masking import mask

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


def test_secrets_come_from_files_of_the_folder_or_of_a_variable(
    node_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "camera").write_bytes(b"w1th an end\n")
    (credentials / "kafka").write_bytes(b"two\nlines\r\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    path = node_file(
        cameras=[{"source": "rtsp://u:${file:$CREDENTIALS_DIRECTORY/camera}@h/1", "camera": "c.yaml"}],
        kafka={"bootstrap_servers": "h:1", "options": {"ssl.key.password": "${file:credentials/kafka}"}},
        local_broker={"kind": "kafka", "options": {"sasl.password": f"${{file:{credentials}/camera}}"}},
    )
    config = load_node_config(path)
    assert config.cameras[0].source == "rtsp://u:w1th an end@h/1"
    assert config.kafka.options == {"ssl.key.password": "two\nlines"}
    assert config.local_broker is not None
    assert config.local_broker.options == {"sasl.password": "w1th an end"}


@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file"), (b"\xff\xfe", "is not UTF-8 text"), (b"x" * 70_000, "too large for a secret")]
)
def test_a_secret_file_that_cannot_be_used_is_one_line(
    content: bytes | None, says: str, node_file: Callable[..., Path], tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    path = node_file(cameras=[{"source": "rtsp://u:${file:secret}@h/1", "camera": "c.yaml"}])
    with pytest.raises(ConfigError, match=rf"^{path}: names {tmp_path}/secret, which [^\n]*{says}[^\n]*$"):
        load_node_config(path)


def test_what_came_in_as_a_secret_is_masked_from_then_on(
    node_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"sasl.password": "in-th3-options", "sasl.username": "${KAFKA_USER}", "client.rack": "${file:rack}"}
    monkeypatch.setenv("GATE_PASSWORD", "from-th3-environment")
    monkeypatch.setenv("KAFKA_USER", "an0ther-of-the-environment")
    (tmp_path / "rack").write_text("from-a-s3cret-file\n")
    path = node_file(
        cameras=[
            {"source": "rtsp://u:${GATE_PASSWORD}@h/1", "camera": "c.yaml"},
            {"source": "rtsp://u:in-th3-file@h/2", "camera": "d.yaml"},
        ],
        kafka={"bootstrap_servers": "h:1", "options": options},
    )
    config = load_node_config(path)
    secrets = (
        "from-th3-environment", "in-th3-file", "in-th3-options", "an0ther-of-the-environment", "from-a-s3cret-file",
    )  # fmt: skip
    for secret in secrets:
        assert mask(f"<{secret}>") == "<***>"
        assert secret not in repr(config)


@pytest.mark.parametrize(
    "text",
    [
        "cameras: [{source: 'rtsp://u:wh0le-secret@h/1'}]",
        "kafka: {options: {sasl.password: [wh0le-secret]}}",
        "cameras: {password: wh0le-secret",
        "kafka: 'rtsp://u:wh0le-secret@h/1'",
    ],
)
def test_an_error_in_the_file_does_not_repeat_its_values_not_even_in_the_trace(text: str, tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_node_config(tmp_path / "node.yaml")
    assert "wh0le-secret" not in mask("".join(traceback.format_exception(caught.value)))


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
