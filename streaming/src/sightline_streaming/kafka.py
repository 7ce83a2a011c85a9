"""Kafka as a source and a sink of Spark, and whether it is there at all."""

import time
from collections.abc import Iterable

from pyspark.sql import DataFrame, SparkSession

from sightline_contract.errors import BrokerError
from sightline_contract.topics import Topic
from sightline_streaming.config import JobConfig, KafkaConfig

CHECK_TIMEOUT_S = 5.0
_AWAIT_S = 0.5


def read_topics(spark: SparkSession, config: JobConfig, topics: Iterable[Topic], **options: str) -> DataFrame:
    """Messages as a stream: key, value, topic, partition, offset, timestamp. ``options`` are the Kafka source's."""
    reader = spark.readStream.format("kafka").options(**_client_options(config.kafka))
    reader = reader.option("subscribe", ",".join(topic.name for topic in topics))
    reader = reader.option("startingOffsets", config.starting_offsets)
    reader = reader.option("failOnDataLoss", str(config.kafka.fail_on_data_loss).lower())
    return reader.options(**options).load()


def micro_batch_options(config: JobConfig) -> dict[str, str]:
    """Options of a source that is read in micro-batches."""
    # A busy partition is read in few large fetches; the default fetch of 1 MiB holds some 500 messages of a city.
    options = {"kafka.max.partition.fetch.bytes": str(8 << 20), "kafka.max.poll.records": "5000"}
    if config.max_offsets_per_trigger is not None:
        options["maxOffsetsPerTrigger"] = str(config.max_offsets_per_trigger)
    return options


def sink_options(config: JobConfig, topic: Topic) -> dict[str, str]:
    """Options of a Kafka sink, streaming or not. Delivery is at least once: messages carry ids to drop repeats by."""
    return _client_options(config.kafka) | {"topic": topic.name, "kafka.acks": "all"}


def require_topics(kafka: KafkaConfig, topics: Iterable[Topic]) -> None:
    """Raise BrokerError within seconds where the broker does not answer or lacks a topic; Spark would wait for minutes."""
    count_partitions(kafka, [topic.name for topic in topics])


def await_topics(kafka: KafkaConfig, topics: Iterable[Topic], timeout_s: float) -> None:
    """Wait for a broker that may start at the same time; raises BrokerError when it or a topic does not come."""
    names = list(topics)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            require_topics(kafka, names)
            return
        except BrokerError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_AWAIT_S)


def count_partitions(kafka: KafkaConfig, topics: Iterable[str]) -> dict[str, int]:
    """How many partitions each topic has; raises BrokerError where the broker does not answer or lacks one."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    # Connection errors arrive as the exception below; librdkafka would print each of them as well.
    client = AdminClient({**kafka.librdkafka_options(), "log_level": 0})
    try:
        known = client.list_topics(timeout=CHECK_TIMEOUT_S).topics
    except KafkaException as error:
        reason = error.args[0].str()
        raise BrokerError(
            f"Kafka at {kafka.bootstrap_servers} does not answer ({reason}): start it, or correct kafka.bootstrap_servers"
        ) from error
    wanted = sorted(set(topics))
    missing = [name for name in wanted if name not in known]
    if missing:
        raise BrokerError(f"Kafka at {kafka.bootstrap_servers} has no topic {missing[0]!r}: create it, 'sightline up' does")
    return {name: len(known[name].partitions) for name in wanted}


def newest_message(kafka: KafkaConfig, topic: Topic) -> bytes | None:
    """The value of the newest message of a topic's first partition, None where there is none; raises BrokerError."""
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    options = {"group.id": "newest", "enable.auto.commit": False, "log_level": 0}
    consumer = Consumer({**kafka.librdkafka_options(), **options})
    try:
        first, end = consumer.get_watermark_offsets(TopicPartition(topic.name, 0), CHECK_TIMEOUT_S)
        if end == first:
            return None
        consumer.assign([TopicPartition(topic.name, 0, end - 1)])
        message = consumer.poll(CHECK_TIMEOUT_S)
        if message is None or message.error():
            raise BrokerError(f"topic {topic.name} at {kafka.bootstrap_servers}: gives no message: see whether Kafka runs")
        value: bytes | None = message.value()
    except KafkaException as error:
        raise BrokerError(
            f"topic {topic.name} at {kafka.bootstrap_servers}: {error.args[0].str()}: see whether Kafka runs"
        ) from error
    else:
        return value
    finally:
        consumer.close()


def _client_options(kafka: KafkaConfig) -> dict[str, str]:
    return {f"kafka.{name}": value for name, value in kafka.client_options().items()}
