"""A place at which one works at a time, at Kafka: who comes later shuts the former out, and sees all that it has written.

Kafka sees to it: a producer that comes with the same transactional id ends the transaction of the one before it, whose messages
are then not taken any more. What is read after that is all there is.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from sightline_contract.errors import BrokerError, ConfigError
from sightline_streaming.config import KafkaConfig

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

Written = tuple[str, str, bytes | None]
"""Topic, key and value of a message."""

_TIMEOUT_S: Final = 30.0
_READABLE_S: Final = 0.02


class OvertakenError(ConfigError):
    """Somebody else came meanwhile, and nothing was written."""


class Desk:
    """One producer of the transactional id ``name``; raises BrokerError where Kafka does not answer."""

    def __init__(self, kafka: KafkaConfig, name: str, topic: str) -> None:
        from confluent_kafka import KafkaException, Producer

        self._kafka = kafka
        self._where = f"topic {topic} at {kafka.bootstrap_servers}"
        options: dict[str, Any] = {**kafka.librdkafka_options(), "transactional.id": name, "log_level": 0}
        # An error is raised where it is met; librdkafka would print it, too.
        options["error_cb"] = lambda _error: None
        self._producer = Producer(options)
        try:
            self._producer.init_transactions(_TIMEOUT_S)
        except KafkaException as error:
            raise BrokerError(f"{self._where}: lets nobody begin ({error.args[0].str()}): see whether Kafka runs") from error

    def write(self, messages: Sequence[Written], announce: Callable[[], None] = lambda: None) -> None:
        """Publish all of the messages or none; raises OvertakenError where somebody else has come in between.

        ``announce`` is called when the broker has them, just before they can be read; where it raises, they never can. When
        this returns they can be read.
        """
        from confluent_kafka import KafkaException

        failures: list[Any] = []
        last: dict[tuple[str, int], int] = {}

        def report(error: Any, message: Any) -> None:
            if error is not None:
                failures.append(error)
            else:
                last[message.topic(), message.partition()] = message.offset()

        try:
            self._producer.begin_transaction()
            for topic, key, value in messages:
                self._produce(topic, key, value, report)
            left = self._producer.flush(_TIMEOUT_S)
            if left and not failures:  # the commit would send them, unannounced
                self._producer.abort_transaction(_TIMEOUT_S)
                raise BrokerError(f"{self._where}: took not all within {_TIMEOUT_S:.0f} s: see whether Kafka runs")
            if not failures:
                self._announced(announce)
            self._producer.commit_transaction(_TIMEOUT_S)
            self._await_readable(last)
        except (KafkaException, SystemError) as error:
            told = _told(error)
            if self._overtaken(told):
                raise OvertakenError(f"{self._where}: somebody else came meanwhile, and nothing was written") from error
            raise BrokerError(f"{self._where}: takes no message ({told.str()}): see whether Kafka runs") from error

    def _overtaken(self, told: "KafkaError") -> bool:
        """Whether somebody else has come, by what Kafka's client told; a transaction that cannot go on is ended."""
        from confluent_kafka import KafkaError, KafkaException

        if told.txn_requires_abort():
            # To one that is being shut out just now a broker says no more than that something went wrong; who then tries to end
            # the transaction is told.
            try:
                self._producer.abort_transaction(_TIMEOUT_S)
            except KafkaException as error:
                told = error.args[0]
        return told.code() in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED)

    def _produce(self, topic: str, key: str, value: bytes | None, report: Callable[[Any, Any], None]) -> None:
        try:
            self._producer.produce(topic, key=key, value=value, on_delivery=report)
        except BufferError:  # the local queue is full: let it empty, once
            self._producer.flush(_TIMEOUT_S)
            self._producer.produce(topic, key=key, value=value, on_delivery=report)

    def _await_readable(self, last: Mapping[tuple[str, int], int]) -> None:
        """Wait until the commit has reached each partition, whose last offset is given: Kafka answers before it has."""
        from confluent_kafka import Consumer, KafkaException, TopicPartition

        options = {"group.id": "desk", "enable.auto.commit": False, "log_level": 0}
        deadline = time.monotonic() + _TIMEOUT_S
        try:
            with closing(Consumer({**self._kafka.librdkafka_options(), **options})) as consumer:
                for (topic, partition), offset in last.items():
                    # The end of what a reader of committed messages is given.
                    while consumer.get_watermark_offsets(TopicPartition(topic, partition), _TIMEOUT_S)[1] <= offset:
                        if time.monotonic() > deadline:
                            return  # another transaction is in the way, until Kafka ends it: nothing is lost
                        time.sleep(_READABLE_S)
        except KafkaException:
            return  # it is committed: who reads later sees it

    def _announced(self, announce: Callable[[], None]) -> None:
        try:
            announce()
        except BaseException:
            self._producer.abort_transaction(_TIMEOUT_S)
            raise


def _told(error: BaseException) -> "KafkaError":
    """What Kafka's client raised.

    A fatal error that comes while it delivers is set before the delivery's callback runs, which Python then reports as a
    SystemError with the client's own as its cause.
    """
    from confluent_kafka import KafkaError

    cause = error if error.args and isinstance(error.args[0], KafkaError) else error.__cause__
    if cause is None or not cause.args or not isinstance(cause.args[0], KafkaError):
        raise error
    return cause.args[0]
