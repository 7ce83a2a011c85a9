"""A shard's memory as one value for a state store, and back.

Layout, little-endian: magic, version, CRC-32 of the body; body: digest of the record types, length of a counting window, then
each section as count and bytes. A version is a promise: records or layout change only together with it, and then UPGRADES
says how to turn the body of the version before into this one's.
"""

import struct
import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sightline_contract.errors import StateError
from sightline_streaming.core.memory import CAMERA, PASSAGE, PATH, STAY, TALLY, WINDOW, Memory, Parts
from sightline_streaming.core.records import SCENE, TRACK

MAGIC = b"SLST"
VERSION = 1

# Version to the function that makes the next version's body of it.
UPGRADES: dict[int, Callable[[bytes], bytes]] = {}

_HEAD = struct.Struct("<4sHxxI")
_BODY = struct.Struct("<Iq")
_COUNT = struct.Struct("<Q")
_SECTIONS = (CAMERA, SCENE, TRACK, np.dtype(np.int32), PATH, PASSAGE, STAY, WINDOW, TALLY)
_LAYOUT = zlib.crc32(repr([(kind.descr, kind.itemsize) for kind in _SECTIONS]).encode())
_REMEDY = "restore it from a copy, or start the query on a new checkpoint"


def snapshot(memory: Memory, window_us: int) -> bytes:
    """``memory`` as bytes; the same memory gives the same bytes."""
    parts = memory.parts
    tracks, windows, tallies, passages, stays = (int(n) for n in parts.used)
    arrays = (
        memory.cameras,
        memory.scenes,
        parts.tracks[:tracks],
        parts.slots[:tracks],
        parts.paths[:tracks],
        parts.passages[:passages],
        parts.stays[:stays],
        parts.windows[:windows],
        parts.tallies[:tallies],
    )
    sections = [_COUNT.pack(len(array)) + array.tobytes() for array in arrays]
    body = b"".join((_BODY.pack(_LAYOUT, window_us), _texts(memory.names), _texts(memory.models), *sections))
    return _HEAD.pack(MAGIC, VERSION, zlib.crc32(body)) + body


def restore(value: bytes, window_us: int) -> Memory:
    """The memory that ``value`` was made of; raises StateError where it cannot be told."""
    reader = _Reader(_body(value))
    layout, kept_window_us = reader.take(_BODY)
    if layout != _LAYOUT:
        raise StateError(
            f"shard state of version {VERSION} has records of another layout: run the release that wrote it, or {_REMEDY}"
        )
    if kept_window_us != window_us:
        raise StateError(
            f"shard state counts in windows of {kept_window_us / 1e6:g} s, the configuration in windows of "
            f"{window_us / 1e6:g} s: set window_s back, or start the query on a new checkpoint"
        )
    names, models = reader.texts(), reader.texts()
    cameras, scenes, tracks, slots, paths, passages, stays, windows, tallies = (reader.array(kind) for kind in _SECTIONS)
    used = np.array([len(tracks), len(windows), len(tallies), len(passages), len(stays)], np.int64)
    _check_counts(names, cameras, scenes, slots, paths, used)
    return Memory(names, models, cameras, scenes, Parts(used, tracks, slots, paths, passages, stays, windows, tallies))


def _body(value: bytes) -> bytes:
    if len(value) < _HEAD.size or value[:4] != MAGIC:
        raise StateError(f"shard state of {len(value)} bytes is not a shard's state: {_REMEDY}")
    _, version, crc = _HEAD.unpack_from(value)
    body = value[_HEAD.size :]
    if version > VERSION:
        raise StateError(f"shard state has version {version}, this release reads up to {VERSION}: run the newer release")
    if zlib.crc32(body) != crc:
        raise StateError(f"shard state of {len(value)} bytes is damaged (checksum differs): {_REMEDY}")
    for older in range(version, VERSION):
        if older not in UPGRADES:
            raise StateError(f"shard state has version {version}, which this release does not read any more: {_REMEDY}")
        body = UPGRADES[older](body)
    return body


def _check_counts(
    names: list[bytes],
    cameras: npt.NDArray[np.void],
    scenes: npt.NDArray[np.void],
    slots: npt.NDArray[np.int32],
    paths: npt.NDArray[np.void],
    used: npt.NDArray[np.int64],
) -> None:
    per_track = cameras["n_tracks"].astype(np.int64)
    expected = [
        per_track.sum(),
        cameras["n_windows"].sum(),
        cameras["n_tallies"].sum(),
        (per_track * cameras["n_lines"]).sum(),
        (per_track * cameras["n_zones"]).sum(),
    ]
    if expected != used.tolist() or not len(names) == len(cameras) == len(scenes) or not used[0] == len(slots) == len(paths):
        raise StateError(f"shard state contradicts itself (its counts differ): {_REMEDY}")


def _texts(texts: list[bytes]) -> bytes:
    lengths = np.array([len(text) for text in texts], np.uint32)
    return _COUNT.pack(len(texts)) + lengths.tobytes() + b"".join(texts)


class _Reader:
    """Takes sections off a body, one after another."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self._bytes(form.size))

    def array(self, kind: np.dtype[np.generic]) -> npt.NDArray[np.void]:
        (count,) = self.take(_COUNT)
        # A copy, so that kernels always see writable memory: another kind of array would compile them again.
        return np.frombuffer(bytearray(self._bytes(count * kind.itemsize)), kind)

    def texts(self) -> list[bytes]:
        lengths = self.array(np.dtype(np.uint32)).tolist()
        return [self._bytes(length) for length in lengths]

    def _bytes(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._body):
            raise StateError(f"shard state ends too early: {_REMEDY}")
        taken, self._at = self._body[self._at : end], end
        return taken
