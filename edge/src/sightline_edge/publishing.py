"""Sending to Kafka: batches and heartbeats in bulk, events at once.

Nothing is dropped silently: a message that Kafka did not take within ``send_timeout_s``, and a queue that stays full for as
long, end the node with a BrokerError. Sending again after a lost answer makes no duplicate (idempotent producers).
"""

import logging
import time
from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.errors import BrokerError
from sightline_contract.events import DetectionEvent, NodeStatus
from sightline_contract.topics import DETECTIONS, EVENTS, NODE_STATUS, PRODUCER_COMPRESSION
from sightline_edge.config import Kafka

# librdkafka writes its own lines; what matters of them is in the errors raised here.
_library_logger = logging.getLogger("sightline_edge.librdkafka")

_BULK = {**PRODUCER_COMPRESSION, "linger.ms": 20, "queue.buffering.max.kbytes": 65536}
_AT_ONCE = {"linger.ms": 0, "socket.nagle.disable": True}


class Publisher:
    """The node's way to Kafka; used from one thread."""

    def __init__(self, kafka: Kafka, client_id: str) -> None:
        """Connect; raises BrokerError where the broker does not answer or lacks a topic."""
        self._kafka = kafka
        self._failure: KafkaError | None = None
        self._bulk = Producer(self._options(client_id, _BULK), logger=_library_logger)
        self._at_once = Producer(self._options(client_id, _AT_ONCE), logger=_library_logger)
        for producer in (self._bulk, self._at_once):
            self._check_topics(producer)

    def send_batch(self, batch: DetectionBatch) -> None:
        """Queue a batch; raises BrokerError."""
        self._send(self._bulk, DETECTIONS.name, batch.camera_id, batch.SerializeToString())

    def send_event(self, event: DetectionEvent) -> None:
        """Send an event now; raises BrokerError."""
        self._send(self._at_once, EVENTS.name, event.camera_id, event.model_dump_json().encode())
        self._at_once.poll(0)

    def send_status(self, status: NodeStatus) -> None:
        """Queue a heartbeat; raises BrokerError."""
        self._send(self._bulk, NODE_STATUS.name, status.node_id, status.model_dump_json().encode())

    @property
    def pending(self) -> int:
        """Messages that Kafka has not yet acknowledged."""
        return len(self._bulk) + len(self._at_once)

    def poll(self) -> None:
        """Take Kafka's answers; raises BrokerError where it refused a message or did not answer in time."""
        self._bulk.poll(0)
        self._at_once.poll(0)
        if self._failure is not None:
            raise BrokerError(
                f"Kafka at {self._kafka.bootstrap_servers}: did not take a message ({self._failure.str()}): check the broker"
            )

    def close(self) -> None:
        """Wait until everything is acknowledged; raises BrokerError for what is not."""
        deadline_s = time.monotonic() + self._kafka.send_timeout_s
        for producer in (self._at_once, self._bulk):
            producer.flush(max(0.0, deadline_s - time.monotonic()))
        self.poll()
        if self.pending:
            raise BrokerError(
                f"Kafka at {self._kafka.bootstrap_servers}: {self.pending} messages were not acknowledged: check the broker"
            )

    def _send(self, producer: Producer, topic: str, key: str, value: bytes) -> None:
        deadline_s = time.monotonic() + self._kafka.send_timeout_s
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=self._delivered)
                return
            except BufferError:
                # The local queue is full: take answers, which makes room, and try again.
                producer.poll(0.1)
                self.poll()
                if time.monotonic() > deadline_s:
                    raise self._no_room() from None
            except KafkaException as error:
                raise BrokerError(f"Kafka topic {topic}: {error.args[0].str()}") from error

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failure = error

    def _no_room(self) -> BrokerError:
        waited = f"{self._kafka.send_timeout_s:.0f} s"
        return BrokerError(f"Kafka at {self._kafka.bootstrap_servers}: took nothing for {waited}: check the broker")

    def _check_topics(self, producer: Producer) -> None:
        servers = self._kafka.bootstrap_servers
        try:
            known = producer.list_topics(timeout=self._kafka.connect_timeout_s).topics
        except KafkaException as error:
            raise BrokerError(
                f"Kafka at {servers}: does not answer ({error.args[0].str()}): start it or correct its address"
            ) from error
        for topic in (DETECTIONS, EVENTS, NODE_STATUS):
            if topic.name not in known:
                raise BrokerError(f"Kafka at {servers}: has no topic {topic.name!r}: make it, or run 'sightline up'")

    def _options(self, client_id: str, purpose: Mapping[str, object]) -> dict[str, object]:
        return {
            "bootstrap.servers": self._kafka.bootstrap_servers,
            "client.id": client_id,
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": round(self._kafka.send_timeout_s * 1000),
            "error_cb": _ignore,
            **purpose,
            **self._kafka.options,
        }


def _ignore(_error: KafkaError) -> None:
    """A broken connection is mended by the library; a message that is lost for good is told to ``_delivered``."""
