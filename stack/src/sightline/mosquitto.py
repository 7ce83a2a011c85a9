"""A local MQTT broker: a real Mosquitto of this machine, on loopback only, for the demo, benchmarks and tests."""

import getpass
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from sightline.ports import LOOPBACK, answers, require_free
from sightline.processes import Child, start
from sightline_contract.errors import BrokerError, StageError, ToolMissingError

_READY_TIMEOUT_S = 20
_STOP_GRACE_S = 5
# Debian puts it where only root's PATH looks.
_PLACES = ("mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto")


def has_mosquitto() -> bool:
    """Whether this machine has the program."""
    return any(shutil.which(place) for place in _PLACES)


def find_mosquitto() -> str:
    """Path of the program; raises ToolMissingError that says how to get it."""
    for place in _PLACES:
        if found := shutil.which(place):
            return found
    raise ToolMissingError(
        "Mosquitto is not installed: install it (Debian, Ubuntu: apt install mosquitto; Fedora: dnf install mosquitto)"
    )


@dataclass(frozen=True)
class MosquittoConfig:
    """Where it listens, and further lines of its configuration file."""

    folder: Path
    port: int
    settings: tuple[str, ...] = ("allow_anonymous true",)
    environment: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The configuration file."""
        # Started by root, Mosquitto becomes another user, who may not write the folder.
        own = f"user {getpass.getuser()}"
        lines = (f"listener {self.port} {LOOPBACK}", "set_tcp_nodelay true", "log_dest stderr", own, *self.settings)
        return "\n".join(lines) + "\n"


class Mosquitto:
    """A broker that this process starts and stops: use it as a context manager."""

    def __init__(self, config: MosquittoConfig) -> None:
        self.config = config
        self._child: Child | None = None
        self.lives = 0  # how often it was started

    @property
    def log_path(self) -> Path:
        """What the broker says, since it was last started."""
        return self.config.folder / f"mosquitto-{self.lives}.log"

    @property
    def runs(self) -> bool:
        """Whether it was started and not stopped."""
        return self._child is not None

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        if self._child is None:
            raise BrokerError(f"Mosquitto at port {self.config.port} was not started by this process")
        return self._child.pid

    def start(self) -> Self:
        """Start and wait until it answers; raises ToolMissingError, PortInUseError or BrokerError."""
        program, config = find_mosquitto(), self.config
        require_free(config.port, "Mosquitto", "stop it, or choose another port")
        config.folder.mkdir(parents=True, exist_ok=True)
        file = config.folder / "mosquitto.conf"
        file.write_text(config.text(), encoding="utf-8")
        self.lives += 1
        self._child = start("mosquitto", [program, "-c", file], self.log_path, environment=config.environment)
        try:
            self._child.wait_until(lambda: answers(config.port), _READY_TIMEOUT_S, f"port {config.port} is open")
        except StageError as error:
            self.stop()
            raise BrokerError(str(error)) from error
        return self

    def kill(self) -> None:
        """SIGKILL; what it had not written is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """Stop cleanly; nothing happens when it does not run."""
        if self._child is not None:
            self._child.stop(_STOP_GRACE_S)
            self._child = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
