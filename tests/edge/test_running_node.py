"""A node that runs, as those around it see it: its figures, its service manager, its clips and their export."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from sightline.ports import free_port
from sightline.topic_content import count_messages, read_topic
from sightline_contract.batch import parse_batch
from sightline_contract.events import AuditRecord
from sightline_contract.topics import AUDIT, DETECTIONS
from sightline_edge.config import SpoolConfig
from sightline_edge.delivery.delivery import SPOOL_FILE
from sightline_edge.delivery.records import Lane
from sightline_edge.delivery.spool import Spool

if TYPE_CHECKING:
    from sightline.broker import Broker

pytestmark = pytest.mark.kafka

DEADLINE_S = 40


class Service:
    """A node as a service manager runs it: it is told when the node is ready and that it lives."""

    def __init__(self, config: Path, folder: Path) -> None:
        self.config = config
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "notify"))
        self.socket.settimeout(DEADLINE_S)
        environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "400000"}
        command = [sys.executable, "-m", "sightline", "edge", "run", "--config", str(config)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    def heard(self, what: str) -> None:
        """Wait for a word to the manager."""
        while self.socket.recv(100).decode() != what:
            pass

    def figures(self) -> dict[tuple[str, ...], float]:
        """Samples by name and label values."""
        port = yaml.safe_load(self.config.read_text())["metrics"]["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            families = text_string_to_metric_families(page.read().decode())
            return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}

    def until(self, name: tuple[str, ...], holds: Callable[[float], bool]) -> dict[tuple[str, ...], float]:
        """Wait until a figure is as wanted."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not holds((found := self.figures()).get(name, 0.0)):
            assert time.monotonic() < deadline_s, (name, found.get(name))
            time.sleep(0.1)
        return found


@pytest.fixture
def service(
    broker: "Broker",
    tmp_path: Path,
    make_model: Callable[..., Path],
    make_video: Callable[..., Path],
    make_camera: Callable[..., Path],
) -> Iterator[Service]:
    """A node that looks at a recording for minutes, keeps clips and tells its figures."""
    config = tmp_path / "node.yaml"
    entries = {
        "node_id": "service",
        "kafka": {"bootstrap_servers": broker.bootstrap},
        "model": str(make_model()),
        "cameras": [{"source": str(make_video("long.mp4", ["red"] * 1500)), "camera": str(make_camera("edge-service"))}],
        "pace": "realtime",
        "heartbeat_s": 0.5,
        "clips": {"segment_s": 1, "frames_per_s": 5, "blur": ["person"]},
        "metrics": {"port": free_port()},
        "forward": {"min_score": 0.9, "classes": ["car"]},
    }
    config.write_text(yaml.safe_dump(entries))
    service = Service(config, tmp_path)
    yield service
    service.process.kill()
    service.process.communicate()
    service.socket.close()


