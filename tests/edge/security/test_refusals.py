"""The real Kafka, with the doors and rules of the file that a site deploys: who is refused, and that both sides tell it."""

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from tls_broker import DEPLOY, Certificates, deployed_properties, tls_broker

from sightline.broker import Broker
from sightline.ports import LOOPBACK, free_port
from sightline_contract.errors import BrokerError
from sightline_contract.topics import AUDIT, DETECTIONS, EVENTS, MODEL_ROLLOUT, NODE_STATUS
from sightline_edge.config import Tls
from sightline_edge.security.acls import consumer_group, kafka_acls
from sightline_edge.security.kafka_admin import KafkaAdmin
from sightline_edge.security.refusals import explain, refused_at_the_door
from sightline_edge.security.tls import librdkafka_options

pytestmark = pytest.mark.kafka

_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Site:
    """A broker with two nodes that have their rights, and certificates of all sorts."""

    broker: Broker
    old_port: int  # the same broker's door for TLS 1.2
    certificates: Certificates
    admin: Tls
    node: Tls
    expired: Tls
    foreign: Tls

    def log(self) -> str:
        return self.broker.config.log_path.read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    ours, theirs = Certificates(folder / "ours"), Certificates(folder / "theirs")
    kafka, admin, node = ours.issue("kafka", hosts=(LOOPBACK,)), ours.issue("admin"), ours.issue("gate-1")
    foreign = theirs.issue("gate-1").model_copy(update={"ca": node.ca})
    old_port = free_port()
    with Broker(tls_broker(folder / "broker", kafka, admin, old_port)) as broker:
        KafkaAdmin(broker.bootstrap, admin).allow(kafka_acls(["gate-1", "gate-10"]))
        yield Site(broker, old_port, ours, admin, node, ours.issue("gate-9", age_days=31), foreign)


@pytest.fixture
def logged(site: Site) -> Callable[[str], str]:
    """Waits for a line of the broker's log, of those since the test began, that a pattern matches; returns it."""
    begin = len(site.log())

    def wait(pattern: str) -> str:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            for line in site.log()[begin:].splitlines():
                if re.search(pattern, line):
                    return line
            time.sleep(0.05)
        raise AssertionError(f"the broker's log has no line like {pattern!r} but:\n{site.log()[begin:]}")

    return wait


def first_error(options: dict[str, str | bool], bootstrap: str) -> KafkaError | None:
    """What librdkafka says of a connection; None when the broker answers."""
    errors: list[KafkaError] = []
    client = Producer({"bootstrap.servers": bootstrap, "log_level": 0, "error_cb": errors.append, **options})
    deadline = time.monotonic() + _PATIENCE_S
    while not errors and time.monotonic() < deadline:
        try:
            client.list_topics(timeout=0.5)
        except KafkaException:
            client.poll(0)
        else:
            return None
    return errors[0]


def sent(tls: Tls, bootstrap: str, topic: str) -> KafkaError | None:
    """What becomes of an idempotent producer's message to ``topic``; None when it was acknowledged."""
    outcome: list[KafkaError | None] = []
    options = {"bootstrap.servers": bootstrap, "log_level": 0, "enable.idempotence": True, "error_cb": outcome.append}
    producer = Producer(options | librdkafka_options(tls))
    producer.produce(topic, b"{}", "gate-1", on_delivery=lambda error, _message: outcome.append(error))
    producer.flush(_PATIENCE_S)
    return outcome[0]


def read(tls: Tls, bootstrap: str, topic: str, group: str, *, join: bool) -> KafkaError | bytes | None:
    """The first message of ``topic`` or the first error; ``join`` goes by the group, as opposed to a partition by hand."""
    options = {"bootstrap.servers": bootstrap, "log_level": 0, "group.id": group, "auto.offset.reset": "earliest"}
    consumer = Consumer(options | librdkafka_options(tls))
    try:
        if join:
            consumer.subscribe([topic])
        else:
            consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        message = consumer.poll(_PATIENCE_S)
        assert message is not None, "neither a message nor an error came"
        return message.error() or message.value()
    except KafkaException as error:
        return error.args[0]
    finally:
        consumer.close()


def one_line(error: KafkaError | None, tls: Tls | None) -> str:
    assert error is not None, "was not refused"
    told = explain(error, "Kafka at the site", tls)
    assert told.startswith("Kafka at the site: ")
    assert "\n" not in told
    return told


def without_certificate(node: Tls) -> dict[str, str | bool]:
    own = ("ssl.certificate.location", "ssl.key.location")
    return {key: value for key, value in librdkafka_options(node).items() if key not in own}


