"""The whole way out over mutual TLS 1.3, with the brokers' files that a site deploys."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deployed_mosquitto import deployed_mosquitto
from edge_messages import batch, event
from tls_broker import Certificates, tls_broker

from sightline.broker import Broker
from sightline.mosquitto import has_mosquitto
from sightline.ports import LOOPBACK, free_port
from sightline.topic_content import read_topic
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.errors import ConfigError
from sightline_contract.topics import DETECTIONS
from sightline_edge.config import NodeConfig, Tls
from sightline_edge.delivery.delivery import Delivery
from sightline_edge.security.acls import kafka_acls, mosquitto_acls
from sightline_edge.security.kafka_admin import KafkaAdmin
from sightline_edge.security.tls import librdkafka_options

pytestmark = pytest.mark.kafka

DRAIN_S = 20.0


class Site:
    """A centre that knows one node, and certificates of all sorts."""

    def __init__(self, folder: Path) -> None:
        self.certificates = Certificates(folder / "certificates")
        kafka = self.certificates.issue("kafka", hosts=(LOOPBACK,))
        self.admin = self.certificates.issue("admin")
        self.node = self.certificates.issue("gate-1")
        self.expired = self.certificates.issue("gate-2", age_days=31)
        self.broker = Broker(tls_broker(folder / "broker", kafka, self.admin, free_port()))

    def messages(self, prefix: str) -> list[DetectionBatch]:
        found = read_topic(self.broker.bootstrap, DETECTIONS.name, librdkafka_options(self.admin))
        mine = [message for message in found if (message.key() or b"").decode().startswith(prefix)]
        return [DetectionBatch.FromString(message.value() or b"") for message in mine]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("secure"))
    with site.broker:
        KafkaAdmin(site.broker.bootstrap, site.admin).allow(kafka_acls(["gate-1", "gate-2"]))
        yield site


def delivery_of(folder: Path, site: Site, node_id: str, tls: Tls | None, **changes: object) -> Delivery:
    kafka = {"bootstrap_servers": site.broker.bootstrap, "tls": tls.model_dump() if tls else None}
    entries = {"node_id": node_id, "kafka": kafka, "model": "m", "cameras": [{"source": "s", "camera": "c"}]}
    delivery = Delivery(NodeConfig.model_validate({**entries, "state": folder, **changes}), [], wait=False)
    delivery.start()
    return delivery


def said(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("sightline_edge.delivery"))


def test_a_node_with_its_certificate_delivers(tmp_path: Path, site: Site) -> None:
    delivery = delivery_of(tmp_path, site, "gate-1", site.node)
    for seq in range(20):
        delivery.send_batch(batch("good", seq))
    assert delivery.close(DRAIN_S) == 0
    assert [each.seq for each in site.messages("good")] == list(range(20))


@pytest.mark.parametrize(("who", "says"), [("expired", "expired on"), (None, "where it wants TLS, set 'tls'")])
def test_a_node_that_is_refused_keeps_its_messages_and_says_why(
    tmp_path: Path,
    site: Site,
    who: str | None,
    says: str,
    caplog: pytest.LogCaptureFixture,
    wait_for: Callable[[Callable[[], bool]], None],
) -> None:
    delivery = delivery_of(tmp_path, site, "gate-2", getattr(site, who) if who else None)
    for seq in range(20):
        delivery.send_batch(batch(f"kept-{who}", seq))
    wait_for(lambda: says in said(caplog))
    assert "wait in the spool" in said(caplog)
    assert delivery.close(0) == 20
    mended = delivery_of(tmp_path, site, "gate-2", site.node)
    assert mended.close(DRAIN_S) == 0
    assert [each.seq for each in site.messages(f"kept-{who}")] == list(range(20))


def test_rights_that_come_later_let_what_waited_through(
    tmp_path: Path, site: Site, caplog: pytest.LogCaptureFixture, wait_for: Callable[[Callable[[], bool]], None]
) -> None:
    newcomer = site.certificates.issue("gate-3")
    delivery = delivery_of(tmp_path, site, "gate-3", newcomer)
    for seq in range(20):
        delivery.send_batch(batch("late-rights", seq))
    # Which of its requests is refused first is up to the broker.
    wait_for(lambda: "gate-3 may not " in said(caplog))
    assert delivery.spool.depth().total == 20
    KafkaAdmin(site.broker.bootstrap, site.admin).allow(kafka_acls(["gate-3"]))
    assert delivery.close(DRAIN_S) == 0
    assert [each.seq for each in site.messages("late-rights")] == list(range(20))


def test_files_that_cannot_be_used_are_told_before_anything_is_kept(tmp_path: Path, site: Site) -> None:
    wrong = site.node.model_copy(update={"key": site.admin.key})
    with pytest.raises(ConfigError, match="does not belong to"):
        delivery_of(tmp_path, site, "gate-1", wrong)


@pytest.mark.skipif(not has_mosquitto(), reason="Mosquitto is not installed (Debian: apt install mosquitto)")
def test_neighbours_meet_on_a_broker_that_knows_them(
    tmp_path: Path, site: Site, caplog: pytest.LogCaptureFixture, wait_for: Callable[[Callable[[], bool]], None]
) -> None:
    issue = site.certificates.issue
    rules = mosquitto_acls({"drone-1": [], "drone-2": ["drone-1"]})
    server = issue("mqtt", hosts=(LOOPBACK,))
    with deployed_mosquitto(tmp_path / "mosquitto", server, rules) as local:

        def drone(name: str, tls: Tls, **changes: object) -> Delivery:
            broker = {"port": local.config.port, "tls": tls.model_dump()}
            return delivery_of(tmp_path / name, site, name, None, local_broker=broker, **changes)

        first = drone("drone-1", issue("drone-1"))
        second = drone("drone-2", issue("drone-2"), neighbours={"nodes": ["drone-1"]})
        stranger = drone("gate-9", issue("gate-9", age_days=31))
        wait_for(lambda: "expired on" in said(caplog))
        assert second.watch is not None
        wait_for(lambda: first.local is not None and second.local is not None)
        deadline_s = time.monotonic() + 20
        while not second.watch.warnings:
            assert time.monotonic() < deadline_s
            first.send_event(event("drone-1"))
            time.sleep(0.2)
        for delivery in (first, second, stranger):
            delivery.close(0)
