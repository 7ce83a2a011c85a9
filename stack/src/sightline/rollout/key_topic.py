"""The topic rollout_keys: keys of sealed parts by rollout and node, written by whoever has the content keys."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from sightline.rollout.desk import Desk, Written
from sightline.topic_content import read_topic
from sightline_contract.settings import explain
from sightline_contract.topics import ROLLOUT_KEYS
from sightline_models.rollout.keys import NodeKeys
from sightline_streaming.config import KafkaConfig

if TYPE_CHECKING:
    from confluent_kafka import Message

_TRANSACTIONAL_ID: Final = "rollout-keys"

KeysByRollout = dict[str, dict[str, NodeKeys]]
"""By rollout's id, then by node."""


def read_keys(kafka: KafkaConfig) -> KeysByRollout:
    """All keys that were given; raises BrokerError."""
    found: KeysByRollout = {}
    for message in read_topic(kafka.bootstrap_servers, ROLLOUT_KEYS.name, kafka.librdkafka_options()):
        take(found, message)
    return {rollout_id: of_rollout for rollout_id, of_rollout in found.items() if of_rollout}


def take(known: KeysByRollout, message: "Message") -> str | None:
    """Keep what a message says unless it is older than what is known; returns the id of the rollout that has news.

    The dictionary of a rollout stays the same object, so that who was given it sees the news.
    """
    value = message.value()
    if message.error() is not None:
        return None
    if value is None:
        _forget(known, message.key() or b"")
        return None
    try:
        keys = NodeKeys.model_validate_json(value)
    except ValidationError as error:
        where = f"{ROLLOUT_KEYS.name} offset {message.offset()}"
        print(f"{where}: passed over, it is no key of a node: {explain(error)}", file=sys.stderr, flush=True)
        return None
    of_rollout = known.setdefault(keys.rollout_id, {})
    before = of_rollout.get(keys.node_id)
    if before == keys or (before is not None and before.serial > keys.serial):
        return None
    of_rollout[keys.node_id] = keys
    return keys.rollout_id


def _forget(known: KeysByRollout, key: bytes) -> None:
    """Drop a key of a rollout that is long over; a node's id has no slash."""
    rollout_id, _, node_id = key.decode(errors="replace").rpartition("/")
    known.get(rollout_id, {}).pop(node_id, None)


def written(keys: NodeKeys) -> Written:
    """The message."""
    return ROLLOUT_KEYS.name, keys.record_key, keys.model_dump_json().encode()


class KeyDesk:
    """The one place where keys are given to nodes while a rollout runs; raises BrokerError throughout.

    Of two that give keys at once, the former writes nothing more once the later one has read what there is: so no node is given
    two keys under one serial, and none twice.
    """

    def __init__(self, kafka: KafkaConfig) -> None:
        self._desk = Desk(kafka, _TRANSACTIONAL_ID, ROLLOUT_KEYS.name)
        self.keys = read_keys(kafka)

    def give(self, keys: Sequence[NodeKeys], announce: Callable[[], None]) -> None:
        """Publish them all or none (``announce``: see Desk.write); raises OvertakenError where another one has come."""
        self._desk.write([written(each) for each in keys], announce)
        for each in keys:
            self.keys.setdefault(each.rollout_id, {})[each.node_id] = each
