"""``sightline demo --scenario drones``: two nodes over one local broker warn each other while the centre is gone.

Each drone is a real ``sightline edge run``; they share a real Mosquitto, and their centre is a real Kafka that this demo stops
and starts again. What the drones handed over is counted against what the centre holds in the end.
"""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from sightline.broker import Broker, BrokerConfig
from sightline.cache import clips_dir, models_dir
from sightline.demo.drones_report import Drone, Report, Warned, print_report, write_summary
from sightline.demo.flights import FRAME_RATE, drone_camera, write_flight
from sightline.demo.layout import Layout, fresh_layout
from sightline.demo.node_process import follow_node, start_node
from sightline.demo.settings import write_camera, write_yaml
from sightline.demo.stages import Stage, Stages
from sightline.jars import fetch_jars
from sightline.mosquitto import Mosquitto, MosquittoConfig, find_mosquitto
from sightline.ports import free_port, require_free
from sightline.sample_clip import fetch_sample_clip
from sightline.topic_content import read_topic
from sightline_contract.batch import parse_batch
from sightline_contract.events import NeighbourWarning
from sightline_contract.nearby import ROOT
from sightline_contract.topics import DETECTIONS
from sightline_models.pull import pull

NAMES = ("drone-1", "drone-2")
# Where each begins its way: such that they rarely look at the same place.
_PHASES = (0.0, 0.37)
# The centre is there for the first part of the flight, and again before it ends.
_GONE_FROM, _GONE_TO = 0.15, 0.85


@dataclass(frozen=True)
class DronesOptions:
    """What the command line asked for."""

    out: Path
    seconds: float
    model: str
    broker_port: int


class DronesDemo:
    """One run of the scenario."""

    def __init__(self, options: DronesOptions, console: Console) -> None:
        self._options = options
        self._console = console
        self._stages = Stages(console)
        find_mosquitto()
        require_free(options.broker_port, "the broker", "stop what uses it, or choose another port with --port")
        self._layout = fresh_layout(options.out)
        self._broker = Broker(BrokerConfig(self._layout.work / "broker", options.broker_port))
        self._mqtt_port = free_port()

    def run(self) -> Report:
        """Fly; raises SightlineError, with every process ended."""
        with self._stages, ExitStack() as processes:
            model, flights = self._prepare()
            mosquitto = Mosquitto(MosquittoConfig(self._layout.work / "mosquitto", self._mqtt_port))
            with self._stages.stage("start Kafka and Mosquitto"):
                processes.enter_context(mosquitto)
                processes.callback(self._broker.stop)
                self._broker.start()
            listener = processes.enter_context(_Listener(self._mqtt_port))
            summaries, gone = self._fly(model, flights, processes)
            with self._stages.stage("count what the centre holds"):
                arrived = _messages_by_node(self._broker.bootstrap)
        drones = [_drone(name, summaries[name], arrived.get(name, Counter()), listener.of(name, gone)) for name in NAMES]
        report = Report(tuple(drones), gone[1] - gone[0], self._stages.elapsed_s)
        write_summary(self._layout.summary, report)
        print_report(report, self._layout.summary, self._console)
        return report

    def _prepare(self) -> tuple[Path, dict[str, Path]]:
        with self._stages.stage("jars, model, clip"):
            fetch_jars("kafka")
            model = pull(self._options.model, models_dir())
            clip = fetch_sample_clip(clips_dir())
        flights = {name: self._layout.work / f"{name}.mp4" for name in NAMES}
        frames = round(self._options.seconds * FRAME_RATE)
        with self._stages.stage("draw the flights", frames * len(NAMES)) as stage:
            for name, phase in zip(NAMES, _PHASES, strict=True):
                write_flight(clip, flights[name], self._options.seconds, phase, stage.advance)
        return model, flights

    def _fly(
        self, model: Path, flights: dict[str, Path], processes: ExitStack
    ) -> tuple[dict[str, dict[str, Any]], tuple[float, float]]:
        """Run both nodes to the end of their flights; returns their summaries and when the centre was gone, Unix seconds."""
        seconds = self._options.seconds
        nodes = {}
        for name in NAMES:
            config = write_node(self._layout, name, flights[name], model, self._broker.bootstrap, self._mqtt_port)
            nodes[name] = start_node(config, self._layout.work / f"{name}.log")
            processes.callback(nodes[name].stop)
        with self._stages.stage("fly", seconds * FRAME_RATE) as stage, ThreadPoolExecutor(max_workers=len(NAMES)) as pool:
            seen = _Progress(stage)
            running = {name: pool.submit(follow_node, node, seen.of(name)) for name, node in nodes.items()}
            seen.wait_for(_GONE_FROM * seconds * FRAME_RATE, running)
            stage.say("the centre is gone")
            gone_from = time.time()
            self._broker.stop()
            seen.wait_for(_GONE_TO * seconds * FRAME_RATE, running)
            gone_to = time.time()
            stage.say("the centre is back")
            self._broker.start()
            return {name: each.result() for name, each in running.items()}, (gone_from, gone_to)


