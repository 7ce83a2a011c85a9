"""Identifiers and how they are made. None needs a central counter."""

import zlib

SCHEMA_VERSION = 2


def track_id(camera_id: str, session: int, track_no: int) -> str:
    """Name of a track that is unique in the whole fleet: its camera, the camera's session, a counter in the tracker's state."""
    return f"{camera_id}/{session}/{track_no}"


def shard_of(camera_id: str, shards: int) -> int:
    """Shard that keeps a camera's tracking state; equals ``pmod(crc32(key), shards)`` in Spark SQL."""
    return zlib.crc32(camera_id.encode()) % shards
