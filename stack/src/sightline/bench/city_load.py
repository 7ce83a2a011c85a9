"""Sending a city's messages to Kafka: all at once for a backlog, or each in its time."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from sightline.simulate.encoding import Message
from sightline.simulate.steady import SteadyCity
from sightline_contract.errors import BrokerError
from sightline_contract.topics import DETECTIONS, PRODUCER_COMPRESSION

_FLUSH_S = 120.0
_PACE_S = 0.01
# As an edge node sends: compressed, and every acknowledged message is kept once.
_OPTIONS = {
    **PRODUCER_COMPRESSION,
    "linger.ms": 20,
    "batch.size": 1_000_000,
    "queue.buffering.max.kbytes": 1_048_576,
    "queue.buffering.max.messages": 1_000_000,
    "enable.idempotence": True,
    "log_level": 0,
}


class Load:
    """A producer of one city's messages."""

    def __init__(self, city: SteadyCity, bootstrap: str) -> None:
        from confluent_kafka import Producer

        self.city = city
        self._producer: Any = Producer({"bootstrap.servers": bootstrap, **_OPTIONS})
        self._failed: list[str] = []
        self.messages = 0
        # How far behind its time the latest message was sent, s, at worst.
        self.worst_delay_s = 0.0

    def send(self, seconds: int) -> None:
        """Send the first ``seconds`` seconds as fast as the broker takes them; raises BrokerError."""
        for number in range(seconds):
            self._produce(self.city.second(number))
        self.flush()

    def send_live(self, seconds: int, go_on: Callable[[], None]) -> None:
        """Send each message when it is due; ``go_on`` is called about once a second and may raise. Raises BrokerError."""
        for number in range(seconds):
            for message in self.city.second(number):
                due_s = message.arrives_us / 1e6 - time.time()
                if due_s > _PACE_S:
                    self._producer.poll(0)
                    time.sleep(due_s)
                self.worst_delay_s = max(self.worst_delay_s, -due_s)
                self._produce((message,))
            go_on()

    def flush(self) -> None:
        """Wait until all messages are acknowledged; raises BrokerError where one is not."""
        left = self._producer.flush(_FLUSH_S)
        if left or self._failed:
            why = self._failed[0] if self._failed else "no answer"
            raise BrokerError(f"{left or len(self._failed)} messages of the city were not taken ({why}): see the broker's log")

    def _produce(self, messages: Iterable[Message]) -> None:
        for message in messages:
            while True:
                try:
                    self._producer.produce(DETECTIONS.name, key=message.key, value=message.payload, on_delivery=self._note)
                    break
                except BufferError:
                    self._producer.poll(0.1)
            self.messages += 1
            if self.messages % 1000 == 0:
                self._producer.poll(0)

    def _note(self, error: object, _message: object) -> None:
        if error is not None:
            self._failed.append(str(error))
