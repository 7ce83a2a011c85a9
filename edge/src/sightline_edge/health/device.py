"""What the device tells of itself: processors, memory, disk, temperatures, and NVIDIA accelerators where a driver is.

A figure that the device does not have is absent, never 0. Everything is read when Prometheus asks.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pynvml
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_PREFIX = "sightline_edge"
_Read = TypeVar("_Read")


class DeviceCollector(Collector):
    """Gauges of the machine and of this process."""

    def __init__(self, state: Path | None = None) -> None:
        """``state`` is the folder whose disk is told."""
        self._state = state
        self._process = psutil.Process()
        self._accelerators = Accelerators()
        # The first call only sets the mark from which the next one measures.
        psutil.cpu_percent()

    def close(self) -> None:
        """Let go of the driver."""
        self._accelerators.close()

    def collect(self) -> Iterator[Metric]:
        """All that there is now."""
        utilisation = _gauge("utilisation_ratio", "Share of time in which a device worked, 0..1.", "device")
        temperature = _gauge("temperature_celsius", "Temperatures that the device tells.", "sensor")
        used = _gauge("device_memory_used_bytes", "Memory in use.", "device")
        total = _gauge("device_memory_total_bytes", "Memory that there is.", "device")
        utilisation.add_metric(["cpu"], psutil.cpu_percent() / 100)
        memory = psutil.virtual_memory()
        used.add_metric(["system"], memory.total - memory.available)
        total.add_metric(["system"], memory.total)
        for sensor, degrees in _temperatures():
            temperature.add_metric([sensor], degrees)
        self._accelerators.add_to(utilisation, temperature, used, total)
        yield from (family for family in (utilisation, temperature, used, total) if family.samples)
        yield from self._of_process()
        yield from self._of_disk()

    def _of_process(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(f"{_PREFIX}_memory_bytes", "Resident memory of the node.", self._process.memory_info().rss)
        with contextlib.suppress(psutil.Error, AttributeError):  # not every system counts them
            yield GaugeMetricFamily(f"{_PREFIX}_open_files", "Files and sockets that are open.", self._process.num_fds())

    def _of_disk(self) -> Iterator[Metric]:
        if self._state is None:
            return
        with contextlib.suppress(OSError):
            disk = psutil.disk_usage(str(self._state))
            yield GaugeMetricFamily(f"{_PREFIX}_disk_free_bytes", "Room on the disk of the state folder.", disk.free)
            yield GaugeMetricFamily(f"{_PREFIX}_disk_total_bytes", "Size of the disk of the state folder.", disk.total)


class Accelerators:
    """NVIDIA accelerators through NVML; none where there is no driver."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = False
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            self._open = True

    def close(self) -> None:
        """Let go of the driver."""
        with self._lock:
            if self._open:
                self._open = False
                with contextlib.suppress(pynvml.NVMLError):
                    pynvml.nvmlShutdown()

    def add_to(
        self, utilisation: GaugeMetricFamily, temperature: GaugeMetricFamily, used: GaugeMetricFamily, total: GaugeMetricFamily
    ) -> None:
        """Add what every accelerator tells: ``gpu0``, and ``gpu0-decoder`` for its video decoder."""
        with self._lock:
            for number, device in self._devices():
                name = f"gpu{number}"
                if (rates := _told(pynvml.nvmlDeviceGetUtilizationRates, device)) is not None:
                    utilisation.add_metric([name], rates.gpu / 100)
                if (decoder := _told(pynvml.nvmlDeviceGetDecoderUtilization, device)) is not None:
                    utilisation.add_metric([f"{name}-decoder"], decoder[0] / 100)
                if (degrees := _told(_degrees, device)) is not None:
                    temperature.add_metric([name], degrees)
                if (memory := _told(pynvml.nvmlDeviceGetMemoryInfo, device)) is not None:
                    used.add_metric([name], memory.used)
                    total.add_metric([name], memory.total)

    def _devices(self) -> Iterator[tuple[int, Any]]:
        count = (_told(pynvml.nvmlDeviceGetCount) or 0) if self._open else 0
        for number in range(count):
            device = _told(pynvml.nvmlDeviceGetHandleByIndex, number)
            if device is not None:
                yield number, device


def _told(read: Callable[..., _Read], *arguments: object) -> _Read | None:
    """What the driver says; None where this device does not have it, or the driver went away."""
    try:
        return read(*arguments)
    except pynvml.NVMLError:
        return None


def _degrees(device: Any) -> float:
    return float(pynvml.nvmlDeviceGetTemperature(device, pynvml.NVML_TEMPERATURE_GPU))


def _temperatures() -> Iterator[tuple[str, float]]:
    """Sensors by chip and label, or number where two share a label, as those of two processors do."""
    read = getattr(psutil, "sensors_temperatures", None)  # not on every system
    for chip, sensors in (read() if read else {}).items():
        labels = [sensor.label for sensor in sensors]
        for number, sensor in enumerate(sensors):
            alone = sensor.label and labels.count(sensor.label) == 1
            yield f"{chip}/{sensor.label if alone else number}", sensor.current


def _gauge(name: str, meaning: str, label: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", meaning, labels=(label,))
