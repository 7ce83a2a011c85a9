"""Topics between machines at the edge, over MQTT: one tree a node, so that a broker's rules can keep each to its own.

- ``sightline/v1/NODE/detections/CAMERA``: DetectionBatch (protobuf), a copy of what the centre gets, with nothing withheld.
- ``sightline/v1/NODE/events/CAMERA``: DetectionEvent (JSON), at once.
- ``sightline/v1/NODE/status/CAMERA``: NodeStatus (JSON), retained.
- ``sightline/v1/NODE/warnings``: NeighbourWarning (JSON): this node reacts to another one's event.
- ``sightline/v1/NODE/alive``: 1 or 0, retained; the broker writes 0 for a node that fell silent.
"""

from typing import NamedTuple

ROOT = "sightline/v1"


class Address(NamedTuple):
    """Where a message of a camera belongs."""

    node_id: str
    kind: str  # detections, events or status
    camera_id: str

    @property
    def topic(self) -> str:
        """Its MQTT topic."""
        return f"{ROOT}/{self.node_id}/{self.kind}/{self.camera_id}"


def address_of(topic: str) -> Address | None:
    """The parts of a topic of a camera; None for another topic."""
    words = topic.removeprefix(f"{ROOT}/").split("/")
    return Address(*words) if topic.startswith(f"{ROOT}/") and len(words) == len(Address._fields) else None


def warnings_topic(node_id: str) -> str:
    """Where a node warns."""
    return f"{ROOT}/{node_id}/warnings"


def alive_topic(node_id: str) -> str:
    """Where a node's life is told."""
    return f"{ROOT}/{node_id}/alive"
