"""A shard's state as the state store keeps it: compressed and in ASCII, since Spark carries it to Python as text.

The JVM pickles the whole state of a shard for Python in every micro-batch, as a string of a character a byte, in UTF-8: of a
city's 4 KB a camera a fifth of the JVM's samples in a profile. zstd makes 1.9 KB of it. Characters beyond ASCII were half of
what was left: base64 costs a third more bytes, which both sides copy as they are.
"""

import binascii
import struct

import pyarrow as pa

from sightline_contract.errors import StateError

MAGIC = b"SLSA"
# As releases before wrote it: the same without base64.
BINARY_MAGIC = b"SLSZ"
_HEAD = struct.Struct("<4sQ")
# No shard's state is larger: what claims to be so is damaged.
_MOST_BYTES = 2**31


def pack_state(state: bytes) -> bytes:
    """``state`` compressed; the same state gives the same bytes."""
    packed: bytes = pa.Codec("zstd", compression_level=1).compress(state, asbytes=True)
    return MAGIC + binascii.b2a_base64(_HEAD.pack(BINARY_MAGIC, len(state)) + packed, newline=False)


def unpack_state(value: bytes) -> bytes:
    """The state in ``value``, which an earlier release may have kept in bytes; raises StateError where it is damaged."""
    try:
        if value[:4] == MAGIC:
            packed = binascii.a2b_base64(value[4:], strict_mode=True)
        elif value[:4] == BINARY_MAGIC:
            packed = value
        else:
            return value
        magic, size = _HEAD.unpack_from(packed)
        if magic != BINARY_MAGIC or size > _MOST_BYTES:
            raise ValueError(f"{magic!r}, {size} bytes")
        state: bytes = pa.Codec("zstd").decompress(packed[_HEAD.size :], decompressed_size=size, asbytes=True)
    except (struct.error, OSError, ValueError, pa.ArrowException) as error:
        raise StateError(
            f"shard state of {len(value)} bytes is damaged (cannot be decompressed): restore it from a copy, or start the "
            "query on a new checkpoint"
        ) from error
    return state
