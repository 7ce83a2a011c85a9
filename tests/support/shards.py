"""Running the shard kernel in a test: messages in, rows as dictionaries out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from seen import HEIGHT, START_US, WIDTH

from sightline_contract.camera import CameraConfig
from sightline_streaming.core.shard import process_shard
from sightline_streaming.core.site import ShardConfig, shard_config
from sightline_streaming.core.state import UNKNOWN, Identity
from sightline_streaming.fact_frames import to_arrow

Row = dict[str, Any]


def camera(camera_id: str = "cam-1", **settings: Any) -> CameraConfig:
    return CameraConfig(
        camera_id=camera_id, frame_size=(WIDTH, HEIGHT), frame_rate=20, **{"classes": ("person", "car"), **settings}
    )


class Shard:
    """A shard between calls."""

    def __init__(self, *cameras: CameraConfig, identity: Identity = UNKNOWN, **settings: float) -> None:
        self.identity = identity
        self.config: ShardConfig = shard_config(cameras, **settings)
        self.state: bytes | None = None
        self.rows: list[Row] = []

    def take(
        self,
        payloads: Sequence[bytes | None],
        *,
        keys: Sequence[bytes | None] | None = None,
        first_offset: int = 0,
        arrived_us: int | None = None,
    ) -> list[Row]:
        """Rows of one call; ``rows`` gathers those of all calls."""
        n = len(payloads)
        self.state, facts = process_shard(
            self.config,
            self.state,
            payloads,
            keys,
            np.zeros(n, np.int32),
            np.arange(first_offset, first_offset + n, dtype=np.int64),
            np.full(n, START_US + 3_600_000_000 if arrived_us is None else arrived_us, np.int64),
            self.identity,
        )
        rows: list[Row] = to_arrow(facts).to_pylist()
        self.rows += rows
        return rows

    def of(self, kind: str) -> list[Row]:
        return [row for row in self.rows if row["kind"] == kind]


def boxes_of(segment: Row) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """(n, 4) x1 y1 x2 y2 of a segment row."""
    return np.frombuffer(segment["boxes"], np.float32).reshape(-1, 4)
