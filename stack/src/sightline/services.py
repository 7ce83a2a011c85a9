"""The long-running services of a one-machine stack: started in the background, found again, stopped.

Below the home folder each service has a folder of its own for data and log, and ``run/NAME.json`` says which process it
is. A process id alone may belong to somebody else by now, so the record holds the start time too: only a process with
both is ours, and only ours is ever signalled.
"""

import fcntl
import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import psutil

from sightline.broker import BrokerConfig, create_topics, launch, wait_until_ready
from sightline.bundle_service import BundleService
from sightline.driver_process import DEFAULT_CONNECT_PORT, DriverConfig, DriverProcess, launch_driver
from sightline.processes import Child, kill_group
from sightline.registry_service import RegistryService
from sightline_contract.camera import load_cameras
from sightline_contract.errors import ConfigError

AUDIT_SIGNER = "audit-signer"

_STOP_GRACE_S = 30
_DRIVER_TIMEOUT_S = 180.0
_START_TIME_TOLERANCE_S = 1.0


class Service(Protocol):
    """Something that ``sightline up`` starts and ``sightline down`` stops."""

    @property
    def name(self) -> str:
        """Short and unique."""

    @property
    def port(self) -> int | None:
        """Where it listens, if it does."""

    def launch(self, *, tied: bool) -> Child:
        """Start it and return at once; tied, it ends with this process."""

    def wait_until_ready(self, child: Child) -> None:
        """Return when it serves; raise SightlineError when it does not come up."""


@dataclass(frozen=True)
class BrokerService:
    """The embedded Kafka with Sightline's topics."""

    config: BrokerConfig
    name: str = "broker"

    @property
    def port(self) -> int:
        """Where clients connect."""
        return self.config.port

    def launch(self, *, tied: bool) -> Child:
        """Start the JVM."""
        return launch(self.config, tied=tied)

    def wait_until_ready(self, child: Child) -> None:
        """Wait for the listener, then make the topics."""
        wait_until_ready(self.config, child)
        create_topics(self.config.bootstrap)


@dataclass(frozen=True)
class DriverService:
    """The streaming jobs and the SQL endpoint, in one Spark driver."""

    config: DriverConfig
    name: str = "driver"

    @property
    def port(self) -> int:
        """Where Spark Connect clients connect."""
        return self.config.connect_port

    def launch(self, *, tied: bool) -> Child:
        """Start the driver; it waits for the broker by itself."""
        return launch_driver(self.config, tied=tied).child

    def wait_until_ready(self, child: Child) -> None:
        """Wait until every job takes input."""
        DriverProcess(self.config, child).wait_for("ready", timeout_s=_DRIVER_TIMEOUT_S)


@dataclass(frozen=True)
class Record:
    """Which process a service is."""

    name: str
    pid: int
    started_s: float  # since the epoch, as the kernel tells it
    port: int | None
    log: str

    def process(self) -> psutil.Process | None:
        """The running process, or None when it has ended."""
        try:
            process = psutil.Process(self.pid)
            is_ours = abs(process.create_time() - self.started_s) < _START_TIME_TOLERANCE_S
            return process if is_ours and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def default_home() -> Path:
    """``$SIGHTLINE_HOME``, or else ``sightline`` in the user's data folder."""
    chosen = os.environ.get("SIGHTLINE_HOME")
    return Path(chosen).expanduser().absolute() if chosen else Path.home() / ".local/share/sightline"


def local_services(
    home: Path, broker_port: int, cameras: Path | None = None, sql_port: int = DEFAULT_CONNECT_PORT
) -> tuple[Service, ...]:
    """Broker and driver, in the order in which they start; without ``cameras`` the broker alone."""
    broker = BrokerService(BrokerConfig(home / "broker", broker_port))
    if cameras is None:
        return (broker,)
    load_cameras(cameras)  # what is wrong in a camera file is told before anything starts
    job = {
        "kafka": {"bootstrap_servers": broker.config.bootstrap},
        "table_root": str(home / "tables"),
        "checkpoint_root": str(home / "checkpoints"),
        "cameras": str(cameras.absolute()),
        **_audit_signer(home / AUDIT_SIGNER),
    }
    return broker, DriverService(DriverConfig(home / "driver", job, sql_port))


