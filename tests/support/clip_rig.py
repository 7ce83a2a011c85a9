"""A clock that tests move, small moving pictures, and readers of what was written."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from sightline_edge.clips.clock import Instant
from sightline_edge.clips.ledger import Ledger
from sightline_edge.clips.store import Offered, Store
from sightline_edge.config import ClipsConfig

START_US = 1_900_000_000_000_000
SIZE = (64, 48)
NO_BOXES = np.empty((0, 4), np.float32)


@dataclass
class Clock:
    """True time and what the device's clocks make of it."""

    true_us: int = START_US
    off_us: int = 0  # wall clock minus true time
    booted_us: int = START_US - 5_000_000
    boots: int = 0

    def __call__(self) -> Instant:
        return Instant(self.true_us + self.off_us, self.true_us - self.booted_us, f"boot-{self.boots}")

    def advance(self, seconds: float) -> None:
        self.true_us += round(seconds * 1e6)

    def reboot(self) -> None:
        self.boots += 1
        self.booted_us = self.true_us


def picture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Noise: hard to compress, so that a few frames make bytes."""
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)


class Rig:
    """A store whose time and frames the test decides."""

    def __init__(self, folder: Path, clock: Clock, **config: object) -> None:
        self.folder = folder
        self.clock = clock
        self.config = ClipsConfig.model_validate({"segment_s": 2, "frames_per_s": 5} | config)
        self.store = Store(self.config, folder, "node", clock())
        self.seed = 0

    def add(self, camera: str = "gate", pixels: np.ndarray | None = None, boxes: np.ndarray = NO_BOXES) -> bool:
        now = self.clock()
        self.seed += 1
        pixels = picture(self.seed) if pixels is None else pixels
        return self.store.append(Offered(camera, pixels, now.wall_us, now.wall_us, boxes, now))

    def play(self, seconds: float, camera: str = "gate", size: tuple[int, int] = SIZE) -> None:
        for _ in range(round(seconds * 5)):
            self.seed += 1
            self.add(camera, picture(self.seed, size))
            self.store.purge(self.clock())
            self.clock.advance(0.2)

    def purge(self) -> None:
        self.store.purge(self.clock())

    def cut_power(self) -> None:
        """The process is gone and completed nothing."""
        for taken in self.store._open.values():
            taken.writer.abandon()
        self.store._ledger.close()
        self.store._lock.close()

    def start(self, **config: object) -> None:
        self.config = ClipsConfig.model_validate(self.config.model_dump() | config)
        self.store = Store(self.config, self.folder, "node", self.clock())

    def restart(self, **config: object) -> None:
        self.store.close(self.clock())
        self.start(**config)

    def files(self) -> dict[str, int]:
        found = sorted([*self.folder.glob("[!.]*/*"), *self.folder.glob(".exports/*")])
        return {str(path.relative_to(self.folder)): path.stat().st_size for path in found}

    def told(self) -> list[tuple[str, str]]:
        ledger = Ledger(self.folder)
        try:
            return [(deletion.file, deletion.reason) for deletion in reversed(ledger.deletions())]
        finally:
            ledger.close()


def decoded(path: Path) -> list[tuple[int, np.ndarray]]:
    """Time in ms and BGR pixels of a file's frames."""
    with av.open(str(path)) as container:
        return [(round(frame.time * 1000), frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)]
