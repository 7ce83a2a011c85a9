"""A Kafka at the edge: copies for programs nearby under the centre's topic names, and what other programs publish.

``take`` names topics such as ``detections.box-7`` or ``events.box-7``: what they hold is forwarded to the topic before the dot.
Their offsets are committed once the messages are in the spool, so that a node that is killed in between reads them again.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.errors import StorageError
from sightline_contract.events import DetectionEvent, NodeStatus
from sightline_contract.topics import DETECTIONS, EVENTS, NODE_STATUS
from sightline_edge.config import LocalBroker
from sightline_edge.delivery.clients import consumer, producer
from sightline_edge.delivery.records import Lane, Record
from sightline_edge.security.acls import consumer_group
from sightline_edge.security.refusals import explain
from sightline_edge.security.tls import check_files, librdkafka_options

logger = logging.getLogger(__name__)

_LANES = {DETECTIONS.name: Lane.DETECTIONS, EVENTS.name: Lane.EVENTS}
_POLL_S = 0.2
_COMMIT_POLLS = 5
_CLOSE_S = 2.0
_TELL_S = 60.0


class LocalKafka:
    """The node's connection to a Kafka next to it."""

    def __init__(
        self,
        config: LocalBroker,
        node_id: str,
        take: Callable[[Record, Callable[[], None]], None],
    ) -> None:
        """Raises ConfigError where the files of ``config.tls`` cannot be used."""
        common = {
            "bootstrap.servers": f"{config.host}:{config.port}",
            "client.id": node_id,
            "reconnect.backoff.max.ms": 5000,
            "error_cb": self._noticed,
            **config.options,
        }
        if config.tls is not None:
            check_files(config.tls)
            common |= librdkafka_options(config.tls)
        self._config = config
        self._told_s = -_TELL_S
        self._give_detections = config.give_detections
        self._undelivered = 0
        self._producer = producer(
            {**common, "linger.ms": 0, "message.timeout.ms": 30_000, "queue.buffering.max.messages": 10_000}, "local_broker"
        )
        self._reader = (
            _Reader({**common, "group.id": consumer_group(node_id, "take")}, config.take, take) if config.take else None
        )
        if self._reader is not None:
            self._reader.start()

    @property
    def undelivered(self) -> int:
        """Copies that the broker did not take within 30 s."""
        return self._undelivered

    @property
    def reconnects(self) -> None:
        """Not told by this library without its statistics."""
        return

    def give_batch(self, batch: DetectionBatch) -> None:
        """Publish a copy; never waits."""
        if self._give_detections:
            self._give(DETECTIONS.name, batch.camera_id, batch.SerializeToString())

    def give_event(self, event: DetectionEvent) -> None:
        """Publish a copy at once."""
        self._give(EVENTS.name, event.camera_id, event.model_dump_json().encode())

    def give_status(self, status: NodeStatus) -> None:
        """Publish the heartbeat."""
        self._give(NODE_STATUS.name, status.node_id, status.model_dump_json().encode())

    def close(self) -> None:
        """Give out what waits, for up to two seconds."""
        if self._reader is not None:
            self._reader.close()
        self._producer.flush(_CLOSE_S)

    def _noticed(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN and time.monotonic() - self._told_s >= _TELL_S:
            self._told_s = time.monotonic()
            where = f"local Kafka at {self._config.host}:{self._config.port}"
            logger.warning("%s; machines nearby get no copies", explain(error, where, self._config.tls))

    def _give(self, topic: str, key: str, value: bytes) -> None:
        try:
            self._producer.produce(topic, value, key, on_delivery=self._delivered)
        except (BufferError, KafkaException):
            self._undelivered += 1
        self._producer.poll(0)

    def _delivered(self, error: object, _message: Message) -> None:
        if error is not None:
            self._undelivered += 1


class _Reader(threading.Thread):
    """Reads the topics of other programs into the spool."""

    def __init__(
        self, options: Mapping[str, Any], topics: tuple[str, ...], take: Callable[[Record, Callable[[], None]], None]
    ) -> None:
        super().__init__(name="local-kafka", daemon=True)
        self._consumer = consumer({**options, "enable.auto.commit": False, "auto.offset.reset": "earliest"}, "local_broker")
        self._consumer.subscribe(list(topics))
        self._take = take
        # Next offset of each partition: as far as the spool has it, and as far as the broker knows that.
        self._stored: dict[tuple[str, int], int] = {}
        self._committed: dict[tuple[str, int], int] = {}
        self._ending = threading.Event()

    def run(self) -> None:
        """Thread body."""
        polls = 0
        try:
            while not self._ending.is_set():
                message = self._consumer.poll(_POLL_S)
                if message is not None and message.error() is None:
                    self._keep(message)
                polls += 1
                if message is None or polls % _COMMIT_POLLS == 0:
                    self._commit()
        except StorageError as error:
            logger.warning("%s", error)
        finally:
            self._commit()
            self._consumer.close()

    def close(self) -> None:
        """Read no further message."""
        self._ending.set()
        self.join()

    def _keep(self, message: Message) -> None:
        whole_name, partition, offset = str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)
        topic = whole_name.split(".", maxsplit=1)[0]
        key, value = message.key() or b"", message.value() or b""
        # The outbox keeps the order of its records, so the last one stored stands for all before it.
        stored = partial(self._stored.__setitem__, (whole_name, partition), offset + 1)
        self._take(Record(_LANES[topic], topic, bytes(key).decode("utf-8", "replace"), bytes(value)), stored)

    def _commit(self) -> None:
        stored = dict(self._stored)
        if stored == self._committed:
            return
        try:
            offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in stored.items()]
            self._consumer.commit(offsets=offsets, asynchronous=False)
            self._committed = stored
        except KafkaException as error:
            logger.warning("local Kafka: offsets were not committed (%s): what was read may come again", error.args[0].str())
