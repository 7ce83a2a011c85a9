"""The local MLflow server as 'sightline up' starts it, and the commands that use it."""

import hashlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import yaml
from blob_detector import write_blob_detector

from sightline import services
from sightline.ports import LOOPBACK, free_port
from sightline.topic_content import read_topic
from sightline_contract.events import AuditRecord
from sightline_contract.topics import AUDIT
from sightline_models.registry import Registry

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SIGHTLINE = Path(sys.executable).with_name("sightline")


@dataclass(frozen=True)
class Stack:
    """A home with a running stack."""

    home: Path
    registry_port: int
    bundle_port: int
    broker_port: int
    told: str

    @property
    def uri(self) -> str:
        return f"http://{LOOPBACK}:{self.registry_port}"

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self.broker_port}"

    def models(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SIGHTLINE, "models", *words],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            env=os.environ
            | {"SIGHTLINE_REGISTRY": self.uri, "SIGHTLINE_HOME": str(self.home), "SIGHTLINE_BOOTSTRAP": self.bootstrap},
        )


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, jars: dict[str, tuple[Path, ...]]) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("stack") / "home"
    registry_port, bundle_port, broker_port = free_port(), free_port(), free_port()
    ports = ["--port", str(broker_port), "--registry-port", str(registry_port), "--bundle-port", str(bundle_port)]
    try:
        up = subprocess.run([SIGHTLINE, "up", "--home", home, *ports], capture_output=True, text=True, timeout=300, check=False)
        assert up.returncode == 0, up.stderr
        yield Stack(home, registry_port, bundle_port, broker_port, up.stdout)
    finally:
        stopped = services.down(home)
    assert {record.name for record in stopped} == {"broker", "registry", "bundles"}
    assert not any(psutil.pid_exists(record.pid) for record in stopped)


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def labelled_set(folder: Path) -> Path:
    """A bright square of just the size that the test's detector says, in a picture of its own input size."""
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[8:16, 24:32] = 255
    (folder / "images").mkdir(parents=True)
    cv2.imwrite(str(folder / "images/a.png"), picture)
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [24, 8, 8, 8]}],
    }
    (folder / "annotations.json").write_text(json.dumps(coco))
    (folder / "set.yaml").write_text("{name: square, licence: CC0-1.0, origin: drawn by the test}")
    return folder


def test_up_starts_it_and_status_shows_it(stack: Stack) -> None:
    assert f"registry started (pid {services.read_record(stack.home, 'registry').pid}" in " ".join(stack.told.split())
    shown = subprocess.run([SIGHTLINE, "status", "--home", stack.home], capture_output=True, text=True, check=False)
    assert shown.returncode == 0
    for words in ("registry", str(stack.registry_port), "bundles", str(stack.bundle_port)):
        assert words in shown.stdout
    assert (stack.home / "mlflow/mlflow.db").is_file()


def test_it_listens_on_loopback_only_and_refuses_other_hosts_names(stack: Stack) -> None:
    listening = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN and each.laddr]
    assert {each.laddr.ip for each in listening if each.laddr.port == stack.registry_port} == {LOOPBACK}
    request = urllib.request.Request(
        f"{stack.uri}/api/2.0/mlflow/experiments/get?experiment_id=0", headers={"Host": "evil.example"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 403
    refused.value.close()


def test_a_model_goes_through_the_server_and_back(stack: Stack, tmp_path: Path) -> None:
    model = write_blob_detector(tmp_path / "blobs.onnx")
    (tmp_path / "card.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "blobs",
                "licence": "MIT",
                "input": {"name": "image", "size": [64, 64], "layout": "NHWC", "channels": "RGB", "resize": "stretch"},
                "output": {"name": "detections", "decode": "boxes_score_class"},
            }
        )
    )
    words = ["register", model, "--card", tmp_path / "card.yaml", "--evaluate", labelled_set(tmp_path / "set")]
    first = stack.models(*words)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("blobs version 1 registered as candidate (sha256:")
    assert first.stdout.endswith(", mAP50 1.000 on square)\n")
    second = stack.models(*words)
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert "is registered already: it is blobs version 1: use that one" in second.stderr
    records = [AuditRecord.model_validate_json(m.value() or b"") for m in read_topic(stack.bootstrap, AUDIT.name)]
    assert [(each.kind, each.details["digest"]) for each in records] == [("model_registered", f"sha256:{digest_of(model)}")]
    shown = stack.models("show", "blobs", "1")
    assert "person: AP50 1.000, AP 1.000 (1 boxes)" in shown.stdout
    registry = Registry(stack.uri)
    version = registry.by_alias("blobs", "candidate")
    assert version is not None
    assert (registry.download(version, tmp_path / "back") / "model.onnx").read_bytes() == model.read_bytes()
    assert list((stack.home / "mlflow/artifacts").rglob("model.onnx"))


def test_a_registry_that_is_away_is_one_line_and_exit_code_1(stack: Stack) -> None:
    away = stack.models("versions", "--registry", f"http://{LOOPBACK}:{free_port()}")
    assert away.returncode == 1
    assert away.stderr.startswith("error: no model registry answers at http://127.0.0.1:")
    assert away.stderr.count("\n") == 1
