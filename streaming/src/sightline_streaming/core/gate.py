"""Which messages get in: those that keep the contract, under their own camera's key, with times and counts that can be true.

A camera's time is bounded by the arrival of its messages, and so are session, seq and frame numbers: a node with a wrong
clock or damaged counters must not put its camera's state where right messages would be behind.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sightline_contract.batch import parse_batch
from sightline_contract.errors import ContractError
from sightline_streaming.core.kernel import Record, Records, kernel
from sightline_streaming.core.wire import Bytes, Messages, join, same_bytes

# No camera gives so many messages or frames in a session: 2**40 frames at 1,000 a second are 35 years.
MAX_COUNT = 2**40

# Why a message is refused.
FINE, BREAKS_CONTRACT, OTHER_KEY, WILD_COUNT, CLOCK_AHEAD, SESSION_AHEAD = range(6)


class DeadLetter(NamedTuple):
    """A message that was refused, and why."""

    camera_id: str
    reason: str
    partition: int
    offset: int
    arrived_us: int
    payload: bytes | None


def refuse(
    messages: Messages,
    payloads: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None,
    partitions: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    max_future_us: int,
) -> tuple[npt.NDArray[np.int64], list[DeadLetter]]:
    """Places of the messages that get in, and the others as dead letters."""
    given = [] if keys is None else [key or b"" for key in keys]
    key_bytes, key_starts = join(given)
    faults = _faults(messages.buffer, messages.headers, key_bytes, key_starts, max_future_us)
    dead_letters = [
        DeadLetter(
            _camera_id(messages, i, keys),
            _reason(int(faults[i]), messages.headers[i], payloads[i], None if keys is None else keys[i]),
            int(partitions[i]),
            int(offsets[i]),
            int(messages.headers[i]["arrived_us"]),
            payloads[i],
        )
        for i in np.flatnonzero(faults).tolist()
    ]
    return np.flatnonzero(faults == FINE), dead_letters


@kernel
def _faults(
    buffer: Bytes,
    headers: Records,
    key_bytes: Bytes,
    key_starts: npt.NDArray[np.int64],
    max_future_us: int,
) -> npt.NDArray[np.uint8]:
    faults = np.zeros(headers.shape[0], np.uint8)
    has_keys = key_starts.shape[0] > headers.shape[0]
    for i in range(headers.shape[0]):
        header = headers[i]
        latest_us = header.arrived_us + max_future_us
        if not header.readable:
            faults[i] = BREAKS_CONTRACT
        elif (
            has_keys
            and key_starts[i + 1] > key_starts[i]
            and (
                key_starts[i + 1] - key_starts[i] != header.camera_length
                or not same_bytes(key_bytes, key_starts[i], buffer, header.camera_at, header.camera_length)
            )
        ):
            faults[i] = OTHER_KEY
        elif not (0 <= header.seq < MAX_COUNT and 0 <= header.first_frame < MAX_COUNT and header.session >= 0):
            faults[i] = WILD_COUNT
        elif header.captured_us > latest_us:
            faults[i] = CLOCK_AHEAD
        elif header.session > latest_us:
            faults[i] = SESSION_AHEAD
    return faults


def _reason(fault: int, header: Record, payload: bytes | None, key: bytes | None) -> str:
    if payload is None:
        return "message has no payload"
    if fault == BREAKS_CONTRACT:
        try:
            parse_batch(payload)
        except ContractError as error:
            return str(error)
    if fault == OTHER_KEY:
        return f"key {(key or b'').decode(errors='replace')!r} is not the message's camera_id"
    arrived_us = int(header["arrived_us"])
    if fault == CLOCK_AHEAD:
        return f"clock ahead by {(int(header['captured_us']) - arrived_us) / 1e6:.0f} s (captured_us against arrival)"
    if fault == SESSION_AHEAD:
        return f"clock ahead by {(int(header['session']) - arrived_us) / 1e6:.0f} s (session against arrival)"
    counts = ", ".join(f"{name} {int(header[name]) % 2**64}" for name in ("session", "seq", "first_frame"))
    return f"counts cannot be true: {counts}"


def _camera_id(messages: Messages, i: int, keys: Sequence[bytes | None] | None) -> str:
    """The camera as the key says it, else as the message does, else empty."""
    key = None if keys is None else keys[i]
    if key:
        return key.decode(errors="replace")
    header = messages.headers[i]
    at, length = int(header["camera_at"]), int(header["camera_length"])
    return messages.buffer[at : at + length].tobytes().decode() if header["readable"] else ""
