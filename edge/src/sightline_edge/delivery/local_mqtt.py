"""The local MQTT broker: copies for machines nearby, neighbours' events, and what machines without an uplink publish.

What is taken from others is acknowledged to the broker only once it is in the spool (QoS 1, a session that the broker keeps):
a node that is killed in between gets it again. Copies are given as the broker takes them: events at least once, for as many as
``QUEUED_EVENTS`` while it is away, detections at most once.
"""

import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import ValidationError

from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.errors import StorageError
from sightline_contract.events import DetectionEvent, NodeStatus
from sightline_contract.nearby import ROOT, Address, address_of, alive_topic, warnings_topic
from sightline_contract.topics import DETECTIONS, EVENTS
from sightline_edge.config import LocalBroker
from sightline_edge.delivery.neighbours import Watch
from sightline_edge.delivery.records import Lane, Record
from sightline_edge.security.refusals import explain, refused_at_the_door
from sightline_edge.security.tls import check_files, ssl_context

logger = logging.getLogger(__name__)

QUEUED_EVENTS = 1000
_KEEPALIVE_S = 20
_RECONNECT_S = (1, 30)
_CLOSE_S = 2.0
_TELL_S = 60.0
# A machine without an uplink is listened to again within so long; the broker of edge/deploy keeps its messages that long.
_SESSION_S = 7 * 24 * 3600
# Lane and topic of what is taken from others.
_TAKEN = {"detections": (Lane.DETECTIONS, DETECTIONS.name), "events": (Lane.EVENTS, EVENTS.name)}


class LocalMqtt:
    """The node's connection to its MQTT broker. A thread of the library's own connects, and connects again."""

    def __init__(
        self,
        config: LocalBroker,
        node_id: str,
        take: Callable[[Record, Callable[[], None]], None],
        watch: Watch | None,
    ) -> None:
        """``take`` keeps a record and calls back when it is durable; ``watch`` judges the neighbours' events."""
        self._config = config
        self._node_id = node_id
        self._take = take
        self._watch = watch
        self._connects = 0
        self._where = f"MQTT at {config.host}:{config.port}"
        self._told_s = -_TELL_S
        self._closing = False
        self.undelivered = 0
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            # The broker of edge/deploy takes the certificate's name for it, whatever is given here: one node, one connection.
            client_id=node_id,
            protocol=mqtt.MQTTv5,
            manual_ack=True,
        )
        client = self._client
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_connect_fail = self._failed
        client.on_message = self._received
        client.on_socket_open = _without_delay
        client.max_queued_messages_set(QUEUED_EVENTS)
        client.reconnect_delay_set(*_RECONNECT_S)
        client.will_set(alive_topic(node_id), b"0", qos=1, retain=True)
        if config.tls is not None:
            check_files(config.tls)
            client.tls_set_context(ssl_context(config.tls))
        # Only who takes messages of others has something that the broker is to keep while the node is away.
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = _SESSION_S if config.take else 0
        client.connect_async(config.host, config.port, _KEEPALIVE_S, clean_start=not config.take, properties=session)
        client.loop_start()

    @property
    def reconnects(self) -> int:
        """How often the connection came back."""
        return max(0, self._connects - 1)

    def give_batch(self, batch: DetectionBatch) -> None:
        """Publish a copy; while the broker is away it is only counted."""
        if self._config.give_detections:
            self._publish(self._of(batch.camera_id, "detections"), batch.SerializeToString(), qos=0)

    def give_event(self, event: DetectionEvent) -> None:
        """Publish a copy at once, or as soon as the broker is back."""
        self._publish(self._of(event.camera_id, "events"), event.model_dump_json().encode(), qos=1)

    def give_status(self, status: NodeStatus) -> None:
        """Publish the camera's heartbeat, retained."""
        self._publish(self._of(status.camera_id, "status"), status.model_dump_json().encode(), qos=0, retain=True)

    def close(self) -> None:
        """Give out the events that wait, for up to two seconds, and say that the node has stopped."""
        self._closing = True
        last = self._client.publish(alive_topic(self._node_id), b"0", qos=1, retain=True)
        if self._client.is_connected():
            last.wait_for_publish(_CLOSE_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _of(self, camera_id: str, kind: str) -> str:
        return Address(self._node_id, kind, camera_id).topic

    def _publish(self, topic: str, payload: bytes, qos: int, *, retain: bool = False) -> None:
        outcome = self._client.publish(topic, payload, qos, retain).rc
        queued = qos > 0 and outcome == MQTTErrorCode.MQTT_ERR_NO_CONN
        if outcome != MQTTErrorCode.MQTT_ERR_SUCCESS and not queued:
            self.undelivered += 1

    def _connected(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._tell(explain(reason, self._where, self._config.tls))
            return
        self._connects += 1
        logger.info("%s: connected", self._where)
        wanted = [f"{ROOT}/{device}/{kind}/+" for device in self._config.take for kind in _TAKEN]
        if self._watch is not None:
            wanted += [f"{ROOT}/{node}/events/+" for node in self._watch.config.nodes]
        if wanted:
            client.subscribe([(topic, 1) for topic in sorted(set(wanted))])
        client.publish(alive_topic(self._node_id), b"1", qos=1, retain=True)

    def _disconnected(self, _client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure and not self._closing:
            self._tell(self._refusal() or f"{self._where}: connection lost ({reason})")

    def _failed(self, _client: mqtt.Client, _data: Any) -> None:
        self._tell(self._refusal() or f"{self._where}: does not answer: check the broker and its address")

    def _refusal(self) -> str | None:
        """Why the broker keeps this node out, where it does: the library does not say."""
        if self._config.tls is None or not self._may_tell():
            return None
        return refused_at_the_door(self._config.host, self._config.port, self._config.tls)

    def _may_tell(self) -> bool:
        return time.monotonic() - self._told_s >= _TELL_S

    def _tell(self, line: str) -> None:
        if self._may_tell():
            self._told_s = time.monotonic()
            logger.warning("%s; machines nearby get no copies", line)

    def _received(self, client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        received_us = time.time_ns() // 1000
        address = address_of(message.topic)
        if address is not None and address.kind == "events" and self._watch is not None:
            self._warn(bytes(message.payload), received_us)

        def acknowledge() -> None:
            client.ack(message.mid, message.qos)

        if address is None or address.node_id not in self._config.take or address.kind not in _TAKEN:
            acknowledge()
            return
        lane, topic = _TAKEN[address.kind]
        try:
            self._take(Record(lane, topic, address.camera_id, bytes(message.payload)), acknowledge)
        except StorageError as error:
            # Not acknowledged: the broker keeps it for the node's next run.
            logger.warning("%s: %s", message.topic, error)

    def _warn(self, payload: bytes, received_us: int) -> None:
        try:
            event = DetectionEvent.model_validate_json(payload)
        except ValidationError:
            return  # another program's message under a node's name: the broker's rules are to keep it out
        warning = self._watch.react(event, received_us) if self._watch else None
        if warning is not None:
            self._publish(warnings_topic(self._node_id), warning.model_dump_json().encode(), qos=1)


def _without_delay(_client: mqtt.Client, _data: Any, connection: Any) -> None:
    # An event is one small packet: Nagle's algorithm would hold it back for the answer to the one before.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
