"""The node on a real broker, from a video to messages."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from confluent_kafka import Consumer, Message

from sightline_contract.batch import get_frames, parse_batch
from sightline_contract.errors import BrokerError, ConfigError, SourceError
from sightline_contract.events import DetectionEvent, NodeStatus
from sightline_contract.packing import UNITS_PER_PX
from sightline_edge.config import load_node_config
from sightline_edge.node import Node, Progress, Summary

if TYPE_CHECKING:
    from sightline.broker import Broker

TOPICS = ("detections", "events", "node_status")
DEADLINE_S = 30
FRAME_HEIGHT = 48  # of the made-up videos


@pytest.fixture
def node_file(tmp_path: Path, make_model: Callable[..., Path]) -> Callable[..., Path]:
    model = make_model()

    def write(bootstrap: str, cameras: list[tuple[Path | str, Path]], node_id: str = "node", **changes: object) -> Path:
        entries = {
            "node_id": node_id,
            "kafka": {"bootstrap_servers": bootstrap, "send_timeout_s": 20},
            "model": str(model),
            "cameras": [{"source": str(source), "camera": str(camera)} for source, camera in cameras],
            "pace": "fast",
            "start_time": "2026-01-31T08:00:00Z",
        }
        path = tmp_path / f"{node_id}.yaml"
        path.write_text(yaml.safe_dump(entries | changes))
        return path

    return write


def run_node(config: Path) -> Summary:
    return Node(load_node_config(config)).run(lambda _: None)


def messages(bootstrap: str, until: Callable[[list[Message]], bool]) -> list[Message]:
    """What the topics hold, read until the condition holds."""
    options = {"bootstrap.servers": bootstrap, "group.id": f"test-{time.time_ns()}", "auto.offset.reset": "earliest"}
    consumer = Consumer(options)
    consumer.subscribe(list(TOPICS))
    read: list[Message] = []
    deadline_s = time.monotonic() + DEADLINE_S
    try:
        while not until(read):
            assert time.monotonic() < deadline_s, f"only {len(read)} messages came"
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                read.append(message)
    finally:
        consumer.close()
    return read


def of_camera(read: list[Message], camera_id: str) -> dict[str, list]:
    batches = [parse_batch(m.value()) for m in read if m.topic() == "detections" and m.key() == camera_id.encode()]
    events = [DetectionEvent.model_validate_json(m.value()) for m in read if m.topic() == "events"]
    status = [NodeStatus.model_validate_json(m.value()) for m in read if m.topic() == "node_status"]
    return {
        "batches": sorted(batches, key=lambda batch: batch.seq),
        "events": [event for event in events if event.camera_id == camera_id],
        "status": [beat for beat in status if beat.camera_id == camera_id],
    }


def stopped(*camera_ids: str) -> Callable[[list[Message]], bool]:
    """Every message that these cameras' last heartbeats speak of is there."""

    def complete(read: list[Message]) -> bool:
        return all(_is_complete(of_camera(read, camera_id)) for camera_id in camera_ids)

    return complete


def _is_complete(sent: dict[str, list]) -> bool:
    last = next((beat for beat in sent["status"] if beat.state == "stopped"), None)
    return last is not None and (last.batches_sent, last.events_sent) == (len(sent["batches"]), len(sent["events"]))


@pytest.mark.kafka
def test_a_video_becomes_batches_events_and_heartbeats(
    broker: "Broker", node_file: Callable[..., Path], make_video: Callable[..., Path], make_camera: Callable[..., Path]
) -> None:
    video = make_video("clip.mp4", ["black"] * 12 + ["red"] * 10 + ["blue"] * 3)
    summary = run_node(node_file(broker.bootstrap, [(video, make_camera("edge-video"))]))
    assert (summary.cameras[0].frames, summary.cameras[0].detections, summary.cameras[0].events) == (25, 13, 1)

    sent = of_camera(messages(broker.bootstrap, stopped("edge-video")), "edge-video")
    assert [batch.seq for batch in sent["batches"]] == [0, 1, 2]
    assert [batch.first_frame for batch in sent["batches"]] == [0, 10, 20]
    assert [batch.end_of_session for batch in sent["batches"]] == [False, False, True]
    counts = [int(count) for batch in sent["batches"] for count in get_frames(batch).counts]
    assert counts == [0] * 12 + [1] * 13
    last = sent["batches"][2]
    assert get_frames(last).classes.tolist() == [0, 0, 2, 2, 2]
    half_a_step = 0.5 / UNITS_PER_PX / FRAME_HEIGHT  # a message tells boxes in whole parts of a pixel
    assert get_frames(last).boxes[0].tolist() == pytest.approx([0.2, 0.55, 0.2, 0.7], abs=half_a_step + 1e-6)
    assert (last.node_id, last.model_name, last.model_version, len(last.model_digest)) == ("node", "colours", "1", 32)
    assert (last.frame_width, last.frame_height, last.frame_rate_mhz) == (64, 48, 10_000)
    (event,) = sent["events"]
    assert (event.zone, event.class_name, event.frame) == ("gate", "person", 12)
    assert event.captured_us == sent["batches"][0].captured_us + 1_200_000
    assert event.received_us <= event.emitted_us