def test_a_node_of_ours_writes_its_four_topics(site: Site) -> None:
    for topic in (DETECTIONS, EVENTS, NODE_STATUS, AUDIT):
        assert sent(site.node, site.broker.bootstrap, topic.name) is None
    assert refused_at_the_door(LOOPBACK, site.broker.config.port, site.node, timeout_s=0.5) is None


def test_a_node_of_ours_reads_its_rollout_topic_with_a_group_of_its_own(site: Site) -> None:
    assert sent(site.admin, site.broker.bootstrap, MODEL_ROLLOUT.name) is None
    group = consumer_group("gate-1", "rollout")
    assert read(site.node, site.broker.bootstrap, MODEL_ROLLOUT.name, group, join=True) == b"{}"


def test_no_certificate_is_refused(site: Site, logged: Callable[[str], str]) -> None:
    told = one_line(first_error(without_certificate(site.node), site.broker.bootstrap), None)
    assert "wants a certificate of its authority and was shown none" in told
    assert LOOPBACK in logged("SSL Handshake failed .*certificate_required")
    assert LOOPBACK in logged("Failed authentication with /127")


def test_a_certificate_of_a_foreign_authority_is_refused(site: Site, logged: Callable[[str], str]) -> None:
    told = one_line(first_error(librdkafka_options(site.foreign), site.broker.bootstrap), site.foreign)
    assert "is not signed by" in told
    logged("SSL Handshake failed .*certificate_required")  # OpenSSL does not show one that the broker did not ask for
    logged("Failed authentication with /127")
    assert "is not signed by" in (refused_at_the_door(LOOPBACK, site.broker.config.port, site.foreign) or "")


def test_a_forged_certificate_in_our_authoritys_name_is_refused(
    site: Site, tmp_path: Path, logged: Callable[[str], str]
) -> None:
    forged = Certificates(tmp_path).forged("gate-1", site.node.ca)
    told = one_line(first_error(librdkafka_options(forged), site.broker.bootstrap), forged)
    assert "is not signed by" in told
    logged("SSL Handshake failed .*certificate_unknown.*(signature|path)")


def test_an_expired_certificate_is_refused(site: Site, logged: Callable[[str], str]) -> None:
    told = one_line(first_error(librdkafka_options(site.expired), site.broker.bootstrap), site.expired)
    assert re.search(r"node\.pem: expired on .* --renew", told)
    assert LOOPBACK in logged("SSL Handshake failed .*certificate_unknown.*validity check failed")


def test_tls_1_2_is_refused(site: Site, logged: Callable[[str], str]) -> None:
    context = ssl.create_default_context(cafile=str(site.node.ca))
    context.load_cert_chain(site.node.certificate, site.node.key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection((LOOPBACK, site.broker.config.port), _PATIENCE_S) as plain,
        pytest.raises(ssl.SSLError) as refused,
    ):
        context.wrap_socket(plain, server_hostname=LOOPBACK)
    assert "PROTOCOL_VERSION" in str(refused.value)
    assert LOOPBACK in logged(r"SSL Handshake failed \(protocol_version\) Client requested protocol TLSv1.2")


def test_a_node_refuses_a_broker_that_speaks_tls_1_2_only(site: Site, logged: Callable[[str], str]) -> None:
    old = f"{LOOPBACK}:{site.old_port}"
    assert "does not speak TLS 1.3" in one_line(first_error(librdkafka_options(site.node), old), site.node)
    logged(f"Failed authentication with /127.*{site.old_port}")
    assert "does not speak TLS 1.3" in (refused_at_the_door(LOOPBACK, site.old_port, site.node) or "")


def test_without_the_nodes_protection_that_broker_would_be_spoken_to(site: Site) -> None:
    options = librdkafka_options(site.node)
    del options["ssl.cipher.suites"]
    assert first_error(options, f"{LOOPBACK}:{site.old_port}") is None


def test_plaintext_is_refused(site: Site, logged: Callable[[str], str]) -> None:
    assert "where it wants TLS, set 'tls'" in one_line(first_error({}, site.broker.bootstrap), None)
    assert LOOPBACK in logged("SSL Handshake failed .*plaintext connection")


def test_a_broker_of_another_authority_is_refused_by_the_node(site: Site, tmp_path: Path) -> None:
    elsewhere = Certificates(tmp_path).issue("gate-1")
    told = one_line(first_error(librdkafka_options(elsewhere), site.broker.bootstrap), elsewhere)
    assert "its certificate is not of the authority in 'tls.ca'" in told


def test_a_broker_under_a_name_that_its_certificate_does_not_hold_is_refused_by_the_node(site: Site) -> None:
    bootstrap = f"localhost:{site.broker.config.port}"
    told = one_line(first_error(librdkafka_options(site.node), bootstrap), site.node)
    assert "does not name the host that was dialled" in told
    told = refused_at_the_door("localhost", site.broker.config.port, site.node) or ""
    assert "its certificate does not name the host" in told


