"""``sightline up``, ``status`` and ``down``, as a user runs them."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from sightline import services
from sightline.broker import BrokerConfig, require_broker
from sightline.ports import LOOPBACK, free_port
from sightline.processes import Child, start
from sightline_contract.errors import ConfigError, PortInUseError, StageError

pytestmark = pytest.mark.kafka

SIGHTLINE = Path(sys.executable).with_name("sightline")


def sightline(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SIGHTLINE, *words], capture_output=True, text=True, timeout=120, check=False)


@dataclass(frozen=True)
class Sleeper:
    """A service that does nothing, in a real process."""

    folder: Path
    name: str = "sleeper"
    port: int | None = None

    def launch(self, *, tied: bool) -> Child:
        return start(self.name, [sys.executable, "-c", "import time; time.sleep(600)"], self.folder / "log", tied=tied)

    def wait_until_ready(self, child: Child) -> None:
        assert child.exit_code is None


@dataclass(frozen=True)
class Kept(Sleeper):
    """One whose process the test itself buries; it may be broken, and then never becomes ready."""

    is_broken: bool = False
    children: list[Child] = field(default_factory=list)

    def launch(self, *, tied: bool) -> Child:
        self.children.append(super().launch(tied=tied))
        return self.children[-1]

    def wait_until_ready(self, child: Child) -> None:
        super().wait_until_ready(child)
        if self.is_broken:
            raise StageError("it is broken")


@pytest.fixture
def home(tmp_path: Path, jars: dict[str, tuple[Path, ...]]) -> Iterator[Path]:
    yield tmp_path / "home"
    services.down(tmp_path / "home")


def test_a_stack_goes_up_once_is_shown_and_goes_down(home: Path) -> None:
    port = str(free_port())
    first = sightline("up", "--no-registry", "--home", home, "--port", port)
    assert first.returncode == 0, first.stderr
    assert "broker started" in first.stdout
    require_broker(f"{LOOPBACK}:{port}")

    again = sightline("up", "--no-registry", "--home", home, "--port", port)
    assert (again.returncode, again.stdout.strip()) == (0, "everything runs already")

    elsewhere = sightline("up", "--no-registry", "--home", home, "--port", str(free_port()))
    assert elsewhere.returncode == 1
    assert f"runs already, on port {port}" in elsewhere.stderr

    shown = sightline("status", "--home", home)
    assert shown.returncode == 0
    (record,) = services.records(home)
    for word in ("broker", "running", str(record.pid), port, "MiB"):
        assert word in shown.stdout

    stopped = sightline("down", "--home", home)
    assert (stopped.returncode, stopped.stdout.strip()) == (0, "broker stopped")
    assert not psutil.pid_exists(record.pid)
    assert sightline("down", "--home", home).stdout.strip() == "nothing was running"


def test_a_stack_that_is_down_is_exit_code_1(home: Path) -> None:
    shown = sightline("status", "--home", home)
    assert shown.returncode == 1
    assert "stopped" in shown.stdout


def test_a_process_that_only_has_the_same_id_is_left_alone(home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        (home / "run").mkdir(parents=True)
        started_s = psutil.Process(stranger.pid).create_time() - 3600
        record = {"name": "broker", "pid": stranger.pid, "started_s": started_s, "port": 1, "log": "x"}
        (home / "run/broker.json").write_text(json.dumps(record))
        assert "ended" in sightline("status", "--home", home).stdout
        assert services.down(home) == []
        assert stranger.poll() is None
        stranger.communicate(b"\n")


def test_a_service_that_does_not_come_up_leaves_no_record(home: Path) -> None:
    (home / "broker/log").mkdir(parents=True)
    (home / "broker/log/meta.properties").write_text("version=1\ncluster.id=another\nnode.id=7\n")
    refused = sightline("up", "--no-registry", "--home", home, "--port", str(free_port()))
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: broker ended with exit code 1: ")
    assert len(refused.stderr.strip().splitlines()) == 1
    assert services.records(home) == []


def test_where_one_service_does_not_come_up_those_that_are_ready_stay(tmp_path: Path) -> None:
    """All start at once: one that was not waited for yet is stopped, too, since nobody knows whether it serves."""
    first, broken, last = Kept(tmp_path, "first"), Kept(tmp_path, "broken", is_broken=True), Kept(tmp_path, "last")
    repaired = Kept(tmp_path, "broken")
    try:
        with pytest.raises(StageError, match="it is broken"):
            services.up(tmp_path, [first, broken, last])
        assert [record.name for record in services.records(tmp_path)] == ["first"]
        assert [service.children[0].exit_code is None for service in (first, broken, last)] == [True, False, False]
        assert [record.name for record in services.up(tmp_path, [first, repaired, last])] == ["broken", "last"]
    finally:
        services.down(tmp_path)
        for service in (first, broken, last, repaired):
            for child in service.children:
                child.stop()


def test_services_that_a_demo_leaves_running_are_known_to_status_and_down(home: Path) -> None:
    sleeper = Sleeper(home.parent)
    children = services.launch_all([sleeper], tied=False)
    services.keep(home, [sleeper], children)
    assert [record.pid for record in services.records(home)] == [children[0].pid]
    others = services.launch_all([sleeper], tied=True)
    with pytest.raises(ConfigError, match="another sleeper runs already"):
        services.keep(home, [sleeper], others)
    others[0].stop()
    assert [record.name for record in services.down(home)] == ["sleeper"]
    assert not psutil.pid_exists(children[0].pid)
    assert children[0].wait(0) is not None


def test_where_one_service_cannot_start_those_before_it_are_stopped(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        broker = services.BrokerService(BrokerConfig(tmp_path, taken.getsockname()[1]))
        with pytest.raises(PortInUseError):
            services.launch_all([Sleeper(tmp_path), broker], tied=True)
    assert set(psutil.Process().children()) <= before


def test_a_damaged_record_says_what_to_do(home: Path) -> None:
    (home / "run").mkdir(parents=True)
    (home / "run/broker.json").write_text("{")
    with pytest.raises(ConfigError, match=r"broker\.json: is damaged"):
        services.records(home)
    (home / "run/broker.json").unlink()


def test_the_jobs_sign_the_audit_log_where_a_signer_lies_in_the_home(tmp_path: Path) -> None:
    cameras = Path(__file__).parents[2] / "edge/configs/crossroads.yaml"

    def job() -> dict[str, object]:
        (driver,) = [one for one in services.local_services(tmp_path, 1, cameras) if isinstance(one, services.DriverService)]
        return dict(driver.config.job)

    assert "audit" not in job()
    (tmp_path / "audit-signer").mkdir()
    assert job()["audit"] == {
        "signer_certificate": f"{tmp_path}/audit-signer/signer.pem",
        "signer_key": f"{tmp_path}/audit-signer/signer.key",
        "trust": f"{tmp_path}/audit-signer/ca.pem",
    }
