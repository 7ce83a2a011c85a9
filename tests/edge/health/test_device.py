"""The device's figures on this machine, whatever it has."""

import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pynvml
import pytest
from prometheus_client import Metric

from sightline_edge.health import device
from sightline_edge.health.device import Accelerators, DeviceCollector
from sightline_edge.health.metrics import Metrics


def has_driver() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    pynvml.nvmlShutdown()
    return True


def families(collector: DeviceCollector) -> dict[str, Metric]:
    return {family.name.removeprefix("sightline_edge_"): family for family in collector.collect()}


def labels(family: Metric) -> set[str]:
    return {value for sample in family.samples for value in sample.labels.values()}


def test_processor_memory_and_disk_are_told(tmp_path: Path) -> None:
    found = families(DeviceCollector(tmp_path))
    (used, total) = (found[f"device_memory_{what}_bytes"].samples[0].value for what in ("used", "total"))
    assert 0 < used < total == psutil.virtual_memory().total
    assert 0 <= found["utilisation_ratio"].samples[0].value <= 1
    assert 0 < found["disk_free_bytes"].samples[0].value <= found["disk_total_bytes"].samples[0].value
    assert 0 < found["memory_bytes"].samples[0].value < total


def test_open_files_are_those_of_this_process(tmp_path: Path) -> None:
    collector = DeviceCollector()
    before = families(collector)["open_files"].samples[0].value
    with (tmp_path / "one").open("w"), (tmp_path / "two").open("w"):
        assert families(collector)["open_files"].samples[0].value == before + 2
    assert before >= len(("stdin", "stdout", "stderr"))
    assert os.getpid() == collector._process.pid


@pytest.mark.skipif(has_driver(), reason="this machine has an NVIDIA driver")
def test_without_a_driver_there_is_no_accelerator_and_not_one_that_idles() -> None:
    collector = DeviceCollector()
    found = families(collector)
    assert not any("gpu" in label for family in found.values() for label in labels(family))
    collector.close()


@pytest.mark.skipif(not has_driver(), reason="this machine has no NVIDIA driver")
def test_with_a_driver_every_accelerator_tells_its_work_and_heat() -> None:
    collector = DeviceCollector()
    found = families(collector)
    assert {"gpu0", "gpu0-decoder"} <= labels(found["utilisation_ratio"])
    assert 0 < next(s.value for s in found["temperature_celsius"].samples if s.labels["sensor"] == "gpu0") < 120
    assert "gpu0" in labels(found["device_memory_used_bytes"])
    collector.close()
    assert "gpu0" not in labels(families(collector)["utilisation_ratio"])


def test_a_device_without_sensors_has_no_temperatures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)
    monkeypatch.setattr(device.Accelerators, "add_to", lambda *_: None)
    assert "temperature_celsius" not in families(DeviceCollector())


def test_sensors_of_one_label_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """As two processors' cores are called: two series of one name would make Prometheus refuse the page."""
    reading = type("Reading", (), {"label": "Core 0", "current": 40.0})
    alone = type("Reading", (), {"label": "Package", "current": 41.0})
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: {"coretemp": [reading, reading, alone]}, raising=False)
    found = labels(families(DeviceCollector())["temperature_celsius"])
    assert {"coretemp/0", "coretemp/1", "coretemp/Package"} <= found


def test_a_disk_that_is_gone_is_absent(tmp_path: Path) -> None:
    assert "disk_free_bytes" not in families(DeviceCollector(tmp_path / "gone"))


def test_closing_twice_is_harmless() -> None:
    accelerators = Accelerators()
    accelerators.close()
    accelerators.close()


def test_the_page_shows_the_device(metrics: Metrics, scrape: Callable[[], dict[str, Metric]]) -> None:
    found = scrape()
    assert {"sightline_edge_memory_bytes", "sightline_edge_open_files", "sightline_edge_utilisation_ratio"} <= set(found)
