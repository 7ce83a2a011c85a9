"""The embedded central broker: a real Apache Kafka, one node, controller and broker in one JVM, on loopback only.

All that it keeps is below its data folder, so that stopping and starting it again loses nothing and deleting the folder
leaves nothing behind. The folder is formatted under another name and then renamed: it is either absent or whole.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sightline.jars import fetch_jars
from sightline.java import Java, find_java
from sightline.ports import LOOPBACK, answers, free_port, require_free
from sightline.processes import Child, reason, start
from sightline_contract.errors import BrokerError, StageError
from sightline_contract.topics import ALL_TOPICS, Topic

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

DEFAULT_PORT = 9092

_READY_TIMEOUT_S = 60
_STOP_GRACE_S = 20
_CLUSTER_ID = "c2lnaHRsaW5lLWxvY2FsLQ"  # one name for all one-machine stacks: a data folder may be moved
_JVM_OPTIONS = (
    "-Xmx192m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # quick to start; the broker of one machine is far from busy
    "-Xshare:auto",
)


@dataclass(frozen=True)
class BrokerConfig:
    """Where a broker listens and what it may use."""

    data_dir: Path
    port: int = DEFAULT_PORT
    # Kafka's own server properties, which win over ours: TLS on the listeners, an authorizer.
    properties: Mapping[str, str] = field(default_factory=dict)
    # librdkafka's options with which this process reaches the broker, to see it answer and to create topics.
    client_options: Mapping[str, str | bool] = field(default_factory=dict)

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def log_path(self) -> Path:
        """What the broker says."""
        return self.data_dir / "broker.log"


class Broker:
    """A broker that this process starts and stops: use it as a context manager."""

    def __init__(self, config: BrokerConfig, *, tied: bool = True) -> None:
        self.config = config
        self._tied = tied
        self._child: Child | None = None

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return self.config.bootstrap

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        return self._running().pid

    def start(self, topics: Iterable[Topic] = ALL_TOPICS) -> Self:
        """Start, wait until it answers, create ``topics``; raises PortInUseError or BrokerError."""
        self._child = launch(self.config, tied=self._tied)
        try:
            wait_until_ready(self.config, self._child)
            create_topics(self.bootstrap, topics, options=self.config.client_options)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop cleanly; nothing happens when it does not run."""
        if self._child is not None:
            self._child.stop(_STOP_GRACE_S)
            self._child = None

    def _running(self) -> Child:
        if self._child is None:
            raise BrokerError(f"the broker at {self.bootstrap} was not started by this process")
        return self._child

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def launch(config: BrokerConfig, *, tied: bool) -> Child:
    """Start the broker's JVM on a formatted data folder and return at once."""
    require_free(config.port, "the broker", "stop it, or choose another port with --port")
    java = find_java()
    class_path = os.pathsep.join(str(path) for path in fetch_jars("kafka"))
    config.data_dir.mkdir(parents=True, exist_ok=True)
    _write(config.data_dir / "log4j2.properties", _LOGGING)
    _format_once(config, java, class_path)
    properties = _write(config.data_dir / "server.properties", _server_properties(config, config.data_dir / "log"))
    return start("broker", _command(java, class_path, config, "kafka.Kafka", str(properties)), config.log_path, tied=tied)


def wait_until_ready(config: BrokerConfig, child: Child) -> None:
    """Wait until the broker serves clients; raises BrokerError with the reason that its log gives."""
    try:
        child.wait_until(lambda: answers(config.port), _READY_TIMEOUT_S, f"port {config.port} is open")
    except StageError as error:
        raise BrokerError(str(error)) from error
    require_broker(config.bootstrap, _READY_TIMEOUT_S, config.client_options)


