"""The thread from the spool to the central Kafka.

Invariants
- A record leaves the spool only after the broker has acknowledged it (acks=all, idempotent producer).
- Within a lane records are handed over in their order; one camera's therefore stay in order, across restarts too: a restart
  begins at the oldest that was not acknowledged.
- At most ``WINDOW`` records of a lane are on their way or acknowledged and not yet forgotten. After a crash these are sent
  again; readers drop a repetition by (session, seq) among a camera's last 1,024 messages, so the window is well below that.
- Lanes come in the order of ``Lane``: while an event waits, no further detection is handed over.

Nothing ends the thread but ``close``: an uplink that is down for a week is waited for, and what the broker will never take
(too large, malformed) is counted as refused, so that it does not stand in the way of the rest.
"""

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer

from sightline_contract.errors import StorageError
from sightline_contract.topics import PRODUCER_COMPRESSION
from sightline_edge.config import Kafka
from sightline_edge.delivery.clients import producer
from sightline_edge.delivery.offset import ClockOffset
from sightline_edge.delivery.records import Lane, Stored
from sightline_edge.delivery.spool import Spool
from sightline_edge.security.refusals import explain
from sightline_edge.security.tls import check_files, librdkafka_options

logger = logging.getLogger(__name__)

WINDOW = 512
# While nothing happens the thread looks so often whether something came.
_IDLE_S = 0.05
# And for answers that are due: not in poll, which nothing that comes into the spool would end.
_ANSWER_S = 0.002
# Acknowledged records are forgotten together: each time is a write to the disk.
_SETTLE_S = 0.1
# A topic that refuses (no right, not there) is tried again so often: somebody has to mend it.
_REFUSED_TOPIC_S = 5.0
_TELL_S = 60.0

# What sending again does not mend.
_POISON = frozenset(
    {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_MSG_SIZE, KafkaError.INVALID_RECORD}
)

# What was taken back from a producer that ends.
_PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})

# What goes together was written together, and is handed over at once: there is nothing to linger for.
_BULK = {**PRODUCER_COMPRESSION, "linger.ms": 2}
_AT_ONCE = {"linger.ms": 0, "socket.nagle.disable": True}


@dataclass
class _Way:
    """A lane's way to Kafka: how far it is, and what is on its way."""

    lane: Lane
    cursor: int = 0  # number of the last record that was handed over
    # Time of keeping by number, of those not yet answered.
    sent: dict[int, int] = field(default_factory=dict)
    acknowledged: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    poisoned: list[int] = field(default_factory=list)
    blocked_until_s: float = 0.0

    @property
    def open(self) -> int:
        """Records that a crash would send again."""
        return len(self.sent) + len(self.acknowledged)


@dataclass
class Traffic:
    """What went to the centre since the start."""

    messages: Counter[str] = field(default_factory=Counter)  # by topic
    connects: Counter[str] = field(default_factory=Counter)  # by producer
    brokers: Counter[str] = field(default_factory=Counter)  # that it ever reached, by producer

    @property
    def reconnects(self) -> int:
        """Connections made again: the first to each broker is none."""
        return self.connects.total() - self.brokers.total()


