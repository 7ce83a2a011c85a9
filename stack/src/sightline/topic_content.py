"""What a topic holds at this moment, read to its end: no waiting for what may still come."""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from sightline_contract.errors import BrokerError

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message, TopicPartition

_TIMEOUT_S = 30.0
_SILENCE_S = 60.0
_AGAIN_S = 0.1
_AT_ONCE = 5_000


def count_messages(bootstrap: str, topic: str) -> int:
    """How many messages the topic holds; raises BrokerError."""
    with closing(_consumer(bootstrap, {})) as consumer:
        return sum(end for _, end in _ends(consumer, bootstrap, topic))


def read_topic(bootstrap: str, topic: str, options: Mapping[str, Any] | None = None) -> "Iterator[Message]":
    """Every message, partition by partition, each in its order; raises BrokerError. ``options`` are librdkafka's.

    What ends a partition may be no message (a transaction's marker): then the broker tells that it is the end.
    """
    from confluent_kafka import KafkaError

    with closing(_consumer(bootstrap, options or {})) as consumer:
        for place, end in _ends(consumer, bootstrap, topic):
            consumer.assign([place])
            offset, newest_s = 0, time.monotonic()
            while offset < end:
                if time.monotonic() - newest_s > _SILENCE_S:
                    raise BrokerError(f"{bootstrap}: gave no message of {topic} for {_SILENCE_S:.0f} s: see its log")
                first = consumer.poll(1.0)
                # Only what is there: asked to wait, it would wait for as many, or for all of the time.
                for message in [*filter(None, [first]), *consumer.consume(_AT_ONCE, 0)]:
                    if (error := message.error()) is not None and error.code() == KafkaError._PARTITION_EOF:
                        offset = end
                        continue
                    newest_s, offset = time.monotonic(), int(message.offset() or 0) + 1
                    yield message


def _consumer(bootstrap: str, options: Mapping[str, Any]) -> "Consumer":
    from confluent_kafka import Consumer

    own = {"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False, "log_level": 0}
    own["enable.partition.eof"] = True
    own["fetch.wait.max.ms"] = 5  # at the end a broker waits so long for more before it tells that it is the end
    return Consumer({**own, **options})


def _ends(consumer: "Consumer", bootstrap: str, topic: str) -> "list[tuple[TopicPartition, int]]":
    """The beginning of each partition, and the offset behind its last message."""
    from confluent_kafka import KafkaError, KafkaException, TopicPartition

    moving = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)  # a broker starts, or one has gone
    deadline_s = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            partitions = consumer.list_topics(topic, _TIMEOUT_S).topics[topic].partitions
            places = [TopicPartition(topic, partition, 0) for partition in partitions]
            return [(place, consumer.get_watermark_offsets(place, _TIMEOUT_S)[1]) for place in places]
        except KafkaException as error:
            if error.args[0].code() not in moving or time.monotonic() > deadline_s:
                why = f"does not tell what {topic} holds ({error.args[0].str()})"
                raise BrokerError(f"{bootstrap}: {why}: check the broker") from error
            time.sleep(_AGAIN_S)
