"""A local MQTT broker of each test's own, and a machine that talks to it."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from sightline.mosquitto import Mosquitto, MosquittoConfig, has_mosquitto
from sightline.ports import LOOPBACK, free_port

DEADLINE_S = 20


class Machine:
    """A program on the local MQTT; remembers what it is told."""

    def __init__(self, port: int, *topics: str) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _c, _d, message: self.heard.append((message.topic, bytes(message.payload)))
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_connect = lambda *_: self._client.subscribe([(topic, 1) for topic in topics or ("nothing",)])
        self._client.connect(LOOPBACK, port)
        self._client.loop_start()
        assert self._ready.wait(DEADLINE_S)

    def say(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1).wait_for_publish(DEADLINE_S)

    def on(self, topic: str) -> list[bytes]:
        return [payload for where, payload in self.heard if where == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    if not has_mosquitto():
        pytest.skip("Mosquitto is not installed (Debian: apt install mosquitto)")
    with Mosquitto(MosquittoConfig(tmp_path / "mosquitto", free_port())) as running:
        yield running


@pytest.fixture
def machine(mosquitto: Mosquitto) -> Iterator[Callable[..., Machine]]:
    made: list[Machine] = []

    def make(*topics: str) -> Machine:
        made.append(Machine(mosquitto.config.port, *topics))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def wait_for() -> Callable[[Callable[[], bool]], None]:
    """Waits until a condition holds."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline_s, "it did not happen"
            time.sleep(0.01)

    return wait