@pytest.mark.kafka
def test_two_cameras_share_the_detector_and_each_is_complete(
    broker: "Broker", node_file: Callable[..., Path], make_video: Callable[..., Path], make_camera: Callable[..., Path]
) -> None:
    cameras = [
        (make_video("a.mp4", ["red"] * 15), make_camera("edge-left")),
        (make_video("b.mp4", ["blue"] * 33), make_camera("edge-right")),
    ]
    reports: list[Progress] = []
    config = node_file(broker.bootstrap, cameras, watch_list=[{"class_name": "car", "min_score": 0.5}])
    Node(load_node_config(config)).run(reports.append)
    assert (reports[-1].frames, reports[-1].of) == (48, 48)
    read = messages(broker.bootstrap, stopped("edge-left", "edge-right"))
    left, right = of_camera(read, "edge-left"), of_camera(read, "edge-right")
    assert sum(len(get_frames(batch).counts) for batch in left["batches"]) == 15
    assert sum(len(get_frames(batch).counts) for batch in right["batches"]) == 33
    assert [event.kind for event in right["events"]] == ["watch_list"]


@pytest.mark.kafka
def test_what_is_withheld_is_told_in_the_message_and_in_the_heartbeat(
    broker: "Broker", node_file: Callable[..., Path], make_video: Callable[..., Path], make_camera: Callable[..., Path]
) -> None:
    video = make_video("clip.mp4", ["red"] * 12 + ["blue"] * 8)
    config = node_file(broker.bootstrap, [(video, make_camera("edge-selective"))], forward={"classes": ["car"]})
    assert run_node(config).cameras[0].detections_withheld == 12
    sent = of_camera(messages(broker.bootstrap, stopped("edge-selective")), "edge-selective")
    assert sum(len(get_frames(batch).counts) for batch in sent["batches"]) == 20
    assert [int(c) for batch in sent["batches"] for c in get_frames(batch).classes] == [2] * 8
    assert sum(batch.detections_withheld for batch in sent["batches"]) == 12
    last = next(beat for beat in sent["status"] if beat.state == "stopped")
    assert (last.detections_withheld, last.spool_dropped) == (12, 0)


@pytest.mark.kafka
def test_a_limit_ends_the_run_early(
    broker: "Broker", node_file: Callable[..., Path], make_video: Callable[..., Path], make_camera: Callable[..., Path]
) -> None:
    video = make_video("clip.mp4", ["black"] * 40)
    by_frames = run_node(node_file(broker.bootstrap, [(video, make_camera("edge-limit"))], max_frames=7))
    by_time = run_node(node_file(broker.bootstrap, [(video, make_camera("edge-limit"))], duration_s=2.0))
    assert (by_frames.cameras[0].frames, by_time.cameras[0].frames) == (7, 20)


@pytest.mark.kafka
def test_one_broken_camera_does_not_end_the_others(
    broker: "Broker", node_file: Callable[..., Path], make_video: Callable[..., Path], make_camera: Callable[..., Path]
) -> None:
    cameras = [
        ("http://127.0.0.1:1/stream", make_camera("edge-dead")),
        (make_video("clip.mp4", ["red"] * 12), make_camera("edge-alive")),
    ]
    with pytest.raises(SourceError, match="does not answer"):
        run_node(node_file(broker.bootstrap, cameras, source_timeout_s=0.1))
    alive = of_camera(messages(broker.bootstrap, stopped("edge-alive")), "edge-alive")
    assert sum(len(get_frames(batch).counts) for batch in alive["batches"]) == 12


@pytest.mark.kafka
def test_a_live_camera_is_dated_by_the_clock_and_its_frames_add_up(
    broker: "Broker", node_file: Callable[..., Path], camera_address: str, make_camera: Callable[..., Path]
) -> None:
    before_us = time.time_ns() // 1000
    run_node(node_file(broker.bootstrap, [(camera_address, make_camera("edge-live"))], max_frames=5))
    sent = of_camera(messages(broker.bootstrap, stopped("edge-live")), "edge-live")
    first, last = sent["batches"][0], sent["batches"][-1]
    assert before_us <= first.captured_us <= time.time_ns() // 1000
    given = sum(len(get_frames(batch).counts) + batch.frames_skipped for batch in sent["batches"])
    # The first frames may have been replaced by newer ones before the detector looked.
    assert first.first_frame + given == last.first_frame + len(get_frames(last).counts) + last.frames_skipped == 5
    assert {event.zone for event in sent["events"]} == {"gate"}


