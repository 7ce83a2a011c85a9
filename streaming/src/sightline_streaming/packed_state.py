"""A shard's state as the state store keeps it: compressed, since Spark carries it to Python and back as a string.

JVM and worker pickle the whole state of a shard twice a micro-batch, byte by byte: of a city's 4 KB a camera a fifth of the
JVM's samples in a profile. zstd makes 1.9 KB of it, and of the fifth two thirds.
"""

import struct

import pyarrow as pa

from sightline_contract.errors import StateError

MAGIC = b"SLSZ"
_HEAD = struct.Struct("<4sQ")
# No shard's state is larger: what claims to be so is damaged.
_MOST_BYTES = 2**31


def pack_state(state: bytes) -> bytes:
    """``state`` compressed; the same state gives the same bytes."""
    packed: bytes = pa.Codec("zstd", compression_level=1).compress(state, asbytes=True)
    return _HEAD.pack(MAGIC, len(state)) + packed


def unpack_state(value: bytes) -> bytes:
    """The state in ``value``, which an earlier release may have kept uncompressed; raises StateError where it is damaged."""
    if value[:4] != MAGIC:
        return value
    try:
        _, size = _HEAD.unpack_from(value)
        if size > _MOST_BYTES:
            raise ValueError(f"{size} bytes")
        state: bytes = pa.Codec("zstd").decompress(value[_HEAD.size :], decompressed_size=size, asbytes=True)
    except (struct.error, OSError, ValueError, pa.ArrowException) as error:
        raise StateError(
            f"shard state of {len(value)} bytes is damaged (cannot be decompressed): restore it from a copy, or start the "
            "query on a new checkpoint"
        ) from error
    return state
