"""What a node does when a neighbour sees something: it warns the machines nearby, and withholds nothing for a while.

It needs no centre: the neighbour's event comes over the local broker.
"""

import logging
import time
from collections.abc import Callable

from sightline_contract.events import DetectionEvent, NeighbourWarning
from sightline_edge.config import Neighbours
from sightline_edge.delivery.selection import Selection

logger = logging.getLogger(__name__)


class Watch:
    """Judges the neighbours' events; one thread calls it."""

    def __init__(self, config: Neighbours, selection: Selection, node_id: str, heard: Callable[[float], None]) -> None:
        """``heard`` is told how long an event took from the neighbour's sending, s: right as far as both clocks agree."""
        self.config = config
        self._selection = selection
        self._node_id = node_id
        self.warnings = 0
        self._heard = heard

    def react(self, event: DetectionEvent, received_us: int) -> NeighbourWarning | None:
        """The warning for ``event``; None where it is none of the watched."""
        config = self.config
        if event.node_id not in config.nodes or event.score < config.min_score:
            return None
        if config.classes and event.class_name not in config.classes:
            return None
        self._selection.open_until(time.monotonic() + config.hold_s)
        self.warnings += 1
        self._heard((received_us - event.emitted_us) / 1e6)
        logger.info(
            "node %s sees a %s (camera %s): everything is sent for %.0f s",
            event.node_id, event.class_name, event.camera_id, config.hold_s,
        )  # fmt: skip
        return NeighbourWarning(
            node_id=self._node_id,
            of_node=event.node_id,
            event_id=event.event_id,
            camera_id=event.camera_id,
            class_name=event.class_name,
            emitted_us=event.emitted_us,
            received_us=received_us,
            open_until_us=received_us + round(config.hold_s * 1e6),
        )
