"""Clients of librdkafka: made from a site's options, refused in one line."""

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer

from sightline_contract.errors import ConfigError
from sightline_edge.health.masking import mask

# librdkafka writes its own lines; what matters of them is told by who uses the client.
_logger = logging.getLogger("sightline_edge.librdkafka")


def producer(options: Mapping[str, Any], section: str) -> Producer:
    """A producer; raises ConfigError naming ``section`` of the node's file where the options, or their files, are of no use."""
    try:
        return Producer(dict(options), logger=_logger)
    except KafkaException as error:
        raise _refused(section, error) from error


def consumer(options: Mapping[str, Any], section: str) -> Consumer:
    """A consumer; raises ConfigError as ``producer`` does."""
    try:
        return Consumer(dict(options), logger=_logger)
    except KafkaException as error:
        raise _refused(section, error) from error


def _refused(section: str, error: KafkaException) -> ConfigError:
    reason = mask(error.args[0].str())
    return ConfigError(f"{section}.options: {reason}: correct them, or the files that they name")
