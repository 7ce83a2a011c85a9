"""What the pipeline calls to send: batches, events, heartbeats. None of it waits for the centre.

Each message goes into the spool, and, where the node has a local broker, as a copy to the machines nearby. The spool comes
first in every sense: no broker between the detector and the disk can lose what the node has promised (decision record 10).
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from sightline_contract.batch import parse_batch
from sightline_contract.camera import CameraConfig
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.errors import ConfigError, ContractError
from sightline_contract.events import DetectionEvent, NodeStatus
from sightline_contract.rollout import ModelStatus
from sightline_edge.config import BrokerKind, NodeConfig
from sightline_edge.delivery import records
from sightline_edge.delivery.forwarder import Forwarder
from sightline_edge.delivery.neighbours import Watch
from sightline_edge.delivery.offset import Estimate
from sightline_edge.delivery.outbox import Outbox
from sightline_edge.delivery.records import Record
from sightline_edge.delivery.selection import Selection
from sightline_edge.delivery.spool import Depth, Spool
from sightline_edge.disk import lock
from sightline_edge.security.tls import check_files

SPOOL_FILE = "spool.db"


@dataclass(frozen=True)
class Health:
    """How the way to the centre is."""

    depth: Depth
    losses: dict[str, int]  # messages by reason, since the spool was made
    refused: int  # batches that a full disk did not take, since the start
    clock: Estimate | None

    @property
    def dropped(self) -> int:
        """Messages that the limits removed."""
        return self.losses.get("age", 0) + self.losses.get("size", 0)


class LocalBroker(Protocol):
    """A broker next to the node."""

    def give_batch(self, batch: DetectionBatch) -> None:
        """Publish a copy; never waits, counts what could not be given."""

    def give_event(self, event: DetectionEvent) -> None:
        """Publish a copy at once."""

    def give_status(self, status: NodeStatus) -> None:
        """Publish the node's state."""

    def close(self) -> None:
        """Give out what waits, and end."""

    @property
    def undelivered(self) -> int:
        """Copies that the broker did not get."""

    @property
    def reconnects(self) -> int | None:
        """How often the connection came back; None where nobody counts."""


class Delivery:
    """The node's way out. ``send_*`` may be called from one thread."""

    def __init__(
        self,
        config: NodeConfig,
        cameras: Sequence[CameraConfig],
        *,
        wait: bool,
        published: Callable[[float], None] = lambda _seconds: None,
        heard: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """Open the spool; ``start`` begins to forward what an earlier run left in it.

        ``wait`` says whether a full disk makes the caller wait (recordings) or refuses batches (live cameras); ``published``
        is told how long each message took to the centre, s, and ``heard`` how long a neighbour's event took to this node.
        Raises ConfigError where another process uses the folder, StorageError where it cannot be written.
        """
        self._config = config
        self._wait = wait
        if config.local_broker is not None and config.local_broker.tls is not None:
            check_files(config.local_broker.tls)
        self.selection = Selection(config.forward, config.watch_list, cameras)
        with ExitStack() as opened:
            opened.enter_context(_locked(config.state))
            self.spool = Spool(config.state / SPOOL_FILE, config.spool)
            opened.callback(self.spool.close)
            self.forwarder = Forwarder(self.spool, config.kafka, config.node_id, published=published)
            self._opened = opened.pop_all()
        self.outbox = Outbox(self.spool, config.spool.commit_s, lambda _count: self.forwarder.wake())
        self.watch = Watch(config.neighbours, self.selection, config.node_id, heard) if config.neighbours else None
        self.local: LocalBroker | None = None

    def start(self) -> None:
        """Begin to keep, to forward, and to talk to the local broker; raises ConfigError before any of it."""
        self.local = self._local_broker()
        self.outbox.start()
        self.forwarder.start()

    def send_batch(self, batch: DetectionBatch) -> None:
        """Keep a batch for the centre, without what is withheld, and give it to the machines nearby."""
        if self.local is not None:
            self.local.give_batch(batch)
        selected = self.selection.select(batch)
        self.outbox.put(records.of_batch(batch.camera_id, selected.SerializeToString()), wait=self._wait)

    def send_event(self, event: DetectionEvent) -> None:
        """Give an event to the machines nearby and to the centre, at once."""
        if self.local is not None:
            self.local.give_event(event)
        self.outbox.put(records.of_event(event), wait=self._wait)

    def send_status(self, status: NodeStatus) -> None:
        """Keep a heartbeat for the centre."""
        if self.local is not None:
            self.local.give_status(status)
        self.outbox.put(records.of_status(status), wait=False)

    def send_model_status(self, status: ModelStatus) -> None:
        """Keep what the node says of its models for the centre; may be called from any thread."""
        self.outbox.put(records.of_model_status(status), wait=False)

    def health(self) -> Health:
        """How the way to the centre is now."""
        return Health(self.spool.depth(), self.spool.losses(), self.outbox.refused, self.forwarder.offset.estimate())

    def check(self) -> None:
        """Raise what has ended a thread, if anything has."""
        for thread in (self.outbox, self.forwarder):
            if thread.error is not None:
                raise thread.error

    def close(self, drain_s: float) -> int:
        """Write what waits to the disk, forward for up to ``drain_s``; returns how many messages stay in the spool."""
        try:
            if self.local is not None:
                self.local.close()
            self.outbox.close()
        finally:
            self.forwarder.close(drain_s)
            left = self.spool.depth().total
            self._opened.close()
        self.check()
        return left

    def _local_broker(self) -> LocalBroker | None:
        broker = self._config.local_broker
        if broker is None:
            return None
        if broker.kind is BrokerKind.KAFKA:
            from sightline_edge.delivery.local_kafka import LocalKafka

            return LocalKafka(broker, self._config.node_id, self._take)
        from sightline_edge.delivery.local_mqtt import LocalMqtt

        return LocalMqtt(broker, self._config.node_id, self._take, self.watch)

    def _take(self, record: Record, stored: Callable[[], None]) -> None:
        """Keep what another machine published; it is acknowledged there once it is in the spool here."""
        self.outbox.put(self._selected(record), stored=stored)

    def _selected(self, record: Record) -> Record:
        if record.lane is not records.Lane.DETECTIONS or self._config.forward.everything:
            return record
        try:
            batch = self.selection.select(parse_batch(record.value))
        except ContractError:
            return record  # the centre keeps it with the reason among its dead letters
        return records.of_batch(record.key, batch.SerializeToString())


def _locked(folder: Path) -> IO[bytes]:
    """The folder's lock, which ends with the process; raises ConfigError where another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = lock(folder / "lock")
    if taken is None:
        raise ConfigError(f"{folder}: another node uses this folder: give each node a 'state' of its own")
    return taken
