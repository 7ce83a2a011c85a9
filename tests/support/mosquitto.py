"""A Mosquitto with the doors and rules of ``edge/deploy/mosquitto.conf``: what is tested is the file that people get."""

import shutil
from pathlib import Path

from sightline.ports import LOOPBACK, answers, free_port
from sightline.processes import Child, start
from sightline_edge.config import Tls

CONFIGURATION = Path(__file__).parents[2] / "edge/deploy/mosquitto.conf"
_FOLDERS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"  # Debian's is not in an ordinary user's PATH
EXECUTABLE = shutil.which("mosquitto") or shutil.which("mosquitto", path=_FOLDERS)


class Mosquitto:
    """A running broker; use it as a context manager."""

    def __init__(self, folder: Path, tls: Tls, acls: str, **settings: str) -> None:
        """``settings`` go over those of the deployed file; ports, folders and certificates are this test's own."""
        self.port = free_port()
        self.log_path = folder / "mosquitto.log"
        (folder / "acl").write_text(acls)
        own = {
            "listener": f"{self.port} {LOOPBACK}",
            "cafile": str(tls.ca),
            "certfile": str(tls.certificate),
            "keyfile": str(tls.key),
            "acl_file": str(folder / "acl"),
            "persistence_location": f"{folder}/",
        } | settings
        lines = [line for line in CONFIGURATION.read_text().splitlines() if line and not line.startswith("#")]
        words = [line.split(" ", 1) for line in lines]
        text = "".join(f"{key} {own.get(key, value)}\n" for key, value in words)
        (folder / "mosquitto.conf").write_text(text + "user root\n")  # of a test that root runs; others cannot change it
        self._folder = folder
        self._child: Child | None = None

    def __enter__(self) -> "Mosquitto":
        assert EXECUTABLE is not None
        self._child = start("mosquitto", [EXECUTABLE, "-c", self._folder / "mosquitto.conf"], self.log_path)
        self._child.wait_until(lambda: answers(self.port), 10, f"port {self.port} is open")
        return self

    def __exit__(self, *_error: object) -> None:
        if self._child is not None:
            self._child.stop()

    @property
    def log(self) -> str:
        """All that the broker has said."""
        return self.log_path.read_text()