class Forwarder(threading.Thread):
    """Sends what the spool holds, for as long as it runs."""

    def __init__(
        self,
        spool: Spool,
        kafka: Kafka,
        client_id: str,
        published: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """``published`` is told how long each record took from its keeping to the broker's answer, s.

        Raises ConfigError where the files of ``kafka.tls`` or the options cannot be used.
        """
        super().__init__(name="forwarder", daemon=True)
        self._spool = spool
        self._kafka = kafka
        self._client_id = client_id
        self._published = published
        if kafka.tls is not None:
            check_files(kafka.tls)
        self._ways = {lane: _Way(lane) for lane in Lane}
        self._wake = threading.Event()
        self._deadline_s: float | None = None
        self._told: dict[str, float] = {}
        self._settled_s = 0.0
        self._fatal: KafkaError | None = None
        self.offset = ClockOffset()
        self.traffic = Traffic()
        self.up = False
        self._producers = self._made_producers()
        self.error: Exception | None = None

    def wake(self) -> None:
        """Something was put into the spool."""
        self._wake.set()

    def run(self) -> None:
        """Thread body."""
        try:
            while not self._finished():
                if not self._round():
                    self._wait()
        except Exception as error:  # noqa: BLE001 - a thread has nobody above it: the node ends with this error
            self.error = error
        finally:
            self._let_go()

    def close(self, drain_s: float) -> None:
        """Send what the spool holds for up to ``drain_s``, then end; what is left stays in the spool."""
        self._deadline_s = time.monotonic() + drain_s
        self._wake.set()
        self.join()

    def _finished(self) -> bool:
        if self._deadline_s is None:
            return False
        if time.monotonic() >= self._deadline_s:
            return True
        return not any(way.open for way in self._ways.values()) and not self._spool.depth().total

    def _round(self) -> bool:
        moved = False
        for lane, way in self._ways.items():
            moved |= self._hand_over(way)
            if way.sent and lane <= Lane.EVENTS:
                break  # an event waits: what is less urgent does not get in its way
        for each in self._producers.values():
            moved |= self._poll(each)
        if self._fatal is not None:
            self._start_anew(self._fatal)
        self._settle()
        return moved

    def _poll(self, one: Producer) -> bool:
        """Take answers; an error that the producer does not outlive may come as an exception, too."""
        try:
            return one.poll(0) > 0
        except KafkaException as error:
            self._noticed(error.args[0])
            return False

    def _wait(self) -> None:
        """Until something is put into the spool, or an answer may be there."""
        expects = self.up and any(way.sent for way in self._ways.values())
        if self._wake.wait(_ANSWER_S if expects else _IDLE_S):
            self._wake.clear()

    def _hand_over(self, way: _Way) -> bool:
        if time.monotonic() < way.blocked_until_s or way.open >= WINDOW:
            return False
        records = self._spool.take(way.lane, way.cursor, WINDOW - way.open)
        for record in records:
            if not self._produce(way, record):
                break
            way.cursor = record.number
        return bool(records)

    def _produce(self, way: _Way, record: Stored) -> bool:
        try:
            chosen = self._producers["at once" if way.lane <= Lane.EVENTS else "bulk"]
            chosen.produce(record.topic, record.value, record.key, on_delivery=partial(self._delivered, way, record.number))
        except BufferError:
            return False
        except KafkaException as error:
            self._refused(way, record.number, error.args[0], record.topic)
            return way.failed == []
        way.sent[record.number] = record.kept_us
        return True

    def _delivered(self, way: _Way, number: int, error: KafkaError | None, message: Message) -> None:
        kept_us = way.sent.pop(number)
        if error is not None:
            self._refused(way, number, error, str(message.topic()))
            return
        way.acknowledged.append(number)
        self.traffic.messages[str(message.topic())] += 1
        self._published((self._spool.ran_us() - kept_us) / 1e6)
        kind, appended_ms = message.timestamp()
        latency_s = message.latency()
        if kind == TIMESTAMP_LOG_APPEND_TIME and latency_s is not None:
            self.offset.observe(time.time(), latency_s, appended_ms / 1000, time.monotonic())
        if not self.up:
            self.up = True
            logger.info("Kafka at %s: takes messages", self._kafka.bootstrap_servers)

    def _refused(self, way: _Way, number: int, error: KafkaError, topic: str) -> None:
        if error.code() in _POISON:
            way.poisoned.append(number)
        else:
            way.failed.append(number)
        if error.code() in _PURGED:
            return
        self._tell(error, topic)
        if error.fatal():
            self._fatal = error
        elif error.code() not in _POISON:
            way.blocked_until_s = time.monotonic() + _REFUSED_TOPIC_S

    def _settle(self) -> None:
        """Forget what was acknowledged, and go back to what failed."""
        # All that was handed over has its answer: begin again at the oldest that was refused.
        back = [way for way in self._ways.values() if way.failed and not way.sent]
        full = any(len(way.acknowledged) >= WINDOW // 2 for way in self._ways.values())
        if not (full or back) and time.monotonic() - self._settled_s < _SETTLE_S:
            return
        self._settled_s = time.monotonic()
        try:
            for way in self._ways.values():
                self._forget(way)
        except StorageError as error:
            self._say("storage", "%s", error)
            return
        for way in back:
            way.cursor = min(way.failed) - 1
            way.failed.clear()

    def _forget(self, way: _Way) -> None:
        if way.acknowledged:
            self._spool.done(way.acknowledged)
            way.acknowledged = []
        if way.poisoned:
            self._spool.refuse(way.poisoned)
            way.poisoned = []

    def _start_anew(self, because: KafkaError) -> None:
        """After an error that librdkafka's idempotent producer does not outlive."""
        self._tell(because, None)
        self._let_go()
        for way in self._ways.values():
            way.blocked_until_s = time.monotonic() + _REFUSED_TOPIC_S
        self._fatal = None
        self._producers = self._made_producers()

    def _made_producers(self) -> dict[str, Producer]:
        purposes = (("at once", _AT_ONCE), ("bulk", _BULK))
        return {name: producer(self._options(name, purpose), "kafka") for name, purpose in purposes}

    def _let_go(self) -> None:
        """Take the answers that are there; what has none stays in the spool and is handed over again, if anything is."""
        producers, self._producers = self._producers, {}
        for each in producers.values():
            self._poll(each)
            each.purge()
            with suppress(KafkaException):
                each.flush(1)
        for way in self._ways.values():
            # What a producer that failed did not even give back is not answered any more.
            way.failed += way.sent
            way.sent.clear()
        self._settled_s = -_SETTLE_S
        self._settle()

    def _options(self, name: str, purpose: Mapping[str, object]) -> dict[str, object]:
        return {
            "bootstrap.servers": self._kafka.bootstrap_servers,
            "client.id": self._client_id,
            "enable.idempotence": True,
            "acks": "all",
            # Never: what does not come through waits in the spool, and giving up would only send it twice.
            "message.timeout.ms": 0,
            "queue.buffering.max.messages": 4 * WINDOW,
            "reconnect.backoff.max.ms": 5000,
            "error_cb": self._noticed,
            "stats_cb": partial(self._counted, name),
            "statistics.interval.ms": 5000,
            **purpose,
            **self._kafka.options,
            # Last: no option of a site's may undo them.
            **(librdkafka_options(self._kafka.tls) if self._kafka.tls else {}),
        }

    def _noticed(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.up = False
            if any(time.monotonic() - told_s < _TELL_S for told_s in self._told.values()):
                return  # why was told by the error before; a broker that just hangs up gives no other
        self._tell(error, None)

    def _counted(self, name: str, text: str) -> None:
        brokers = json.loads(text).get("brokers", {}).values()
        connects = [int(broker.get("connects", 0)) for broker in brokers]
        self.traffic.connects[name] = sum(connects)
        self.traffic.brokers[name] = sum(1 for count in connects if count)

    def _tell(self, error: KafkaError, topic: str | None) -> None:
        where = f"Kafka at {self._kafka.bootstrap_servers}" + (f", topic {topic}" if topic else "")
        self._say(f"{error.code()} {topic}", "%s; detections wait in the spool", explain(error, where, self._kafka.tls))

    def _say(self, what: str, text: str, *values: object) -> None:
        """Log a warning, the same one once a minute."""
        now_s = time.monotonic()
        if now_s - self._told.get(what, -_TELL_S) >= _TELL_S:
            self._told[what] = now_s
            logger.warning(text, *values)
