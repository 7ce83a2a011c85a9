"""A node's figures behind a real HTTP server."""

import urllib.request
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from sightline_edge.config import MetricsConfig
from sightline_edge.health.metrics import Metrics, MetricsServer


def page_of(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("gate-north", ["gate", "yard"])


@pytest.fixture
def scrape(metrics: Metrics) -> Iterator[Callable[[], dict[str, Metric]]]:
    """Reads ``metrics`` over HTTP and gives its families by name."""
    server = MetricsServer(MetricsConfig(port=0), metrics)
    yield lambda: {family.name: family for family in text_string_to_metric_families(page_of(server.port))}
    server.close()
