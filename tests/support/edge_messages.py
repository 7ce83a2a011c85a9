"""Small messages of an edge node."""

from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.events import DetectionEvent, EventKind
from sightline_contract.ids import SCHEMA_VERSION


def batch(camera_id: str, seq: int) -> DetectionBatch:
    """A batch without frames."""
    return DetectionBatch(
        schema_version=SCHEMA_VERSION, node_id="n", camera_id=camera_id, session=1, seq=seq, captured_us=5, frame_width=64,
        frame_height=48,
    )  # fmt: skip


def event(node_id: str, class_name: str = "person", score: float = 0.9) -> DetectionEvent:
    """Something that a node's camera ``cam`` saw."""
    return DetectionEvent(
        event_id=f"{node_id}/1/2/watch_list/{class_name}", kind=EventKind.WATCH_LIST, node_id=node_id, camera_id="cam",
        session=1, frame=2, captured_us=3, received_us=4, emitted_us=5, class_name=class_name, score=score, cx=0.5, cy=0.5,
        w=0.1, h=0.1, cell=7,
    )  # fmt: skip
