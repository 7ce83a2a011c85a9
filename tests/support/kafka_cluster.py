"""A Kafka of three brokers on loopback, each a JVM of its own that can be killed."""

import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from sightline.jars import fetch_jars
from sightline.java import find_java
from sightline.ports import LOOPBACK, answers, free_port
from sightline.processes import Child, start

_CLUSTER_ID = "dGhyZWUtYnJva2Vycy1hLQ"
_OPTIONS = ("-Xmx160m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")


class KafkaCluster:
    """Three brokers, each a controller too: two of them keep everything going."""

    def __init__(self, home: Path) -> None:
        self._home = home
        ports: set[int] = set()
        while len(ports) < 6:
            ports.add(free_port())  # which may give one twice
        self._ports = {node: ports.pop() for node in (1, 2, 3)}
        self._controllers = {node: ports.pop() for node in (1, 2, 3)}
        self._nodes: dict[int, Child] = {}
        self._running = ExitStack()

    @property
    def bootstrap(self) -> str:
        return ",".join(f"{LOOPBACK}:{port}" for port in self._ports.values())

    def kill(self, node: int) -> None:
        os.kill(self._nodes[node].pid, signal.SIGKILL)
        self._nodes[node].wait(20)

    def __enter__(self) -> Self:
        with ExitStack() as begun:
            for node in self._ports:
                properties = self._properties(node)
                words = ["format", "--cluster-id", _CLUSTER_ID, "--config", str(properties)]
                subprocess.run(self._java("kafka.tools.StorageTool", *words), check=True, capture_output=True)
                child = start(f"broker-{node}", self._java("kafka.Kafka", str(properties)), self._home / f"{node}.log")
                self._nodes[node] = child
                begun.callback(child.stop, grace_s=0)  # in order they would wait for one another
            for node, child in self._nodes.items():
                child.wait_until(lambda port=self._ports[node]: answers(port), 60, "the broker answers")  # type: ignore[misc]
            self._running = begun.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._running.close()

    def _java(self, *words: str) -> list[str]:
        class_path = os.pathsep.join(str(path) for path in fetch_jars("kafka"))
        return [str(find_java().executable), *_OPTIONS, "-cp", class_path, *words]

    def _properties(self, node: int) -> Path:
        clients = f"CLIENTS://{LOOPBACK}:{self._ports[node]}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": node,
            "controller.quorum.voters": ",".join(f"{one}@{LOOPBACK}:{port}" for one, port in self._controllers.items()),
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{clients},CONTROLLER://{LOOPBACK}:{self._controllers[node]}",
            "advertised.listeners": clients,
            "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "CLIENTS",
            "log.dirs": self._home / f"log-{node}",
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": 1,
            "log.cleaner.dedupe.buffer.size": 2097152,
        }
        self._home.mkdir(parents=True, exist_ok=True)
        path = self._home / f"{node}.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return path
