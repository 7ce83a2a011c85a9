"""The machine and the software that a run was measured on: figures mean little without them."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

PACKAGES = ("sightline", "pyspark", "delta-spark", "deltalake", "confluent-kafka", "onnxruntime", "dbt-core", "numba", "av")


class Machine(BaseModel):
    """Processor, memory and system."""

    model_config = ConfigDict(frozen=True)

    cpu: str
    cores: int  # that this process may use
    memory_gb: float
    system: str


def this_machine() -> Machine:
    """Look at the machine that this process runs on."""
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        system=f"{platform.system()} {platform.release()}",
    )


def installed_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of the packages that did the work, as far as they are installed."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name"))
    return next((model for model in models if model), platform.processor() or platform.machine())
