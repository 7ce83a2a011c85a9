"""What a real broker keeps of messages: sent by the client that edge nodes use, then read from the topic's files.

A file of a topic is a row of record batches as Kafka's message format, version 2, has them: a head of 61 bytes, in which stand
the length, the codec and the number of records, then the records, compressed as one.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from sightline.broker import Broker, create_topics
from sightline_contract.errors import BrokerError
from sightline_contract.topics import DETECTIONS, PRODUCER_COMPRESSION, Topic

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
_HEAD = struct.Struct(">qiibIhiqqqhii")  # first offset, length, epoch, version, checksum, attributes, ..., records
_LENGTH_BEGINS = 12  # what the length counts begins behind itself
_FLUSH_S = 120.0
_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Stored:
    """A topic's record batches on disk."""

    size: int  # bytes
    batches: int
    messages: int
    codec: str


def store(broker: Broker, name: str, messages: Sequence[tuple[str, bytes]], a_batch: int) -> Stored:
    """Send (key, value) to a new topic, up to ``a_batch`` messages in one record batch; raises BrokerError."""
    create_topics(broker.bootstrap, [Topic(name, "camera_id", "any", "Of the benchmark.", 1, DETECTIONS.config)])
    failed: list[str] = []

    def note(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error.str())

    producer = Producer(
        {
            "bootstrap.servers": broker.bootstrap, "log_level": 0, "acks": "all", "linger.ms": 200,
            "batch.num.messages": a_batch, "batch.size": _MOST_BYTES, "queue.buffering.max.kbytes": 1_000_000,
            **PRODUCER_COMPRESSION,
        }
    )  # fmt: skip
    for key, value in messages:
        producer.produce(name, value, key, on_delivery=note)
    if producer.flush(_FLUSH_S) or failed:
        raise BrokerError(
            f"{broker.bootstrap}: did not take all messages ({failed[0] if failed else 'no answer'}): see its log"
        )
    return read_stored(broker.config.data_dir / "log" / f"{name}-0")


def read_stored(folder: Path) -> Stored:
    """What lies in a partition's folder; raises BrokerError where it is nothing or of several codecs."""
    heads = [head for path in sorted(folder.glob("*.log")) for head in _heads(path.read_bytes())]
    codecs = {codec for _, codec, _ in heads}
    if len(codecs) != 1:
        raise BrokerError(f"{folder}: holds record batches of {len(codecs)} codecs, not of one")
    return Stored(sum(size for size, _, _ in heads), len(heads), sum(records for _, _, records in heads), codecs.pop())


def _heads(log: bytes) -> Iterator[tuple[int, str, int]]:
    """Size, codec and records of each record batch."""
    at = 0
    while at + _HEAD.size <= len(log):
        _, length, _, _, _, attributes, *_, records = _HEAD.unpack_from(log, at)
        yield _LENGTH_BEGINS + length, CODECS[attributes & 7], records
        at += _LENGTH_BEGINS + length