def model_services(home: Path, registry_port: int, bundle_port: int) -> tuple[Service, ...]:
    """What models come from: the registry, and the server of the bundle store."""
    return RegistryService(home / "mlflow", registry_port), BundleService(home / "bundles", bundle_port)


def _audit_signer(folder: Path) -> dict[str, dict[str, str]]:
    """The jobs' setting for signing the audit log, where the folder of a 'sightline pki issue NAME --signer' is."""
    names = {"signer_certificate": "signer.pem", "signer_key": "signer.key", "trust": "ca.pem"}
    return {"audit": {key: str(folder / name) for key, name in names.items()}} if folder.is_dir() else {}


def up(home: Path, services: Sequence[Service]) -> list[Record]:
    """Start those of ``services`` that do not run, all at once; returns the records of the ones started now.

    Where one does not come up its error is raised, and it is stopped again with those that were not ready yet; those that
    are ready, seen in the order of ``services``, keep running.
    """
    with _locked(home):
        missing = [service for service in services if not _runs(home, service)]
        started: list[Record] = []
        unready: list[tuple[Service, Child]] = []
        try:
            for service in missing:
                child = service.launch(tied=False)
                unready.append((service, child))
                started.append(_write_record(home, service, child))
            while unready:
                service, child = unready[0]
                service.wait_until_ready(child)
                del unready[0]
        except BaseException:
            for service, child in reversed(unready):
                child.stop()
                _record_path(home, service.name).unlink(missing_ok=True)
            raise
    return started


def launch_all(services: Sequence[Service], *, tied: bool) -> list[Child]:
    """Start all of ``services`` at once, without waiting for any; where one cannot be started, those before it are stopped."""
    with ExitStack() as begun:
        children = []
        for service in services:
            child = service.launch(tied=tied)
            begun.callback(child.stop)
            children.append(child)
        begun.pop_all()
    return children


def keep(home: Path, services: Sequence[Service], children: Sequence[Child]) -> None:
    """Record running, untied children, so that ``status`` and ``down`` know them; ConfigError where others are up already."""
    with _locked(home):
        for service, child in zip(services, children, strict=True):
            kept = read_record(home, service.name)
            if kept and kept.process():
                raise ConfigError(f"another {kept.name} runs already (pid {kept.pid}): stop it with 'sightline down'")
            _write_record(home, service, child)


def down(home: Path) -> list[Record]:
    """Stop every running service, the youngest first; returns the records of the ones stopped now."""
    stopped = []
    with _locked(home):
        for record in sorted(records(home), key=lambda each: each.started_s, reverse=True):
            if process := record.process():
                _stop(process)
                stopped.append(record)
            _record_path(home, record.name).unlink()
    return stopped


def records(home: Path) -> list[Record]:
    """What was started below ``home`` and not stopped, running or not."""
    found = (read_record(home, path.stem) for path in sorted((home / "run").glob("*.json")))
    return [record for record in found if record]


def read_record(home: Path, name: str) -> Record | None:
    """The record of one service, or None."""
    try:
        return Record(**json.loads(_record_path(home, name).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        path = _record_path(home, name)
        raise ConfigError(f"{path}: is damaged: see whether the {name} runs (ps), end it and delete the file") from error


def _runs(home: Path, service: Service) -> bool:
    """Whether it runs already; raises ConfigError where it does on another port."""
    running = read_record(home, service.name)
    if running is None or running.process() is None:
        return False
    if running.port != service.port:
        where = f"the {running.name} runs already, on port {running.port} and not {service.port}"
        raise ConfigError(f"{where}: stop it with 'sightline down', or give that port")
    return True


def _write_record(home: Path, service: Service, child: Child) -> Record:
    record = Record(service.name, child.pid, psutil.Process(child.pid).create_time(), service.port, str(child.log_path))
    path = _record_path(home, service.name)
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(asdict(record)), encoding="utf-8")
    unfinished.replace(path)
    return record


def _stop(process: psutil.Process) -> None:
    group = process.pid  # every service leads a process group of its own
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_GRACE_S)
    except psutil.TimeoutExpired:
        kill_group(group)
        process.wait(_STOP_GRACE_S)
    kill_group(group)  # what the service itself has started and left behind


def _record_path(home: Path, name: str) -> Path:
    return home / "run" / f"{name}.json"


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """One ``up`` or ``down`` at a time below ``home``."""
    folder = home / "run"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