@pytest.mark.kafka
def test_a_broker_that_goes_away_costs_nothing_but_time(
    tmp_path: Path, node_file: Callable[..., Path], make_video: Callable[..., Path], make_camera: Callable[..., Path]
) -> None:
    from sightline.broker import Broker, BrokerConfig
    from sightline.ports import free_port

    video = make_video("long.mp4", ["red"] * 40)
    place = BrokerConfig(tmp_path / "broker", free_port())
    with Broker(place) as lost:
        kafka = {"bootstrap_servers": lost.bootstrap, "send_timeout_s": 1}
        config = node_file(lost.bootstrap, [(video, make_camera("edge-lost"))], pace="realtime", kafka=kafka, heartbeat_s=0.5)
        node = Node(load_node_config(config))
        with pytest.raises(BrokerError, match=rf"Kafka at {lost.bootstrap}: did not take \d+ messages .* they stay in "):
            node.run(lambda _: lost.stop())  # called after the first second
    with Broker(place) as back:
        # One second was for the way down: a broker that has just come back may need more.
        patient = {"bootstrap_servers": back.bootstrap, "send_timeout_s": 20}
        again = yaml.safe_load(config.read_text()) | {"max_frames": 1, "kafka": patient}
        config.write_text(yaml.safe_dump(again))
        second = run_node(config).cameras[0].session
        sent = of_camera(messages(back.bootstrap, lambda read: _sessions_complete(read, "edge-lost", 2)), "edge-lost")
    first = [batch for batch in sent["batches"] if batch.session != second]
    assert sum(len(get_frames(batch).counts) for batch in first) == 40
    assert [batch.seq for batch in first] == list(range(len(first)))


def _sessions_complete(read: list[Message], camera_id: str, sessions: int) -> bool:
    """As many sessions said that they have stopped, and all that they sent is there."""
    sent = of_camera(read, camera_id)
    last = {beat.session: beat for beat in sent["status"] if beat.state == "stopped"}
    return len(last) == sessions and sum(beat.batches_sent for beat in last.values()) == len(sent["batches"])


@pytest.mark.kafka
def test_a_frame_of_another_size_than_the_camera_file_says_is_refused(
    broker: "Broker", node_file: Callable[..., Path], make_video: Callable[..., Path], make_camera: Callable[..., Path]
) -> None:
    camera = make_camera("edge-size", frame_size=[128, 96])
    with pytest.raises(ConfigError, match="frames are 64x48 and its camera file says 128x96"):
        run_node(node_file(broker.bootstrap, [(make_video("clip.mp4", ["red"]), camera)]))


def test_a_node_without_an_uplink_runs_and_names_what_does_not_answer(
    node_file: Callable[..., Path],
    make_video: Callable[..., Path],
    make_camera: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    kafka = {"bootstrap_servers": "127.0.0.1:1", "send_timeout_s": 1}
    config = node_file("127.0.0.1:1", [(make_video("clip.mp4", ["red"] * 12), make_camera("c"))], kafka=kafka)
    with pytest.raises(BrokerError, match=r"Kafka at 127\.0\.0\.1:1: did not take \d+ messages"):
        run_node(config)
    warnings = [record.message for record in caplog.records if record.name == "sightline_edge.delivery.forwarder"]
    assert any("127.0.0.1:1" in line and "refused" in line for line in warnings), warnings


def test_two_cameras_of_one_name_are_refused(
    tmp_path: Path, node_file: Callable[..., Path], make_video: Callable[..., Path], make_camera: Callable[..., Path]
) -> None:
    camera = make_camera("same")
    cameras = [(make_video("a.mp4", ["red"]), camera), (make_video("b.mp4", ["red"]), camera)]
    with pytest.raises(ConfigError, match="called 'same'"):
        Node(load_node_config(node_file("127.0.0.1:1", cameras)))


@pytest.fixture
def endless_node(
    broker: "Broker",
    tmp_path: Path,
    node_file: Callable[..., Path],
    make_video: Callable[..., Path],
    make_camera: Callable[..., Path],
) -> Iterator["subprocess.Popen[str]"]:
    """A node process that would run for minutes, at the pace of its recording."""
    config = node_file(
        broker.bootstrap, [(make_video("long.mp4", ["red"] * 1000), make_camera("edge-signal"))], pace="realtime"
    )
    code = "from sightline_edge.commands import edge_app; edge_app()"
    command = [sys.executable, "-c", code, "run", "--config", str(config), "--progress-json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        yield process
        process.kill()


@pytest.mark.kafka
def test_a_stopped_node_sends_what_it_has_and_ends_the_session(broker: "Broker", endless_node: "subprocess.Popen[str]") -> None:
    assert endless_node.stdout is not None
    first = json.loads(endless_node.stdout.readline())
    assert (first["of"], first["frames"] > 0) == (1000, True)
    endless_node.send_signal(signal.SIGTERM)
    output, errors = endless_node.communicate(timeout=DEADLINE_S)
    assert endless_node.returncode == 0, errors
    summary = json.loads(output.splitlines()[-1])["summary"]
    sent = of_camera(messages(broker.bootstrap, stopped("edge-signal")), "edge-signal")
    assert sent["batches"][-1].end_of_session
    assert sum(len(get_frames(batch).counts) for batch in sent["batches"]) == summary["frames"] < 1000
