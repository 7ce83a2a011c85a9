"""A shard's memory as one value for a state store, and back.

Layout, little-endian: magic, version, CRC-32 of the body; body: digest of the record types, length of a counting window, the
shard's number and how many shards there are, then each section as count and bytes. A version is a promise: records or layout
change only together with it, and then UPGRADES says how to turn the body of the version before into this one's.
"""

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline_contract.batch import MAX_APPEARANCE_SIZE
from sightline_contract.camera import MAX_LINES, MAX_ZONES
from sightline_contract.errors import StateError
from sightline_contract.rules import MAX_RULES
from sightline_streaming.core.kernel import Records
from sightline_streaming.core.memory import ALARM, CAMERA, HABIT, PATH, TALLY, TRAIL, WINDOW, Memory, Parts
from sightline_streaming.core.records import LOOK, SCENE, TRACK

MAGIC = b"SLST"
VERSION = 3

_HEAD = struct.Struct("<4sHxxI")
_BODY = struct.Struct("<Iqii")


class Identity(NamedTuple):
    """Which shard a state is of: ``number`` among ``shards``."""

    number: int
    shards: int


UNKNOWN = Identity(-1, -1)


def _with_identity(body: bytes) -> bytes:
    """Version 3 of a body of version 2, which does not say whose it is."""
    digest_and_window = 12
    return body[:digest_and_window] + struct.pack("<ii", *UNKNOWN) + body[digest_and_window:]


# Version to the function that makes the next version's body of it.
UPGRADES: dict[int, Callable[[bytes], bytes]] = {2: _with_identity}

_COUNT = struct.Struct("<Q")

# A path's fields at lines and zones are kept for as many as its camera has, all others as they are.
_AT_LINE = {name: PATH[name].base for name in ("side", "towards", "leans", "cut_us", "cut_x", "cut_y")}
_AT_ZONE = {name: PATH[name].base for name in ("phase", "entered_us", "left_us")}
_ALONE = [name for name in PATH.names or () if name not in _AT_LINE and name not in _AT_ZONE]
_TRACK_PATH = np.dtype([(name, PATH[name]) for name in _ALONE])
# And a trail's fields at rules.
_AT_RULE = {name: TRAIL[name].base for name in TRAIL.names or () if TRAIL[name].shape == (MAX_RULES,)}
_TRAIL_ALONE = [name for name in TRAIL.names or () if name not in _AT_RULE]
_TRAIL = np.dtype([(name, TRAIL[name]) for name in _TRAIL_ALONE])
# And a look's vector as long as its camera's vectors are.
_AT_COMPONENT = {name: LOOK[name].base for name in LOOK.names or ()}
_SECTIONS = (
    CAMERA, SCENE, TRACK, _TRACK_PATH, *_AT_LINE.values(), *_AT_ZONE.values(), WINDOW, TALLY, _TRAIL, *_AT_RULE.values(),
    ALARM, HABIT, *_AT_COMPONENT.values(),
)  # fmt: skip
_LAYOUT = zlib.crc32(repr([(kind.descr, kind.itemsize) for kind in _SECTIONS]).encode())
_REMEDY = "restore it from a copy, or start the query on a new checkpoint"
_CONTRADICTION = f"shard state contradicts itself (its counts differ): {_REMEDY}"


def snapshot(memory: Memory, window_us: int, identity: Identity = UNKNOWN) -> bytes:
    """``memory`` of the shard ``identity`` as bytes; the same memory gives the same bytes."""
    parts = memory.parts
    tracks, windows, tallies, n_trails, alarms, habits, n_looks = (int(n) for n in parts.used)
    paths, trails = parts.paths[:tracks], parts.trails[:n_trails]
    at_lines, at_zones, at_rules, at_components = _own_places(memory.cameras)
    arrays = (
        memory.cameras,
        memory.scenes,
        parts.tracks[:tracks],
        paths[_ALONE].astype(_TRACK_PATH),
        *(paths[name][at_lines] for name in _AT_LINE),
        *(paths[name][at_zones] for name in _AT_ZONE),
        parts.windows[:windows],
        parts.tallies[:tallies],
        trails[_TRAIL_ALONE].astype(_TRAIL),
        *(trails[name][at_rules] for name in _AT_RULE),
        parts.alarms[:alarms],
        parts.habits[:habits],
        *(parts.looks[name][:n_looks][at_components] for name in _AT_COMPONENT),
    )
    head = _BODY.pack(_LAYOUT, window_us, *identity)
    body: list[bytes | memoryview] = [head, _texts(memory.names), _texts(memory.models)]
    for array in arrays:
        body += (_COUNT.pack(len(array)), np.ascontiguousarray(array).view(np.uint8).data)
    crc = 0
    for piece in body:
        crc = zlib.crc32(piece, crc)
    return b"".join((_HEAD.pack(MAGIC, VERSION, crc), *body))


