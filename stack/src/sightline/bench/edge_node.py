"""A node's way out alone, fed with a steady city: ``python -m sightline.bench.edge_node FEED.json``.

What runs is the node's own delivery path (outbox, spool, forwarder); only camera and detector are left out. The process tells
in a file, which outlives its SIGKILL, up to where it was handed messages (before it hands them over) and each message that its
spool has promised. ``Carrier`` starts it, kills it and reads what it told.
"""

import json
import logging
import os
import signal
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import psutil
from pydantic import Field

from sightline.processes import Child, start
from sightline.sampling import memory_of
from sightline.simulate.steady import SteadyCity
from sightline_contract.errors import StageError
from sightline_contract.settings import Settings
from sightline_edge.config import CameraSource, Kafka, NodeConfig, SpoolConfig
from sightline_edge.delivery import records
from sightline_edge.delivery.delivery import Delivery

# A message's number is second of the city x cameras + camera. A promise is told as it; -1 - n: all below n are handed over now.
_NUMBER = struct.Struct("<q")


class Feed(Settings):
    """What a process is to send: messages ``first`` to ``last`` (exclusive) of the city, and whereto."""

    state: Path
    told: Path
    bootstrap: str
    cameras: int
    fps: int = 5
    objects: int = 6
    seed: int = 1
    start_us: int
    first: int = 0
    last: int
    speed: float = 0.0  # seconds of the city in one second; 0: as fast as the spool takes them
    drain_s: float = 600.0
    spool: SpoolConfig = SpoolConfig()
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @property
    def city(self) -> SteadyCity:
        """Where the messages come from."""
        return SteadyCity(self.cameras, self.fps, self.objects, self.seed, self.start_us)

    @property
    def node(self) -> NodeConfig:
        """The node's settings; no camera is opened and no model loaded."""
        return NodeConfig(
            node_id="edge-bench",
            kafka=Kafka(bootstrap_servers=self.bootstrap, options=self.options),
            model=Path("none.onnx"),
            cameras=(CameraSource(source="none", camera=Path("none.yaml")),),
            state=self.state,
            spool=self.spool,
        )


def run(feed: Feed) -> int:
    """Feed the path, then forward until the spool is empty; returns how many messages stay."""
    delivery = Delivery(feed.node, [], wait=True)
    with feed.told.open("ab", buffering=0) as told:
        delivery.start()
        _feed(feed, delivery, told)
        return delivery.close(feed.drain_s)


def _feed(feed: Feed, delivery: Delivery, told: IO[bytes]) -> None:
    city, cameras, began_s = feed.city, feed.cameras, time.monotonic()
    for second in range(feed.first // cameras, -(-feed.last // cameras)):
        first, last = max(feed.first, second * cameras), min(feed.last, (second + 1) * cameras)
        if feed.speed:
            ahead_s = (first - feed.first) / cameras / feed.speed - (time.monotonic() - began_s)
            time.sleep(max(0.0, ahead_s))
        told.write(_NUMBER.pack(-1 - last))
        for number, message in enumerate(city.second(second), second * cameras):
            if first <= number < last:
                record = records.of_batch(message.key, message.payload)
                delivery.outbox.put(record, stored=partial(_tell, told.fileno(), number))
        delivery.check()


def _tell(file: int, number: int) -> None:
    os.write(file, _NUMBER.pack(number))


@dataclass(frozen=True)
class Look:
    """A process at one moment."""

    at_s: float  # monotonic
    life: int  # how often the process was started by then
    memory_bytes: int
    files: int
    threads: int
    disk_bytes: int  # of the folder of its state


def look_at(process: psutil.Process, life: int, folder: Path, files: str) -> Look:
    """Look now; raises psutil.Error or FileNotFoundError where the process, or a file, is no more."""
    memory = memory_of(process)
    if not memory:
        raise psutil.NoSuchProcess(process.pid)
    disk = sum(path.stat().st_size for path in folder.glob(files))
    return Look(time.monotonic(), life, memory, process.num_fds(), process.num_threads(), disk)


@dataclass
class Carrier:
    """The process, over several lives; ``prefix`` is put before its command. It ends with this process."""

    feed: Feed
    home: Path
    prefix: Sequence[str] = ()
    looks: list[Look] = field(default_factory=list)
    written_bytes: int = 0
    _lives: int = 0
    _written_before: int = 0
    _child: Child | None = None

    def start(self) -> None:
        """Start it behind what was handed over so far."""
        self._lives += 1
        feed = self.feed.model_copy(update={"first": self.handed})
        file = self.home / "feed.json"
        self.home.mkdir(parents=True, exist_ok=True)
        file.write_text(feed.model_dump_json(), encoding="utf-8")
        command: list[str | Path] = [*self.prefix, sys.executable, "-m", __name__, file]
        self._written_before = self.written_bytes
        self._child = start("edge node", command, self.home / f"node-{self._lives}.log")

    @property
    def child(self) -> Child:
        """The running process."""
        if self._child is None:
            raise StageError("the edge node was not started by this process")
        return self._child

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        os.kill(self.child.pid, number)

    def kill(self) -> None:
        """SIGKILL; what it told stays."""
        self.look()
        self.signal(signal.SIGKILL)
        self.child.wait(20)

    def finish(self, timeout_s: float) -> None:
        """Wait until it has sent everything; raises StageError where it ends with an error."""
        self.child.check(timeout_s)

    def stop(self) -> None:
        """End it, if it runs."""
        if self._child is not None:
            self._child.stop(2)

    @property
    def handed(self) -> int:
        """No message from this number on was handed over."""
        numbers = self._told()
        return int((-1 - numbers[numbers < 0]).max(initial=0))

    @property
    def promised(self) -> npt.NDArray[np.int64]:
        """Numbers of the messages that the spool had on its disk."""
        numbers = self._told()
        return numbers[numbers >= 0]

    def wait_for(self, number: int, timeout_s: float = 300) -> None:
        """Wait until messages up to ``number`` were handed over."""
        self.child.wait_until(lambda: self._newest_handed() >= number, timeout_s, f"message {number}")

    def look(self) -> None:
        """Keep how the process is."""
        if self._child is None or self._child.exit_code is not None:
            return
        try:
            process = psutil.Process(self._child.pid)
            self.looks.append(look_at(process, self._lives, self.feed.state, "spool.db*"))
            self.written_bytes = self._written_before + int(process.io_counters().write_bytes)
        except (psutil.Error, FileNotFoundError):  # it ends just now
            return

    def _told(self) -> npt.NDArray[np.int64]:
        try:
            content = self.feed.told.read_bytes()
        except FileNotFoundError:
            content = b""
        return np.frombuffer(content[: len(content) // _NUMBER.size * _NUMBER.size], "<i8")

    def _newest_handed(self) -> int:
        """As ``handed``, from the end of the file alone."""
        try:
            with self.feed.told.open("rb") as file:
                size = file.seek(0, os.SEEK_END) // _NUMBER.size * _NUMBER.size
                file.seek(max(0, size - 40_000 * _NUMBER.size))
                numbers = np.frombuffer(file.read(size - file.tell()), "<i8")
        except FileNotFoundError:
            return 0
        return int((-1 - numbers[numbers < 0]).max(initial=0))


def main() -> None:
    """Read the feed's file and run it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    feed = Feed.model_validate(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    sys.exit(1 if run(feed) else 0)


if __name__ == "__main__":
    main()
