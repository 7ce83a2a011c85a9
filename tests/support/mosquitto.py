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

    def __init__(self, folder: Path, tls: Tls, acls: str, newest: str = "TLSv1.3") -> None:
        """Ports, folders and certificates are this test's own; with ``newest`` TLSv1.2 it is one that nobody updated."""
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
        }
        if newest != "TLSv1.3":
            own["tls_version"] = newest.lower()
        lines = [line for line in CONFIGURATION.read_text().splitlines() if line and not line.startswith("#")]
        words = [line.split(" ", 1) for line in lines]
        text = "".join(f"{key} {own.get(key, value)}\n" for key, value in words)
        (folder / "mosquitto.conf").write_text(text + "user root\n")  # or root's would become one that cannot read the key
        # Mosquitto sets the lowest version only; OpenSSL's own settings have the highest.
        (folder / "openssl.cnf").write_text(
            "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = limits\n[limits]\n"
            f"MinProtocol = TLSv1.2\nMaxProtocol = {newest}\n"
        )
        self._folder = folder
        self._child: Child | None = None

    def __enter__(self) -> "Mosquitto":
        assert EXECUTABLE is not None
        command = [EXECUTABLE, "-c", self._folder / "mosquitto.conf"]
        limits = {"OPENSSL_CONF": str(self._folder / "openssl.cnf")}
        self._child = start("mosquitto", command, self.log_path, environment=limits)
        self._child.wait_until(lambda: answers(self.port), 10, f"port {self.port} is open")
        return self

    def __exit__(self, *_error: object) -> None:
        if self._child is not None:
            self._child.stop()

    @property
    def log(self) -> str:
        """All that the broker has said."""
        return self.log_path.read_text()