def test_the_controllers_door_is_shut_to_who_has_no_certificate(site: Site, logged: Callable[[str], str]) -> None:
    port = int(site.broker.config.properties["controller.quorum.bootstrap.servers"].split(":")[1])
    context = ssl.create_default_context(cafile=str(site.node.ca))
    with (
        socket.create_connection((LOOPBACK, port), _PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname=LOOPBACK) as secure,
        pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"),
    ):
        secure.recv(1)
    logged(rf"channelId=127.0.0.1:{port}-.*SSL Handshake failed .*certificate_required")


@pytest.mark.parametrize("topic", [MODEL_ROLLOUT.name, "alerts", "object_counts", "scene_events", "dead_letters"])
def test_a_topic_that_is_not_a_nodes_to_write_is_refused(site: Site, logged: Callable[[str], str], topic: str) -> None:
    error = sent(site.node, site.broker.bootstrap, topic)
    assert "gate-1 may not use this topic" in one_line(error, site.node)
    logged(f"User:gate-1 is Denied operation = (WRITE|DESCRIBE) from host = 127.0.0.1 on resource = Topic:LITERAL:{topic}")


def test_a_node_without_rights_writes_nothing(site: Site, logged: Callable[[str], str]) -> None:
    stranger = site.certificates.issue("gate-2")
    assert "gate-2 may not use this topic" in one_line(sent(stranger, site.broker.bootstrap, EVENTS.name), stranger)
    logged("User:gate-2 is Denied operation = DESCRIBE .* Topic:LITERAL:events")


def test_a_node_reads_no_detections(site: Site, logged: Callable[[str], str]) -> None:
    result = read(site.node, site.broker.bootstrap, DETECTIONS.name, consumer_group("gate-1", "spy"), join=False)
    assert isinstance(result, KafkaError)
    assert "gate-1 may not use this topic" in one_line(result, site.node)
    logged("User:gate-1 is Denied operation = READ .* Topic:LITERAL:detections")


@pytest.mark.parametrize("group", ["gate-10:rollout", "gate-1", "sightline"])
def test_a_group_of_another_name_is_refused(site: Site, logged: Callable[[str], str], group: str) -> None:
    result = read(site.node, site.broker.bootstrap, MODEL_ROLLOUT.name, group, join=True)
    assert isinstance(result, KafkaError)
    assert "gate-1 may not use this consumer group" in one_line(result, site.node)
    logged(f"User:gate-1 is Denied operation = (READ|DESCRIBE) .* Group:LITERAL:{group}")


def test_a_node_makes_no_topic_and_gives_itself_no_rights(site: Site, logged: Callable[[str], str]) -> None:
    client = AdminClient({"bootstrap.servers": site.broker.bootstrap, "log_level": 0, **librdkafka_options(site.node)})
    (made,) = client.create_topics([NewTopic("mine", 1, 1)]).values()
    with pytest.raises(KafkaException) as refused:
        made.result()
    assert "gate-1 may not use this topic" in one_line(refused.value.args[0], site.node)
    logged("User:gate-1 is Denied operation = CREATE .* Topic:LITERAL:mine")
    with pytest.raises(BrokerError, match="gate-1 may not do this to the cluster"):
        KafkaAdmin(site.broker.bootstrap, site.node).allow(kafka_acls(["gate-1"], takes=["alerts"]))
    logged("User:gate-1 is Denied operation = ALTER .* Cluster")


def test_a_lost_device_is_shut_out_at_once(site: Site) -> None:
    lost = site.certificates.issue("gate-3")
    admin = KafkaAdmin(site.broker.bootstrap, site.admin)
    given = admin.allow(kafka_acls(["gate-3"]))
    assert sent(lost, site.broker.bootstrap, EVENTS.name) is None
    assert admin.remove("gate-3") == given
    assert "gate-3 may not use this topic" in one_line(sent(lost, site.broker.bootstrap, EVENTS.name), lost)
    assert sent(site.node, site.broker.bootstrap, EVENTS.name) is None


def test_no_door_of_the_deployed_file_is_open_and_nobody_nameless_is_a_super_user() -> None:
    properties = deployed_properties()
    assert "ANONYMOUS" not in properties["super.users"]
    assert {pair.split(":")[1] for pair in properties["listener.security.protocol.map"].split(",")} == {"SSL"}
    assert properties["allow.everyone.if.no.acl.found"] == "false"
    assert properties["ssl.client.auth"] == "required"


def test_the_deployed_log_settings_are_those_that_told_of_the_refusals_here(site: Site) -> None:
    deployed = (DEPLOY / "kafka-log4j2.properties").read_text().split("\n", 1)[1]  # without its heading
    assert deployed == (site.broker.config.data_dir / "log4j2.properties").read_text()
