"""What several rooms' tests share: the JVM jars, one real broker and one Spark driver for the whole run."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from sightline.broker import Broker, BrokerConfig
from sightline.jars import GROUPS, fetch_jars
from sightline.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


# How long an example takes says more about the machine than about the code.
settings.register_profile("sightline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sightline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: where processes share the files, none is left alone with a long one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def jars() -> dict[str, tuple[Path, ...]]:
    """The pinned jars by group, "kafka" and "spark", fetched into the user's cache once."""
    return {group: fetch_jars(group) for group in GROUPS}


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running Kafka with Sightline's topics; ``broker.bootstrap`` is its address.

    It is shared: a test uses a camera id (or a topic) of its own.
    """
    with Broker(BrokerConfig(tmp_path_factory.mktemp("broker"), free_port())) as running:
        yield running


@pytest.fixture(scope="session")
def spark(jars: dict[str, tuple[Path, ...]], tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SparkSession]":
    """The driver of the whole run, which serves Spark Connect too. Queries and tables are each test's own."""
    from sightline.driver import connect_settings
    from sightline_streaming.config import JobConfig, KafkaConfig
    from sightline_streaming.session import build_session

    root = tmp_path_factory.mktemp("spark")
    config = JobConfig(
        kafka=KafkaConfig(bootstrap_servers=f"{LOOPBACK}:1"),
        table_root=str(root),
        checkpoint_root=str(root),
        cameras=root,
        spark={"spark.sql.warehouse.dir": str(root / "warehouse")} | connect_settings(free_port()),
    )
    session = build_session("tests", config, master="local[4]", jars=jars["spark"])
    yield session
    session.stop()


@pytest.fixture(scope="session")
def sql_endpoint(spark: "SparkSession") -> str:
    """Address of the driver for Spark Connect clients."""
    return f"sc://{LOOPBACK}:{spark.conf.get('spark.connect.grpc.binding.port')}"
