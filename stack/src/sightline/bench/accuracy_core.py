"""The simulation through the streaming core alone: one call for each ten seconds of arrivals, as a job's micro-batches are."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sightline.simulate.city import City
from sightline.simulate.encoding import Message
from sightline_streaming.core.shard import process_shard
from sightline_streaming.core.site import shard_config
from sightline_streaming.fact_frames import to_arrow

LATENESS_S = 10.0
_BATCH_US = 10_000_000


def run_core(city: City) -> pa.Table:
    """All facts but segments, as ``fact_frames.to_arrow`` gives them."""
    config = shard_config(city.configs, window_s=60.0, allowed_lateness_s=LATENESS_S)
    state: bytes | None = None
    logs = []
    for n, batch in enumerate(_batches(city.messages())):
        arrived_us = np.array([message.arrives_us for message in batch], np.int64)
        offsets = np.arange(len(batch), dtype=np.int64) + n * 10_000_000
        keys: list[bytes | None] = [message.key.encode() for message in batch]
        state, facts = process_shard(
            config, state, [message.payload for message in batch], keys, np.zeros(len(batch), np.int32), offsets, arrived_us
        )
        log = to_arrow(facts)
        logs.append(log.filter(pc.not_equal(log["kind"], "segment")))
    return pa.concat_tables(logs)


def _batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    until_us = 0
    for message in messages:
        if message.arrives_us > until_us and batch:
            yield batch
            batch = []
        if not batch:
            until_us = message.arrives_us + _BATCH_US
        batch.append(message)
    if batch:
        yield batch