def audits(bootstrap: str) -> list[AuditRecord]:
    """The audit topic, once something is in it."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not count_messages(bootstrap, AUDIT.name):
        assert time.monotonic() < deadline_s, "no audit record came"
        time.sleep(0.1)
    return [AuditRecord.model_validate_json(message.value() or b"") for message in read_topic(bootstrap, AUDIT.name)]


def test_a_running_node_is_watched_and_stops_in_good_order(service: Service) -> None:
    service.heard("READY=1")
    service.heard("WATCHDOG=1")
    found = service.until(("sightline_edge_forwarded_total", "detections"), lambda sent: sent >= 2)
    assert found["sightline_edge_up",] == 1
    assert found["sightline_edge_centre_up",] == 1
    assert found["sightline_edge_frames_total", "edge-service"] > 10
    assert found["sightline_edge_withheld_total", "edge-service"] > 10
    assert [value for key, value in found.items() if key[0] == "sightline_edge_model_info" and "colours" in key] == [1]
    for stage in ("prepare", "queue", "inference", "post", "publish", "event"):
        assert found["sightline_edge_stage_seconds_count", stage] > 0, stage
    assert found["sightline_edge_detection_score_count", "person"] > 10
    assert found["sightline_edge_inference_batch_fill_count",] > 10
    assert abs(found["sightline_edge_clock_offset_seconds",]) < 1
    assert found["sightline_edge_oldest_frame_age_seconds",] > 0
    service.process.send_signal(signal.SIGTERM)
    service.heard("STOPPING=1")
    output, errors = service.process.communicate(timeout=DEADLINE_S)
    assert service.process.returncode == 0, errors
    assert "camera edge-service" in output


def test_a_clip_leaves_with_a_reason_that_the_centre_gets_at_once(broker: "Broker", service: Service, tmp_path: Path) -> None:
    service.heard("READY=1")
    service.until(("sightline_edge_clips_bytes",), lambda size: size > 0)
    time.sleep(2.5)  # two segments of a second are whole
    command = [sys.executable, "-m", "sightline", "edge", "export", "--config", str(service.config), "--camera", "edge-service"]
    span = ["--from", "2000-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z", "--out", str(tmp_path / "clip.mp4")]
    refused = subprocess.run([*command, *span], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1
    done = subprocess.run([*command, *span, "--reason", "accident at the gate"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clip.mp4").stat().st_size > 0
    (record,) = audits(broker.bootstrap)
    assert (record.kind, record.node_id, record.camera_id) == ("clip_exported", "service", "edge-service")
    assert record.reason == "accident at the gate"
    assert record.details["bytes"] == (tmp_path / "clip.mp4").stat().st_size


def test_a_killed_node_delivers_all_that_its_spool_had_promised(
    tmp_path: Path, make_model: Callable[..., Path], make_video: Callable[..., Path], make_camera: Callable[..., Path]
) -> None:
    """The whole node, its centre away: killed twice, and after the centre's return nothing of its spool is missing.

    Its manager hears no more after the first word: a node that waited for it to read stood still after ten.
    """
    from sightline.broker import Broker, BrokerConfig

    place = BrokerConfig(tmp_path / "broker", free_port())
    config = tmp_path / "node.yaml"
    source = {"source": str(make_video("long.mp4", ["red"] * 1500)), "camera": str(make_camera("edge-killed"))}
    entries = {
        "node_id": "killed",
        "kafka": {"bootstrap_servers": place.bootstrap, "options": {"reconnect.backoff.max.ms": 500}},
        "model": str(make_model()),
        "cameras": [source],
        "metrics": {"port": free_port()},
    }
    config.write_text(yaml.safe_dump(entries))
    promised: set[bytes] = set()
    for life in range(2):
        (tmp_path / str(life)).mkdir()
        service = Service(config, tmp_path / str(life))
        service.heard("READY=1")
        service.until(("sightline_edge_spool_messages", "detections"), lambda waiting, life=life: waiting >= 3 * (life + 1))
        service.process.kill()
        service.process.communicate()
        service.socket.close()
        spool = Spool(tmp_path / "state" / SPOOL_FILE, SpoolConfig())
        promised |= {row.value for row in spool.take(Lane.DETECTIONS, 0, 1000)}
        spool.close()
    assert len(promised) >= 6
    with Broker(place):
        config.write_text(yaml.safe_dump(entries | {"max_frames": 5, "pace": "fast"}))
        done = subprocess.run(
            [sys.executable, "-m", "sightline", "edge", "run", "--config", str(config)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        arrived = [bytes(message.value() or b"") for message in read_topic(place.bootstrap, DETECTIONS.name)]
    assert promised <= set(arrived)
    assert len(arrived) == len(set(arrived))
    sessions: dict[int, list[int]] = {}
    for batch in map(parse_batch, arrived):
        sessions.setdefault(batch.session, []).append(batch.seq)
    assert len(sessions) == 3
    assert all(seqs == list(range(len(seqs))) for seqs in sessions.values()), sessions
