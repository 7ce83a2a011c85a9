"""Where a simulation's messages go: to Kafka, as fast as it takes them or in their own time, or into a Parquet file."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sightline.broker import require_broker
from sightline.simulate.encoding import Message
from sightline_contract.errors import BrokerError
from sightline_contract.topics import DETECTIONS, PRODUCER_COMPRESSION

_FLUSH_S = 120.0
# As an edge node sends: compressed, every acknowledged message is kept, and kept once.
_OPTIONS: dict[str, str | int | bool] = {
    "linger.ms": 20, "batch.size": 1_000_000, "queue.buffering.max.kbytes": 262_144, "enable.idempotence": True, "log_level": 0,
    **PRODUCER_COMPRESSION,
}  # fmt: skip
_ROW_GROUP = 20_000
SCHEMA = pa.schema([("arrives_us", pa.int64()), ("camera_id", pa.string()), ("value", pa.binary())])


def paced(messages: Iterable[Message], speed: float) -> Iterator[Message]:
    """The messages, each not before its time: ``speed`` simulated seconds pass in one."""
    began: float | None = None
    first_us = 0
    for message in messages:
        if began is None:
            began, first_us = time.monotonic(), message.arrives_us
        ahead_s = (message.arrives_us - first_us) / 1e6 / speed - (time.monotonic() - began)
        if ahead_s > 0:
            time.sleep(ahead_s)
        yield message


def publish(messages: Iterable[Message], bootstrap: str) -> int:
    """Send all messages to the topic of detections; returns how many. Raises BrokerError where one was not taken."""
    from confluent_kafka import Producer

    require_broker(bootstrap)
    producer = Producer({"bootstrap.servers": bootstrap, **_OPTIONS})
    failed: list[str] = []

    def note(error: object, _message: object) -> None:
        if error is not None and not failed:
            failed.append(str(error))

    count = 0
    for message in messages:
        while True:
            try:
                producer.produce(DETECTIONS.name, key=message.key, value=message.payload, on_delivery=note)
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
        if count % 1000 == 0:
            producer.poll(0)
    left = producer.flush(_FLUSH_S)
    if left or failed:
        raise BrokerError(
            f"{bootstrap}: did not take {left or 'all'} messages ({failed[0] if failed else 'no answer'}): see its log"
        )
    return count


def write_messages(messages: Iterable[Message], path: Path) -> int:
    """Write all messages in order of arrival to a Parquet file; returns how many."""
    count = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        group: list[Message] = []
        for message in messages:
            group.append(message)
            if len(group) == _ROW_GROUP:
                count += _write_group(writer, group)
        count += _write_group(writer, group)
    return count


def _write_group(writer: pq.ParquetWriter, group: list[Message]) -> int:
    columns = ([m.arrives_us for m in group], [m.key for m in group], [m.payload for m in group])
    writer.write_table(pa.table([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA))
    count = len(group)
    group.clear()
    return count
