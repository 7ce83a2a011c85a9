"""A shard's state as earlier releases wrote it."""

import struct
import zlib

from sightline_streaming.core.state import MAGIC

_HEAD, _HEAD_SIZE = "<4sHxxI", 12
_DIGEST_AND_WINDOW, _IDENTITY = 12, 8


def as_version_2(state: bytes) -> bytes:
    """A state of version 3 as version 2: it does not say which shard it is of."""
    magic, version, _ = struct.unpack_from(_HEAD, state)
    assert (magic, version) == (MAGIC, 3)
    body = state[_HEAD_SIZE:]
    body = body[:_DIGEST_AND_WINDOW] + body[_DIGEST_AND_WINDOW + _IDENTITY :]
    return struct.pack(_HEAD, MAGIC, 2, zlib.crc32(body)) + body


def version_of(state: bytes) -> int:
    """The version that a state says it has."""
    return int(struct.unpack_from(_HEAD, state)[1])