def restore(value: bytes, window_us: int, identity: Identity = UNKNOWN) -> Memory:
    """The memory that ``value`` was made of; raises StateError where it cannot be told, or is not that of ``identity``.

    UNKNOWN fits every state, and a state that does not say whose it is fits every ``identity``.
    """
    reader = _Reader(_body(value))
    layout, kept_window_us, *kept = reader.take(_BODY)
    if layout != _LAYOUT:
        raise StateError(
            f"shard state of version {VERSION} has records of another layout: run the release that wrote it, or {_REMEDY}"
        )
    if kept_window_us != window_us:
        raise StateError(
            f"shard state counts in windows of {kept_window_us / 1e6:g} s, the configuration in windows of "
            f"{window_us / 1e6:g} s: set window_s back, or start the query on a new checkpoint"
        )
    _require(identity, Identity(*kept))
    names, models = reader.texts(), reader.texts()
    cameras, scenes, tracks, alone = (reader.array(kind) for kind in (CAMERA, SCENE, TRACK, _TRACK_PATH))
    paths = np.zeros(len(tracks), PATH)
    if cameras["n_tracks"].sum() != len(tracks) or len(alone) != len(tracks):
        raise StateError(_CONTRADICTION)
    for name in _ALONE:
        paths[name] = alone[name]
    at_lines, at_zones, at_rules, at_components = _own_places(cameras)
    reader.at_places(paths, _AT_LINE, at_lines)
    reader.at_places(paths, _AT_ZONE, at_zones)
    windows, tallies = reader.array(WINDOW), reader.array(TALLY)
    trails_alone = reader.array(_TRAIL)
    trails = np.zeros(len(at_rules), TRAIL)
    if len(trails_alone) != len(trails):
        raise StateError(_CONTRADICTION)
    for name in _TRAIL_ALONE:
        trails[name] = trails_alone[name]
    reader.at_places(trails, _AT_RULE, at_rules)
    alarms, habits = reader.array(ALARM), reader.array(HABIT)
    if len(alarms) != cameras["n_rules"].sum() or len(habits) != cameras["n_habits"].sum():
        raise StateError(_CONTRADICTION)
    looks = np.zeros(len(at_components), LOOK)
    reader.at_places(looks, _AT_COMPONENT, at_components)
    used = np.array([len(array) for array in (tracks, windows, tallies, trails, alarms, habits, looks)], np.int64)
    parts = Parts(used, tracks, paths, windows, tallies, trails, alarms, habits, looks)
    return Memory(names, models, cameras, scenes, parts)


def _require(identity: Identity, kept: Identity) -> None:
    if UNKNOWN not in (identity, kept) and identity != kept:
        raise StateError(
            f"shard state is that of shard {kept.number} of {kept.shards}, and read as shard {identity.number} of "
            f"{identity.shards}: set shards back, or take the checkpoint to another number with 'sightline rescale'"
        )


def _own_places(cameras: Records) -> tuple[npt.NDArray[np.bool_], ...]:
    """Of each track, which lines and which zones its camera has: (T, MAX_LINES) and (T, MAX_ZONES).

    And of each track of a camera with rules, which rules: (R, MAX_RULES); of each track of a camera with appearance vectors,
    which components these have: (L, MAX_APPEARANCE_SIZE).
    """
    names = ("n_lines", "n_zones", "n_rules", "look_size")
    lines, zones, rules, sizes = (np.repeat(cameras[name], cameras["n_tracks"])[:, None] for name in names)
    rules, sizes = rules[rules[:, 0] > 0], sizes[sizes[:, 0] > 0]
    return (
        np.arange(MAX_LINES) < lines,
        np.arange(MAX_ZONES) < zones,
        np.arange(MAX_RULES) < rules,
        np.arange(MAX_APPEARANCE_SIZE) < sizes,
    )


def _body(value: bytes) -> bytes | memoryview:
    if len(value) < _HEAD.size or value[:4] != MAGIC:
        raise StateError(f"shard state of {len(value)} bytes is not a shard's state: {_REMEDY}")
    _, version, crc = _HEAD.unpack_from(value)
    body: bytes | memoryview = memoryview(value)[_HEAD.size :]
    if version > VERSION:
        raise StateError(f"shard state has version {version}, this release reads up to {VERSION}: run the newer release")
    if zlib.crc32(body) != crc:
        raise StateError(f"shard state of {len(value)} bytes is damaged (checksum differs): {_REMEDY}")
    for older in range(version, VERSION):
        if older not in UPGRADES:
            raise StateError(f"shard state has version {version}, which this release does not read any more: {_REMEDY}")
        body = UPGRADES[older](bytes(body))
    return body


def _texts(texts: list[bytes]) -> bytes:
    lengths = np.array([len(text) for text in texts], np.uint32)
    return _COUNT.pack(len(texts)) + lengths.tobytes() + b"".join(texts)


class _Reader:
    """Takes sections off a body, one after another."""

    def __init__(self, body: bytes | memoryview) -> None:
        self._body = body
        self._at = 0

    def take(self, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self._bytes(form.size))

    def array(self, kind: np.dtype[np.generic]) -> Records:
        (count,) = self.take(_COUNT)
        # A copy, so that kernels always see writable memory: another kind of array would compile them again.
        return np.frombuffer(bytearray(self._bytes(count * kind.itemsize)), kind)

    def at_places(self, records: Records, fields: dict[str, np.dtype[np.generic]], own: npt.NDArray[np.bool_]) -> None:
        """Take fields of ``records`` that were kept for ``own`` (n, places) of their places only."""
        for name, kind in fields.items():
            values = self.array(kind)
            if len(values) != own.sum():
                raise StateError(_CONTRADICTION)
            records[name][own] = values

    def texts(self) -> list[bytes]:
        lengths = self.array(np.dtype(np.uint32)).tolist()
        return [bytes(self._bytes(length)) for length in lengths]

    def _bytes(self, count: int) -> bytes | memoryview:
        end = self._at + count
        if end > len(self._body):
            raise StateError(f"shard state ends too early: {_REMEDY}")
        taken, self._at = self._body[self._at : end], end
        return taken
