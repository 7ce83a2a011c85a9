"""What a job needs in a test: a configuration, messages, a look at tables and topics."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, Message, Producer
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from sightline.broker import Broker
from sightline_contract.batch import Frames, set_frames
from sightline_contract.detection_pb2 import DetectionBatch
from sightline_contract.ids import SCHEMA_VERSION
from sightline_contract.topics import DETECTIONS, Topic
from sightline_lakehouse.tables import TRACKER_FACTS, Table
from sightline_streaming.application import Application
from sightline_streaming.config import JobConfig, KafkaConfig, Triggers
from sightline_streaming.fact_frames import all_facts

START_US = 1_760_000_000_000_000
CAMERA_YAML = """
camera_id: {camera}
frame_size: [640, 480]
frame_rate: 10
min_score: 0.3
site_labels: {{80: trolley}}
lines:
  - {{name: middle, start: [320, 0], end: [320, 480], forward: west, backward: east}}
zones:
  - name: door
    polygon: [[400, 200], [640, 200], [640, 480], [400, 480]]
    alert: {{classes: [person], min_score: 0.5}}
    rules: [{{kind: restricted, after_s: 0.5}}]
metres_per_pixel: 0.01
"""


@dataclass
class Site:
    """One camera's installation of its own: tables, checkpoints and camera file in a folder, on the shared broker.

    Topics are shared, and jobs read all that is in them: a test looks at its own camera's rows.
    """

    spark: SparkSession
    folder: Path
    camera: str
    config: JobConfig

    def run(self, *jobs: str) -> None:
        """Run jobs until they have taken all input."""
        with self.application(*jobs) as application:
            application.drain()

    def application(self, *jobs: str) -> Application:
        return Application(self.config, jobs, spark=self.spark)

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """This camera's rows; of the log, its facts."""
        found = DeltaTable(f"{self.config.table_root}/{table.path}").to_pyarrow_table()
        everything: list[dict[str, Any]] = (all_facts(found) if table is TRACKER_FACTS else found).to_pylist()
        return [row for row in everything if row.get("camera_id", self.camera) == self.camera]

    def send(self, topic: Topic, *values: bytes, key: str | None = None) -> None:
        producer = Producer({"bootstrap.servers": self.config.kafka.bootstrap_servers, "acks": "all", "linger.ms": 0})
        for value in values:
            producer.produce(topic.name, key=self.camera if key is None else key, value=value)
        assert producer.flush(20) == 0

    def send_batches(self, *numbers: int) -> None:
        """Send one-second batches of the walker() by number."""
        self.send(DETECTIONS, *(walker(self.camera, number) for number in numbers))

    def messages(self, topic: Topic, wanted: Callable[[Message], bool], count: int = 1) -> list[Message]:
        """The first ``count`` messages of a topic that ``wanted`` holds for; waits for them."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.config.kafka.bootstrap_servers,
                "group.id": f"{self.camera}-{time.monotonic_ns()}",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 5,
            }
        )
        consumer.subscribe([topic.name])
        found: list[Message] = []
        deadline = time.monotonic() + 30
        try:
            while len(found) < count:
                assert time.monotonic() < deadline, f"{len(found)} of {count} messages on {topic.name}"
                message = consumer.poll(0.2)
                if message is not None and message.error() is None and wanted(message):
                    found.append(message)
        finally:
            consumer.close()
        return found


@pytest.fixture
def site(spark: SparkSession, broker: Broker, tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    camera = request.node.name.removeprefix("test_")[:50].rstrip("_")
    (tmp_path / "camera.yaml").write_text(CAMERA_YAML.format(camera=camera))
    config = JobConfig(
        kafka=KafkaConfig(bootstrap_servers=broker.bootstrap),
        table_root=str(tmp_path / "tables"),
        checkpoint_root=str(tmp_path / "checkpoints"),
        cameras=tmp_path / "camera.yaml",
        window_s=1,
        allowed_lateness_s=2,
        trigger_s=Triggers(tracking=0.1, facts=0.1, archive=0.1),
    )
    return Site(spark, tmp_path, camera, config)


def walker(camera: str, number: int) -> bytes:
    """A person who walks from the left to the right of the frame in six one-second batches of ten frames."""
    frames = np.arange(10)
    x = 0.1 + 0.8 * (number * 10 + frames) / 60
    boxes = np.stack([x, np.full(10, 0.6), np.full(10, 0.08), np.full(10, 0.3)], axis=1).astype(np.float32)
    batch = DetectionBatch(
        schema_version=SCHEMA_VERSION,
        node_id="node",
        camera_id=camera,
        model_name="hand-made",
        model_version="1",
        session=START_US,
        seq=number,
        captured_us=START_US + number * 1_000_000,
        frame_width=640,
        frame_height=480,
        frame_rate_mhz=10_000,
        first_frame=number * 10,
        end_of_session=number == 5,
    )
    columns = Frames(
        offset_ms=(frames * 100).astype(np.uint16),
        counts=np.ones(10, np.uint16),
        boxes=boxes,
        scores=np.full(10, 0.9, np.float32),
        classes=np.zeros(10, np.uint8),
    )
    set_frames(batch, columns)
    return batch.SerializeToString()


def event_json(camera: str, name: str, **changed: object) -> bytes:
    """A DetectionEvent of a person in the zone ``door``."""
    now = time.time_ns() // 1000
    event = {
        "event_id": f"{camera}-{name}",
        "kind": "zone_entered",
        "node_id": "node",
        "camera_id": camera,
        "session": START_US,
        "frame": 1,
        "captured_us": START_US,
        "received_us": now,
        "emitted_us": now,
        "class_name": "person",
        "score": 0.9,
        "cx": 0.8,
        "cy": 0.6,
        "w": 0.1,
        "h": 0.3,
        "cell": 27 * 64 + 51,  # x 0.8, y 0.75
        "zone": "door",
        "model_version": "1",
    }
    return json.dumps(event | changed).encode()


@pytest.fixture(scope="session")
def make_event() -> Callable[..., bytes]:
    return event_json


@pytest.fixture(scope="session")
def make_batch() -> Callable[[str, int], bytes]:
    return walker


os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