def require_broker(bootstrap: str, timeout_s: float = 10, options: Mapping[str, str | bool] | None = None) -> None:
    """Raise BrokerError unless a broker answers at ``bootstrap``."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, **(options or {})}).list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise BrokerError(
            f"no Kafka broker answers at {bootstrap}: start one with 'sightline up', or check the address"
        ) from error


def create_topics(
    bootstrap: str,
    topics: Iterable[Topic] = ALL_TOPICS,
    *,
    replication_factor: int = 1,
    options: Mapping[str, str | bool] | None = None,
) -> None:
    """Create those of ``topics`` that do not exist; an existing one stays as it is.

    All but one of the copies must have a message before its producer is told so (acks=all): one broker may be down. ``options``
    are librdkafka's for the connection.
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    durable = {"min.insync.replicas": str(max(1, replication_factor - 1))}
    wanted = [
        NewTopic(topic.name, topic.partitions, replication_factor=replication_factor, config=topic.config | durable)
        for topic in topics
    ]
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, **(options or {})})
    for name, outcome in admin.create_topics(wanted).items():
        try:
            outcome.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise BrokerError(f"topic {name} could not be created at {bootstrap}: {error.args[0].str()}") from error
    _wait_for_leaders(admin, {topic.topic: topic.num_partitions for topic in wanted}, bootstrap)


def _wait_for_leaders(admin: "AdminClient", partitions: dict[str, int], bootstrap: str) -> None:
    """A topic is created before its partitions have a leader; writing to it in between would fail or wait."""
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < deadline:
        known = admin.list_topics(timeout=_READY_TIMEOUT_S).topics
        if all(name in known and known[name].partitions for name in partitions) and all(
            partition.leader >= 0 for name in partitions for partition in known[name].partitions.values()
        ):
            return
        time.sleep(0.02)
    raise BrokerError(f"the topics at {bootstrap} have no leader after {_READY_TIMEOUT_S} s: see the broker's log")


def _format_once(config: BrokerConfig, java: Java, class_path: str) -> None:
    final = config.data_dir / "log"
    if (final / "meta.properties").exists():
        return
    unfinished = config.data_dir / "log.unformatted"
    shutil.rmtree(unfinished, ignore_errors=True)
    properties = _write(config.data_dir / "format.properties", _server_properties(config, unfinished))
    words = ("format", "--standalone", "--cluster-id", _CLUSTER_ID, "--config", str(properties))
    command = _command(java, class_path, config, "kafka.tools.StorageTool", *words)
    output = config.data_dir / "format.log"
    with output.open("wb") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False).returncode
    if code != 0:
        raise BrokerError(f"the broker's folder {final} could not be formatted: {reason(output)} (log: {output})")
    unfinished.rename(final)


def _command(java: Java, class_path: str, config: BrokerConfig, main_class: str, *words: str) -> list[str]:
    logging = f"-Dlog4j2.configurationFile={config.data_dir / 'log4j2.properties'}"
    return [str(java.executable), *_JVM_OPTIONS, logging, "-cp", class_path, main_class, *words]


def _server_properties(config: BrokerConfig, log_dir: Path) -> str:
    controller = free_port()
    ours = f"""\
process.roles=broker,controller
node.id=1
listeners=CLIENTS://{LOOPBACK}:{config.port},CONTROLLER://{LOOPBACK}:{controller}
advertised.listeners=CLIENTS://{LOOPBACK}:{config.port},CONTROLLER://{LOOPBACK}:{controller}
listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENTS
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers={LOOPBACK}:{controller}
log.dirs={log_dir}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
num.network.threads=2
num.io.threads=4
background.threads=4
log.cleaner.dedupe.buffer.size=2097152
"""
    return ours + "".join(f"{key}={value}\n" for key, value in config.properties.items())  # of two lines the later one holds


_LOGGING = """\
status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1}: %m%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
# Who was refused: at the door (TLS), the reason first, and by the authorizer.
appender.door.type=Console
appender.door.name=door
appender.door.layout.type=PatternLayout
appender.door.layout.pattern=%d %p %c{1}: %m %throwable{short.message}%n
logger.door.name=org.apache.kafka.common.network.Selector
logger.door.level=info
logger.tls.name=org.apache.kafka.common.network.SslTransportLayer
logger.tls.level=debug
logger.tls.additivity=false
logger.tls.appenderRef.door.ref=door
logger.authorizer.name=kafka.authorizer.logger
logger.authorizer.level=info
"""


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
