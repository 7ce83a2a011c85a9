"""The real Mosquitto, with the doors and rules of the file that a site deploys: who is refused, and that it is told."""

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from deployed_mosquitto import CONFIGURATION, deployed_mosquitto
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode
from tls_broker import Certificates

from sightline.mosquitto import Mosquitto, has_mosquitto
from sightline.ports import LOOPBACK
from sightline_edge.config import Tls
from sightline_edge.security.acls import mosquitto_acls
from sightline_edge.security.refusals import explain, refused_at_the_door
from sightline_edge.security.tls import ssl_context

pytestmark = pytest.mark.skipif(not has_mosquitto(), reason="mosquitto is not installed: apt install mosquitto")

_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Site:
    """A broker, and certificates of all sorts."""

    broker: Mosquitto
    node: Tls
    neighbour: Tls
    expired: Tls
    foreign: Tls
    forged: Tls

    def log(self) -> str:
        return self.broker.log_path.read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    ours = Certificates(folder / "ours")
    node = ours.issue("gate-1")
    foreign = Certificates(folder / "theirs").issue("gate-1").model_copy(update={"ca": node.ca})
    forged = Certificates(folder / "forgers").forged("gate-1", node.ca)
    rules = mosquitto_acls({"gate-2": ["gate-1"]})
    with deployed_mosquitto(folder, ours.issue("mqtt", hosts=(LOOPBACK,)), rules) as broker:
        yield Site(broker, node, ours.issue("gate-2"), ours.issue("gate-9", age_days=31), foreign, forged)


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
            time.sleep(0.02)
        raise AssertionError(f"the broker's log has no line like {pattern!r} but:\n{site.log()[begin:]}")

    return wait


