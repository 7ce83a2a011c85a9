"""A running node on a real broker: a rollout reaches it in the middle of a video."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from bundle_rig import Site, desired, picture_model, write_model
from confluent_kafka import Producer

from sightline.topic_content import read_topic
from sightline_contract.batch import get_frames, parse_batch
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.rollout import DesiredModels, ModelStatus, Phase
from sightline_contract.topics import DETECTIONS, MODEL_ROLLOUT, MODEL_STATUS
from sightline_edge.config import ModelsConfig, load_node_config
from sightline_edge.node import Node
from sightline_edge.rollout.service import targets_of

if TYPE_CHECKING:
    from sightline.broker import Broker

pytestmark = pytest.mark.kafka

DEADLINE_S = 30
# Another input than the first model's: what readers prepared for that one is of no use for this.
SIDE_20 = {"name": "image", "size": [20, 20], "layout": "NHWC", "channels": "RGB", "resize": "stretch"}
COLOURS = ["red", "black", "blue"] * 400


class Running:
    """A node in a thread, and what it sends."""

    def __init__(self, config: Path, bootstrap: str, node_id: str) -> None:
        self.node = Node(load_node_config(config))
        self._bootstrap, self._node_id = bootstrap, node_id
        self._thread = threading.Thread(target=self.node.run, args=(lambda _: None,))
        self._thread.start()

    def told(self, message: DesiredModels) -> None:
        producer = Producer({"bootstrap.servers": self._bootstrap})
        producer.produce(MODEL_ROLLOUT.name, message.model_dump_json().encode(), self._node_id)
        assert producer.flush(10) == 0

    def says(self, holds: Callable[[ModelStatus], bool]) -> ModelStatus:
        """Its first status for which the condition holds."""
        end_s = time.monotonic() + DEADLINE_S
        said: list[ModelStatus] = []
        while time.monotonic() < end_s:
            messages = read_topic(self._bootstrap, MODEL_STATUS.name)
            said = [ModelStatus.model_validate_json(m.value()) for m in messages if m.key() == self._node_id.encode()]
            if found := next((status for status in said if holds(status)), None):
                return found
            time.sleep(0.1)
        raise AssertionError(f"no such status among {said[-3:]}")

    def stop(self) -> None:
        self.node.stop()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def batches(self, camera_id: str) -> list[DetectionBatch]:
        batches = [
            parse_batch(m.value()) for m in read_topic(self._bootstrap, DETECTIONS.name) if m.key() == camera_id.encode()
        ]
        return sorted(batches, key=lambda batch: batch.seq)


@pytest.fixture
def now_site(tmp_path: Path) -> Site:
    """A site whose bundles are valid today."""
    return Site(tmp_path / "now", round(datetime.now(UTC).timestamp() * 1e6))


@pytest.fixture
def run(
    broker: "Broker",
    now_site: Site,
    own: Path,
    tmp_path: Path,
    make_video: Callable[..., Path],
    make_camera: Callable[..., Path],
) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []
    video = make_video("long.mp4", COLOURS)

    def start(name: str, **changes: object) -> Running:
        entries = {
            "node_id": name,
            "kafka": {"bootstrap_servers": broker.bootstrap},
            "model": str(own),
            "cameras": [{"source": str(video), "camera": str(make_camera(name, frame_rate=10))}],
            "state": str(tmp_path / name / "state"),
            "models": {"trust": str(now_site.trust), "report_s": 0.2, "site": "hall"},
            "pace": "realtime",
        }
        path = tmp_path / f"{name}-node.yaml"
        path.write_text(yaml.safe_dump(entries | changes))
        started.append(Running(path, broker.bootstrap, name))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def test_a_rollout_in_the_middle_of_a_video_loses_no_frame_and_mixes_no_models(
    run: Callable[..., Running], now_site: Site, tmp_path: Path
) -> None:
    target = targets_of(ModelsConfig(trust=now_site.trust))[0]
    candidate = now_site.bundle(
        write_model(tmp_path / "candidate", "2", picture_model(left=0.12, side=20), input=SIDE_20), number=1, target=target
    )
    node = run("swap-1")
    node.told(desired(1, shadow=candidate.at(), node_id="swap-1"))
    shadowing = node.says(lambda status: any(each.slot == "shadow" and each.matched for each in status.figures))
    assert (shadowing.live.number, shadowing.site, shadowing.phase) == (0, "hall", Phase.FOLLOWING)
    node.told(desired(2, serve=candidate.at(), node_id="swap-1"))
    serving = node.says(lambda status: status.live.number == 1 and any(each.model_version == "2" for each in status.figures))
    assert (serving.phase, serving.revision, serving.shadow) == (Phase.FOLLOWING, 2, None)
    time.sleep(1.5)
    node.stop()

    batches = node.batches("swap-1")
    assert [batch.seq for batch in batches] == list(range(len(batches)))
    versions = [batch.model_version for batch in batches]
    assert versions == sorted(versions, reverse=True)
    assert set(versions) == {"own", "2"}
    boundary = 0
    for batch in batches:
        assert batch.first_frame == boundary
        assert batch.frames_skipped == 0
        boundary += len(get_frames(batch).counts)
    # Each frame by the model that its batch names: the person's box begins elsewhere.
    for batch in batches:
        frames = get_frames(batch)
        people = frames.boxes[frames.classes == 0]
        left = people[:, 0] - people[:, 2] / 2
        assert left == pytest.approx(0.12 if batch.model_version == "2" else 0.1, abs=0.01)


def test_a_node_that_was_away_catches_up_and_one_without_a_broker_goes_on(
    run: Callable[..., Running], now_site: Site, own: Path, tmp_path: Path
) -> None:
    target = targets_of(ModelsConfig(trust=now_site.trust))[0]
    first = now_site.bundle(write_model(tmp_path / "first", "2"), number=1, target=target)
    second = now_site.bundle(write_model(tmp_path / "second", "3"), number=2, target=target)
    node = run("away-1")
    node.told(desired(1, serve=first.at(), node_id="away-1"))
    node.says(lambda status: status.live.number == 1)
    node.stop()
    for revision in (2, 3):
        node.told(desired(revision, serve=(first, second)[revision - 2].at(), node_id="away-1"))
    node.told(desired(9, serve=first.at(), node_id="another"))  # under this node's key: it is nobody's
    alone = run("away-1", kafka={"bootstrap_servers": "127.0.0.1:1"})
    time.sleep(1)
    alone.stop()
    back = run("away-1")
    status = back.says(lambda status: status.live.number == 2)
    assert (status.revision, status.phase) == (3, Phase.FOLLOWING)
    back.stop()
    versions = {(batch.session, batch.model_version) for batch in back.batches("away-1")}
    sessions = sorted({session for session, _ in versions})
    # Without the broker it served what it had.
    assert {version for session, version in versions if session == sessions[1]} == {"2"}