def write_node(layout: Layout, name: str, flight: Path, model: Path, bootstrap: str, mqtt_port: int) -> Path:
    """Write a drone's node file: it takes its neighbour's events and tells its own."""
    camera = drone_camera(name)
    camera_file = write_camera(camera, layout.work / "cameras")
    node: dict[str, Any] = {
        "node_id": name,
        "kafka": {"bootstrap_servers": bootstrap},
        "model": str(model),
        "cameras": [{"source": str(flight), "camera": str(camera_file)}],
        "watch_list": [{"class_name": "person", "min_score": 0.4, "rearm_s": 0.5}],
        "state": str(layout.work / f"{name}-state"),
        # A drone's uplink is thin: sure persons, and everything for a while when the neighbour sees one.
        "forward": {"min_score": 0.5, "classes": ["person"]},
        "local_broker": {"kind": "mqtt", "port": mqtt_port},
        "neighbours": {"nodes": [other for other in NAMES if other != name], "classes": ["person"], "hold_s": 5.0},
        "threads": 1,
        "pace": "realtime",
    }
    return write_yaml(layout.work / f"{name}.yaml", node)


class _Progress:
    """How far the drones are; the slower one counts."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._frames = dict.fromkeys(NAMES, 0)

    def of(self, name: str) -> Callable[[int, int | None], None]:
        def show(frames: int, _total: int | None) -> None:
            self._frames[name] = frames
            self._stage.advance_to(min(self._frames.values()))

        return show

    def wait_for(self, frames: float, running: dict[str, Any]) -> None:
        """Until both are so far, or one has ended."""
        while min(self._frames.values()) < frames and not any(each.done() for each in running.values()):
            time.sleep(0.1)


class _Listener:
    """A third machine on the local broker, which hears the warnings."""

    def __init__(self, port: int) -> None:
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        self._warnings: list[NeighbourWarning] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._connected
        self._client.on_message = lambda _client, _data, message: self._warnings.append(
            NeighbourWarning.model_validate_json(message.payload)
        )
        self._client.connect("127.0.0.1", port)

    def _connected(self, *_: object) -> None:
        self._client.subscribe(f"{ROOT}/+/warnings", 1)

    def of(self, name: str, gone: tuple[float, float]) -> list[Warned]:
        """The warnings of a drone, and whether the centre was gone then."""
        return [
            Warned(
                of_node=each.of_node,
                latency_ms=(each.received_us - each.emitted_us) / 1000,
                centre_gone=gone[0] <= each.received_us / 1e6 <= gone[1],
            )
            for each in self._warnings
            if each.node_id == name
        ]

    def __enter__(self) -> "_Listener":
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _drone(name: str, summary: dict[str, Any], arrived: Counter[tuple[int, int]], warned: list[Warned]) -> Drone:
    return Drone(
        name=name,
        frames=summary["frames"],
        events=summary["events"],
        handed_over=summary["batches"],
        arrived=len(arrived),
        repeated=arrived.total() - len(arrived),
        withheld=summary["detections_withheld"],
        warned=tuple(warned),
    )


def _messages_by_node(bootstrap: str) -> dict[str, Counter[tuple[int, int]]]:
    """How often the topic holds each (session, seq) of a node."""
    found: dict[str, Counter[tuple[int, int]]] = {}
    for message in read_topic(bootstrap, DETECTIONS.name):
        batch = parse_batch(bytes(message.value() or b""))
        found.setdefault(batch.node_id, Counter())[batch.session, batch.seq] += 1
    return found
