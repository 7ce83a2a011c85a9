import logging
import socket
import threading
from collections.abc import Callable

import numpy as np
import pytest
from prometheus_client import Metric

from sightline_contract.errors import ConfigError, PortInUseError
from sightline_contract.labels import label_names
from sightline_edge.config import MetricsConfig
from sightline_edge.health.metrics import WATCHED, Metrics, MetricsServer, Stage

Scrape = Callable[[], dict[str, Metric]]


def values(family: Metric, suffix: str = "") -> dict[tuple[str, ...], float]:
    """Values by their labels' values, in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(s.labels.items())): s.value for s in family.samples if s.name == family.name + suffix
    }


def test_frames_are_counted_by_camera_and_reason(metrics: Metrics, scrape: Scrape) -> None:
    for _ in range(3):
        metrics.frame("gate")
    metrics.dropped("gate", "busy", 2)
    metrics.source_reconnected("yard")
    found = scrape()
    assert values(found["sightline_edge_frames"], "_total") == {("gate",): 3, ("yard",): 0}
    assert values(found["sightline_edge_frames_dropped"], "_total") == {("gate", "busy"): 2}
    assert values(found["sightline_edge_source_reconnects"], "_total") == {("gate",): 0, ("yard",): 1}


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_has_a_histogram_from_a_tenth_of_a_millisecond_to_five_seconds(
    stage: Stage, metrics: Metrics, scrape: Scrape
) -> None:
    for seconds in (0.00005, 0.003, 7.0, -1.0):  # clocks go back
        metrics.stage(stage, seconds)
    family = scrape()["sightline_edge_stage_seconds"]
    buckets = {s.labels["le"]: s.value for s in family.samples if s.name.endswith("_bucket") and s.labels["stage"] == stage}
    assert (buckets["0.0001"], buckets["0.0025"], buckets["0.005"], buckets["5.0"], buckets["+Inf"]) == (2, 2, 3, 3, 4)
    assert values(family, "_sum")[(stage,)] == pytest.approx(7.00305)


def test_the_fill_of_a_batch_is_its_share_of_the_most(metrics: Metrics, scrape: Scrape) -> None:
    metrics.inference(0.02, 4, 8)
    metrics.inference(0.02, 8, 8)
    found = scrape()
    assert values(found["sightline_edge_inference_batch_fill"], "_sum") == {(): 1.5}
    assert values(found["sightline_edge_stage_seconds"], "_count")[("inference",)] == 2


def test_scores_are_counted_by_class_in_twentieths(metrics: Metrics, scrape: Scrape) -> None:
    metrics.scores(np.array([0.05, 0.051, 0.93, 1.0], np.float32), np.array([0, 0, 2, 2], np.uint8))
    metrics.scores(np.empty(0, np.float32), np.empty(0, np.uint8))
    metrics.scores(np.array([0.0], np.float64), np.array([0], np.int64))
    family = scrape()["sightline_edge_detection_score"]
    first, third = label_names()[0], label_names()[2]
    buckets = {(s.labels["class"], s.labels["le"]): s.value for s in family.samples if s.name.endswith("_bucket")}
    assert len(buckets) == 2 * 21
    assert [buckets[first, le] for le in ("0.05", "0.1", "1.0", "+Inf")] == [2, 3, 3, 3]
    assert [buckets[third, le] for le in ("0.9", "0.95", "1.0", "+Inf")] == [0, 1, 2, 2]
    assert values(family, "_sum")[(third,)] == pytest.approx(1.93)
    assert values(family, "_count") == {(first,): 3, (third,): 2}


def test_every_detection_of_many_threads_is_counted(metrics: Metrics, scrape: Scrape) -> None:
    def work() -> None:
        for _ in range(500):
            metrics.scores(np.full(6, 0.5), np.zeros(6, np.uint8))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(scrape()["sightline_edge_detection_score"], "_count") == {(label_names()[0],): 12_000}


def test_the_model_that_runs_is_the_only_one_shown(metrics: Metrics, scrape: Scrape) -> None:
    metrics.model("centernet", "1", "sha256:aa")
    metrics.model("centernet", "2", "sha256:bb")
    assert values(scrape()["sightline_edge_model_info"]) == {("sha256:bb", "centernet", "2"): 1}


def test_watched_figures_are_read_when_asked_for(metrics: Metrics, scrape: Scrape) -> None:
    waiting = {"bulk": 3.0, "events": 0.0}
    offset: list[float | None] = [None]
    metrics.watch("spool_messages", lambda: waiting)
    metrics.watch("spool_dropped", lambda: {"age": 2})
    metrics.watch("inbox_frames", lambda: 1)
    metrics.watch("clock_offset_seconds", lambda: offset[0])
    first = scrape()
    waiting["bulk"], offset[0] = 5.0, -0.25
    second = scrape()
    assert values(first["sightline_edge_spool_messages"]) == {("bulk",): 3, ("events",): 0}
    assert values(first["sightline_edge_spool_dropped"], "_total") == {("age",): 2}
    assert values(first["sightline_edge_inbox_frames"]) == {(): 1}
    assert values(first["sightline_edge_clock_offset_seconds"]) == {}  # unknown is not 0
    assert values(second["sightline_edge_spool_messages"]) == {("bulk",): 5, ("events",): 0}
    assert values(second["sightline_edge_clock_offset_seconds"]) == {(): -0.25}


@pytest.mark.parametrize("name", WATCHED)
def test_every_figure_that_others_own_comes_under_its_name_and_label(name: str, metrics: Metrics, scrape: Scrape) -> None:
    watched = WATCHED[name]
    metrics.watch(name, lambda: {"one": 2.5, "two": 3} if watched.label else 2.5)
    family = scrape()[f"sightline_edge_{name}"]
    expected = {("one",): 2.5, ("two",): 3.0} if watched.label else {(): 2.5}
    assert values(family, "_total" if watched.counter else "") == expected
    assert {label for sample in family.samples for label in sample.labels} == ({watched.label} if watched.label else set())
    assert family.documentation == watched.meaning


def test_a_label_shows_no_secret(metrics: Metrics, scrape: Scrape) -> None:
    metrics.watch("broker_reconnects", lambda: {"sasl_ssl://node:secret@10.0.0.1": 1})
    (labels,) = values(scrape()["sightline_edge_broker_reconnects"], "_total")
    assert labels == ("sasl_ssl://node:***@10.0.0.1",)


def test_a_figure_that_fails_hides_no_other_and_is_counted(
    metrics: Metrics, scrape: Scrape, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> float:
        raise OSError("database is locked")

    metrics.watch("spool_bytes", broken)
    metrics.watch("spool_messages", lambda: 3)  # a figure that is given by lane
    metrics.watch("inbox_frames", lambda: 2)
    with caplog.at_level(logging.WARNING):
        scrape()
        found = scrape()
    assert "sightline_edge_spool_bytes" not in found
    assert values(found["sightline_edge_inbox_frames"]) == {(): 2}
    assert values(found["sightline_edge_watch_failures"], "_total") == {("spool_bytes",): 2, ("spool_messages",): 2}
    assert [record.getMessage() for record in caplog.records] == [
        "figure spool_bytes cannot be read (OSError: database is locked)",
        "figure spool_messages cannot be read (TypeError: spool_messages is given by lane)",
    ]


def test_a_figure_that_nobody_knows_is_refused(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="'spool_depth' is none of inbox_frames"):
        metrics.watch("spool_depth", lambda: 0)


def test_a_counter_is_one_series(metrics: Metrics, scrape: Scrape) -> None:
    metrics.dropped("gate", "busy")
    found = scrape()
    assert {sample.name for sample in found["sightline_edge_frames_dropped"].samples} == {"sightline_edge_frames_dropped_total"}
    assert not any(name.endswith("_created") for name in found)


def test_two_nodes_of_one_process_have_figures_of_their_own(metrics: Metrics, scrape: Scrape) -> None:
    other = Metrics("gate-south", ["gate"])
    other.frame("gate")
    assert values(scrape()["sightline_edge_frames"], "_total")[("gate",)] == 0
    assert scrape()["sightline_edge_build_info"].samples[0].labels["node_id"] == "gate-north"


def test_a_port_in_use_is_one_line_and_closing_frees_it(metrics: Metrics) -> None:
    first = MetricsServer(MetricsConfig(port=0), metrics)
    taken = MetricsConfig(port=first.port)
    with pytest.raises(PortInUseError, match=rf"^metrics at 127\.0\.0\.1:{first.port}: another process listens there: [^\n]*$"):
        MetricsServer(taken, metrics)
    threads = threading.active_count()
    first.close()
    assert threading.active_count() == threads - 1
    again = MetricsServer(taken, metrics)
    assert again.port == first.port
    again.close()


@pytest.mark.parametrize(("host", "says"), [("192.0.2.1", "cannot listen"), ("no host", "is no address")])
def test_an_address_of_another_machine_is_one_line(host: str, says: str, metrics: Metrics) -> None:
    with pytest.raises(ConfigError, match=rf"^metrics at {host}:0: [^\n]*{says}[^\n]*: correct metrics\.host"):
        MetricsServer(MetricsConfig(host=host, port=0), metrics)


def test_the_page_is_for_this_machine_only_unless_told_otherwise(metrics: Metrics) -> None:
    server = MetricsServer(MetricsConfig(port=0), metrics)
    with socket.socket() as outside:
        outside.bind(("127.0.0.2", 0))  # loopback's second address stands for another interface
        with pytest.raises(ConnectionRefusedError):
            outside.connect(("127.0.0.2", server.port))
    server.close()
