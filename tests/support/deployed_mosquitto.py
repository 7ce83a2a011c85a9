"""A Mosquitto with the doors and rules of ``edge/deploy/mosquitto.conf``: what is tested is the file that people get."""

from dataclasses import dataclass
from pathlib import Path

from sightline.mosquitto import Mosquitto, MosquittoConfig
from sightline.ports import LOOPBACK, free_port
from sightline_edge.config import Tls

CONFIGURATION = Path(__file__).parents[2] / "edge/deploy/mosquitto.conf"


@dataclass(frozen=True)
class _Deployed(MosquittoConfig):
    """The deployed file, with this machine's values for the settings in ``own``."""

    own: tuple[tuple[str, str], ...] = ()

    def text(self) -> str:
        own = dict(self.own)
        lines = [line for line in CONFIGURATION.read_text().splitlines() if line and not line.startswith("#")]
        words = [line.split(" ", 1) for line in lines]
        text = "".join(f"{key} {own.get(key, value)}\n" for key, value in words)
        return text + "user root\n"  # or root's would become one that cannot read the key


def deployed_mosquitto(folder: Path, tls: Tls, acls: str, newest: str = "TLSv1.3") -> Mosquitto:
    """Ports, folders and certificates are this test's own; with ``newest`` TLSv1.2 it is one that nobody updated."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "acl").write_text(acls)
    own = {
        "listener": f"{port} {LOOPBACK}",
        "cafile": str(tls.ca),
        "certfile": str(tls.certificate),
        "keyfile": str(tls.key),
        "acl_file": str(folder / "acl"),
        "persistence_location": f"{folder}/",
    }
    if newest != "TLSv1.3":
        own["tls_version"] = newest.lower()
    # Mosquitto sets the lowest version only; OpenSSL's own settings have the highest.
    (folder / "openssl.cnf").write_text(
        "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = limits\n[limits]\n"
        f"MinProtocol = TLSv1.2\nMaxProtocol = {newest}\n"
    )
    limits = {"OPENSSL_CONF": str(folder / "openssl.cnf")}
    return Mosquitto(_Deployed(folder, port, environment=limits, own=tuple(own.items())))
