"""The same outage for a plain Mosquitto bridge: a local broker that carries to a central one, both real processes on loopback.

Messages are published with QoS 1 to the local broker, as a program beside it would: one is promised when its PUBACK has come.
The publisher is not killed, and sends again what has no answer. The centre keeps the session of the one who counts there, so
that nothing is lost between centre and counter.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from sightline.bench.edge_judge import number_of
from sightline.bench.edge_node import Feed, Look, look_at
from sightline.mosquitto import Mosquitto, MosquittoConfig
from sightline.ports import LOOPBACK, free_port

# As good as it gets: nothing is dropped for its number, the queue is written every second (the least that can be set).
PLAIN: tuple[str, ...] = ()
RAISED = (
    "persistence true", "autosave_interval 1", "max_queued_messages 0", "max_queued_bytes 0", "max_inflight_messages 1000",
)  # fmt: skip
_ROOT = "sightline"
# Reaches the centre last; while nothing has come for so long, nothing more will.
QUIET_S = 8.0
# A packet's id has 16 bits: fewer than that may wait for their answer.
_MOST_OPEN = 20_000


def _broker(home: Path, settings: Sequence[str]) -> Mosquitto:
    return Mosquitto(MosquittoConfig(home, free_port(), ("allow_anonymous true", *settings)))


class Centre:
    """The central broker and who counts there."""

    def __init__(self, home: Path, cameras: int) -> None:
        unlimited = ("max_queued_messages 0", "max_inflight_messages 1000")
        persistent = ("persistence true", f"persistence_location {home}/", *unlimited)
        self.broker = _broker(home, persistent)
        self._cameras = cameras
        self.numbers: list[int] = []
        self.at_s: list[float] = []
        self.broker.start()
        self._counter = _client("counter", self.broker.config.port)
        self._counter.on_connect = lambda client, *_: client.subscribe(f"{_ROOT}/#", 1)
        self._counter.on_message = self._take
        self._counter.loop_start()

    def wait_for_quiet(self, timeout_s: float) -> None:
        """Wait until nothing has come for a while."""
        began_s = time.monotonic()
        seen, since_s = -1, began_s
        while time.monotonic() - since_s < QUIET_S and time.monotonic() - began_s < timeout_s:
            if len(self.numbers) != seen:
                seen, since_s = len(self.numbers), time.monotonic()
            time.sleep(0.1)

    def close(self) -> None:
        """End the counter and the broker."""
        self._counter.disconnect()
        self._counter.loop_stop()
        self.broker.stop()

    def _take(self, _client: Any, _data: Any, message: Any) -> None:
        self.numbers.append(number_of(message.payload, self._cameras))
        self.at_s.append(time.time())


class Bridge:
    """Local broker with its bridge, and the publisher; as ``Carrier`` it is killed, looked at and asked what it promised."""

    def __init__(self, feed: Feed, home: Path, centre_port: int, options: Sequence[str]) -> None:
        self.feed = feed
        bridge = (
            "connection centre", f"address {LOOPBACK}:{centre_port}", f"topic {_ROOT}/# out 1", "cleansession false",
            "notifications false", "restart_timeout 1 5",
        )  # fmt: skip
        place = (f"persistence_location {home}/",) if "persistence true" in options else ()
        self.broker = _broker(home, (*options, *place, *bridge))
        self.looks: list[Look] = []
        self.written_bytes = 0
        self._written_before = 0
        self._promised: list[int] = []
        self._open: dict[int, int] = {}
        self._handed = 0
        self._publisher = threading.Thread(target=self._publish, name="publisher", daemon=True)
        self._failure: Exception | None = None

    def start(self) -> None:
        """Start the local broker, and at first the publisher."""
        self._written_before = self.written_bytes
        self.broker.start()
        if self.broker.lives == 1:
            self._publisher.start()

    def kill(self) -> None:
        """SIGKILL of the local broker."""
        self.look()
        self.broker.kill()

    def wait_for(self, number: int) -> None:
        """Wait until messages up to ``number`` were published."""
        while self._handed < number:
            if not self._publisher.is_alive():
                raise self._failure or RuntimeError("the publisher has ended")
            time.sleep(0.02)

    def finish(self) -> None:
        """Wait until every message has its PUBACK."""
        self._publisher.join()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End the local broker."""
        self.broker.stop()

    @property
    def handed(self) -> int:
        """No message from this number on was published."""
        return self._handed

    @property
    def promised(self) -> npt.NDArray[np.int64]:
        """Numbers of the messages whose PUBACK came."""
        return np.array(self._promised, np.int64)

    def look(self) -> None:
        """Keep how the local broker is."""
        if not self.broker.runs:
            return
        try:
            process = psutil.Process(self.broker.pid)
            self.looks.append(look_at(process, self.broker.lives, self.broker.config.folder, "mosquitto.db*"))
            self.written_bytes = self._written_before + int(process.io_counters().write_bytes)
        except (psutil.Error, FileNotFoundError):  # it ends, or puts a new file in the old one's place, just now
            return

    def _publish(self) -> None:
        try:
            self._publish_all()
        except Exception as error:  # noqa: BLE001 - told by whoever waits
            self._failure = error

    def _publish_all(self) -> None:
        feed, client = self.feed, _client("publisher", self.broker.config.port)
        answers_in: deque[int] = deque()
        client.on_publish = lambda _client, _data, packet, *_: answers_in.append(packet)
        client.loop_start()
        city, cameras, began_s = feed.city, feed.cameras, time.monotonic()
        for second in range(feed.last // cameras):
            time.sleep(max(0.0, second / feed.speed - (time.monotonic() - began_s)) if feed.speed else 0.0)
            self._handed = (second + 1) * cameras
            for number, message in enumerate(city.second(second), second * cameras):
                while len(self._open) > _MOST_OPEN:
                    time.sleep(0.005)
                    self._note(answers_in)
                sent = client.publish(f"{_ROOT}/{message.key}", message.payload, qos=1)
                self._open[sent.mid] = number
            self._note(answers_in)
        while self._open:
            time.sleep(0.05)
            self._note(answers_in)
        client.disconnect()
        client.loop_stop()

    def _note(self, answers_in: "deque[int]") -> None:
        while answers_in:
            self._promised.append(self._open.pop(answers_in.popleft()))


def _client(name: str, port: int) -> Any:
    """A client whose session the broker keeps."""
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
    client.reconnect_delay_set(1, 1)
    client.max_inflight_messages_set(1000)
    client.max_queued_messages_set(0)
    client.connect(LOOPBACK, port)
    return client