@dataclass
class Client:
    """An MQTT 5 client that remembers what it was told; use it as a context manager."""

    site: Site
    tls: Tls
    client_id: str = ""
    user: str | None = None
    published: list[ReasonCode] = field(default_factory=list)
    received: list[str] = field(default_factory=list)
    connected: list[ReasonCode] = field(default_factory=list)
    subscribed: list[ReasonCode] = field(default_factory=list)

    def __enter__(self) -> "Client":
        self.mqtt = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self.client_id, protocol=mqtt.MQTTv5)
        self.mqtt.tls_set_context(ssl_context(self.tls))
        if self.user is not None:
            self.mqtt.username_pw_set(self.user, "guess")
        self.mqtt.on_connect = lambda _client, _data, _flags, code, _properties: self.connected.append(code)
        self.mqtt.on_publish = lambda _client, _data, _id, code, _properties: self.published.append(code)
        self.mqtt.on_subscribe = lambda _client, _data, _id, codes, _properties: self.subscribed.extend(codes)
        self.mqtt.on_message = lambda _client, _data, message: self.received.append(message.topic)
        self.mqtt.connect(LOOPBACK, self.site.broker.config.port)
        self.wait(lambda: bool(self.connected))
        return self

    def __exit__(self, *_error: object) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop(0.1)

    def wait(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not done():
            assert self.mqtt.loop(0.05) == mqtt.MQTT_ERR_SUCCESS, "the connection was closed"
            assert time.monotonic() < deadline, "nothing came"

    def publish(self, topic: str) -> ReasonCode:
        self.published.clear()
        self.mqtt.publish(topic, b"{}", qos=1)
        self.wait(lambda: bool(self.published))
        return self.published[0]

    def subscribe(self, topic: str) -> None:
        self.subscribed.clear()
        self.mqtt.subscribe(topic, qos=1)
        self.wait(lambda: bool(self.subscribed))


def refusal(site: Site, tls: Tls) -> str:
    told = refused_at_the_door(LOOPBACK, site.broker.config.port, tls)
    assert told is not None, "was let in"
    assert told.startswith(f"broker at {LOOPBACK}:")
    assert "\n" not in told
    return told


def test_a_node_of_ours_writes_below_its_own_name_and_reads_it(site: Site, logged: Callable[[str], str]) -> None:
    assert refused_at_the_door(LOOPBACK, site.broker.config.port, site.node, timeout_s=0.5) is None
    with Client(site, site.node) as client:
        client.subscribe("sightline/v1/gate-1/#")
        assert not client.publish("sightline/v1/gate-1/events/north").is_failure
        client.wait(lambda: client.received == ["sightline/v1/gate-1/events/north"])
    logged(r"New client connected from 127.0.0.1:\d+ as gate-1 ")


def test_no_certificate_is_refused(site: Site, logged: Callable[[str], str]) -> None:
    context = ssl.create_default_context(cafile=str(site.node.ca))
    with (
        socket.create_connection((LOOPBACK, site.broker.config.port), _PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname=LOOPBACK) as secure,
        pytest.raises(ssl.SSLError) as refused,
    ):
        secure.recv(1)
    assert "wants a certificate of its authority and was shown none" in explain(refused.value, "MQTT")
    logged("peer did not return a certificate")


@pytest.mark.parametrize("which", ["foreign", "forged"])
def test_a_certificate_of_another_authority_is_refused(site: Site, logged: Callable[[str], str], which: str) -> None:
    assert "is not signed by" in refusal(site, getattr(site, which))
    logged("certificate verify failed")


def test_an_expired_certificate_is_refused(site: Site, logged: Callable[[str], str]) -> None:
    assert re.search(r"node\.pem: expired on .* --renew", refusal(site, site.expired))
    logged("certificate verify failed")


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
    logged("unsupported protocol")


def test_plaintext_is_refused(site: Site, logged: Callable[[str], str]) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.connect(LOOPBACK, site.broker.config.port)
    deadline = time.monotonic() + _PATIENCE_S
    while (code := client.loop(0.05)) == mqtt.MQTT_ERR_SUCCESS and time.monotonic() < deadline:
        pass
    assert code != mqtt.MQTT_ERR_SUCCESS
    assert not client.is_connected()
    logged("wrong version number")


def test_a_node_refuses_a_broker_that_speaks_tls_1_2_only(tmp_path: Path) -> None:
    ours = Certificates(tmp_path / "pki")
    node = ours.issue("gate-1")
    with deployed_mosquitto(tmp_path, ours.issue("mqtt", hosts=(LOOPBACK,)), "", newest="TLSv1.2") as old:
        told = refused_at_the_door(LOOPBACK, old.config.port, node)
        assert told is not None
        assert "does not speak TLS 1.3" in told
        lenient = ssl_context(node)
        lenient.minimum_version = ssl.TLSVersion.TLSv1_2
        with (
            socket.create_connection((LOOPBACK, old.config.port), _PATIENCE_S) as plain,
            lenient.wrap_socket(plain, server_hostname=LOOPBACK) as secure,
        ):
            assert secure.version() == "TLSv1.2"  # so it was the node that refused


def test_another_nodes_topic_is_refused(site: Site, logged: Callable[[str], str]) -> None:
    with Client(site, site.neighbour) as client:
        code = client.publish("sightline/v1/gate-1/events/north")
        assert code.is_failure
        told = explain(code, "MQTT, topic sightline/v1/gate-1/events/north", site.neighbour)
        assert "gate-2 may not use this topic" in told
        assert not client.publish("sightline/v1/gate-2/events/south").is_failure
    logged(r"Denied PUBLISH from gate-2 .*'sightline/v1/gate-1/events/north'")


def test_a_claimed_name_does_not_count(site: Site, logged: Callable[[str], str]) -> None:
    with Client(site, site.neighbour, client_id="gate-1", user="gate-1") as client:
        assert client.publish("sightline/v1/gate-1/events/north").is_failure
    logged(r"New client connected from 127.0.0.1:\d+ as gate-2 ")


def test_a_node_cannot_take_anothers_session_over(site: Site) -> None:
    with Client(site, site.node, client_id="gate-1") as victim:
        with Client(site, site.neighbour, client_id="gate-1"):
            pass
        assert not victim.publish("sightline/v1/gate-1/events/north").is_failure  # it is still connected


def test_a_node_hears_the_events_of_named_neighbours_and_nothing_else(site: Site) -> None:
    with Client(site, site.neighbour) as listener, Client(site, site.node) as speaker:
        listener.subscribe("#")  # Mosquitto grants every subscription and sends what may be read
        for topic in ("detections/north", "events/north", "events/north/more"):
            assert not speaker.publish(f"sightline/v1/gate-1/{topic}").is_failure
        listener.publish("sightline/v1/gate-2/last")
        listener.wait(lambda: "sightline/v1/gate-2/last" in listener.received)
        assert listener.received == ["sightline/v1/gate-1/events/north", "sightline/v1/gate-2/last"]


def test_the_rules_that_are_handed_out_are_what_the_command_prints() -> None:
    printed = mosquitto_acls({"gate-north": ["gate-south"], "gate-south": ["gate-north"]})
    assert CONFIGURATION.with_name("mosquitto.acl").read_text() == printed
