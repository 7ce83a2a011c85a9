"""A broker with the doors and rules of ``edge/deploy/kafka-edge.properties``: what is tested is the file that people get."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from sightline.broker import BrokerConfig
from sightline.ports import LOOPBACK, free_port
from sightline_edge.config import Tls
from sightline_edge.security.authority import Authority, init
from sightline_edge.security.commands import files_in
from sightline_edge.security.tls import librdkafka_options

DEPLOY = Path(__file__).parents[2] / "edge/deploy"


class Certificates:
    """An authority in a folder, and what it issued."""

    def __init__(self, folder: Path) -> None:
        # Old enough to have issued what is expired by now.
        init(folder / "authority", None, datetime.now(UTC) - timedelta(days=100))
        self._authority = Authority(folder / "authority", None)
        self._folder = folder

    def issue(self, name: str, *, age_days: float = 0, hosts: tuple[str, ...] = ()) -> Tls:
        """A new certificate for 30 days, of which ``age_days`` have passed."""
        signed = datetime.now(UTC) - timedelta(days=age_days)
        return files_in(self._authority.issue(name, self._folder, signed, days=30, hosts=hosts))

    def forged(self, name: str, victim: Path) -> Tls:
        """A certificate that says to be of the authority ``victim``, signed with this one's key."""
        self._authority._certificate = x509.load_pem_x509_certificate(victim.read_bytes())
        return self.issue(name).model_copy(update={"ca": victim})


def deployed_properties() -> dict[str, str]:
    """The properties that a site's Kafka runs with, without its data folder, which is the test's own."""
    lines = (DEPLOY / "kafka-edge.properties").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith(("#", "log.dirs=")))


def tls_broker(data_dir: Path, kafka: Tls, admin: Tls, old_port: int) -> BrokerConfig:
    """A broker from the deployed file; its ports, folders and certificates are this test's own.

    ``old_port`` is a door of the same broker that speaks TLS 1.2 only, as one that nobody updated would.
    """
    port, controller = free_port(), free_port()
    doors = f"CLIENTS://{LOOPBACK}:{port},OLD://{LOOPBACK}:{old_port},CONTROLLER://{LOOPBACK}:{controller}"
    deployed = deployed_properties()
    own = {
        "listeners": doors,
        "advertised.listeners": doors,
        "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{controller}",
        "ssl.keystore.location": str(kafka.certificate.with_name("keystore.pem")),
        "ssl.truststore.location": str(kafka.ca),
        "listener.security.protocol.map": f"{deployed['listener.security.protocol.map']},OLD:SSL",
        "listener.name.old.ssl.enabled.protocols": "TLSv1.2",
        "listener.name.old.ssl.protocol": "TLSv1.2",
    }
    return BrokerConfig(data_dir, port, deployed | own, librdkafka_options(admin))
