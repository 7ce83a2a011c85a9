"""What the centre wants of this node, read from the compacted topic ``model_rollout``.

The whole topic is read from its beginning at each start, and only messages under the node's own key are looked at. So nothing
is committed, no group is joined (a killed process would hold its place in one for as long as the broker believes in it), and
the node needs no more rights than to read. What is newest counts, so nothing is given out before the end was reached once.

A broker that is away is waited for, quietly: the forwarder tells of it, and the node goes on with what it has.
"""

import logging
import time
from collections.abc import Sequence
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition
from pydantic import ValidationError

from sightline_contract.rollout import DesiredModels
from sightline_contract.topics import MODEL_ROLLOUT
from sightline_edge.config import Kafka
from sightline_edge.delivery.clients import consumer
from sightline_edge.security.acls import consumer_group
from sightline_edge.security.refusals import explain
from sightline_edge.security.tls import check_files, librdkafka_options

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 500
# The broker is asked for the topic's partitions so often, and waited for so long.
_ASK_S: Final = 5.0
_ANSWER_S: Final = 1.0
_TELL_S: Final = 60.0


class RolloutReader:
    """Reads for one node; one thread calls it."""

    def __init__(self, kafka: Kafka, node_id: str) -> None:
        """Connects in the background. Raises ConfigError where options or TLS files are of no use."""
        self._kafka = kafka
        self._key = node_id.encode()
        self._node_id = node_id
        if kafka.tls is not None:
            check_files(kafka.tls)
        options = {
            "bootstrap.servers": kafka.bootstrap_servers,
            "client.id": node_id,
            "reconnect.backoff.max.ms": 5000,
            # librdkafka wants a name, and with assigned partitions makes no use of it.
            "group.id": consumer_group(node_id, "rollout"),
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "error_cb": self._noticed,
            **kafka.options,
            **(librdkafka_options(kafka.tls) if kafka.tls else {}),
        }
        self._consumer = consumer(options, "kafka")
        self._unread: set[int] | None = None  # partitions whose end was not reached yet; None: not known yet
        self._newest: DesiredModels | None = None
        self._asked_s = -_ASK_S
        self._told_s = -_TELL_S

    def poll(self, timeout_s: float) -> DesiredModels | None:
        """The newest message for this node that came since the last call, waiting up to ``timeout_s`` for one."""
        if self._unread is None and not self._assigned():
            time.sleep(timeout_s)
            return None
        first = self._consumer.poll(timeout_s)
        self._read([first] if first is not None else [])
        while self._read(self._consumer.consume(_AT_ONCE, 0)):
            pass
        if self._unread or self._newest is None:
            return None
        newest, self._newest = self._newest, None
        return newest

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _assigned(self) -> bool:
        """Have all partitions assigned from their beginning; False where the broker does not answer, or has no such topic."""
        if time.monotonic() - self._asked_s < _ASK_S:
            return False
        self._asked_s = time.monotonic()
        try:
            known = self._consumer.list_topics(MODEL_ROLLOUT.name, _ANSWER_S).topics[MODEL_ROLLOUT.name]
            if known.error is not None:
                self._noticed(known.error)
                return False
            partitions = [TopicPartition(MODEL_ROLLOUT.name, number, OFFSET_BEGINNING) for number in known.partitions]
            self._consumer.assign(partitions)
        except KafkaException:
            return False
        self._unread = set(known.partitions)
        return bool(partitions)

    def _read(self, messages: Sequence[Message]) -> int:
        for message in messages:
            if (error := message.error()) is None:
                self._keep(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                (self._unread or set()).discard(int(message.partition() or 0))
            else:
                self._noticed(error)
        return len(messages)

    def _keep(self, message: Message) -> None:
        value = message.value()
        if message.key() != self._key or value is None:
            return
        try:
            desired = DesiredModels.model_validate_json(value)
        except ValidationError as error:
            logger.warning(
                "%s: a message for this node is none (%d faults): it is left out", MODEL_ROLLOUT.name, error.error_count()
            )
            return
        if desired.node_id != self._node_id:
            logger.warning("topic %s: a message under this node's key is for %s", MODEL_ROLLOUT.name, desired.node_id[:64])
        elif self._newest is None or desired.revision > self._newest.revision:
            self._newest = desired

    def _noticed(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT):
            return
        if time.monotonic() - self._told_s >= _TELL_S:
            self._told_s = time.monotonic()
            where = f"Kafka at {self._kafka.bootstrap_servers}, topic {MODEL_ROLLOUT.name}"
            logger.warning("%s; models stay as they are", explain(error, where, self._kafka.tls))
