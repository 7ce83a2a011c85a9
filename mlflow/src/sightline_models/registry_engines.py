"""Engines of a registered version: what it was compiled to for each target, and whether that says the same as the ONNX file."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sightline_contract.errors import RegistryError
from sightline_contract.targets import Target
from sightline_models.mlflow_access import explained, shown
from sightline_models.registry import Registry, Version
from sightline_models.registry_run import log_metrics

Figures = Mapping[str, float | int | str | bool]

_ENGINES: Final = "engines"
_PARITY: Final = "parity"
_FIGURES_FILE: Final = "figures.json"
_FILES_FOLDER: Final = "files"


def log_engine(registry: Registry, version: Version, target: Target, path: Path, figures: Figures) -> None:
    """Keep an engine (a file or a folder of files) and its figures; what was kept for the target before is written over."""
    place = f"{_ENGINES}/{target}"
    with explained(registry.uri):
        client, run_id = registry.client, version.run_id
        if path.is_dir():
            client.log_artifacts(run_id, str(path), f"{place}/{_FILES_FOLDER}")
        else:
            client.log_artifact(run_id, str(path), f"{place}/{_FILES_FOLDER}")
        client.log_text(run_id, json.dumps(dict(figures), indent=2), f"{place}/{_FIGURES_FILE}")
        log_metrics(client, run_id, {f"{place}/{key}": float(value) for key, value in figures.items() if _is_number(value)})
    registry.set_tag(version, f"engine.{target}", "made")  # last: who sees the tag finds the files


def engine_targets(version: Version) -> list[str]:
    """The targets, as text, for which the version, freshly read, has an engine."""
    return sorted(key.removeprefix("engine.") for key in version.tags if key.startswith("engine."))


def engine_figures(registry: Registry, version: Version, target: Target) -> dict[str, float | int | str | bool]:
    """What was kept with the engine; raises RegistryError where there is none."""
    return _read_json(registry, version, f"{_engine(registry, version, target)}/{_FIGURES_FILE}")


def download_engine(registry: Registry, version: Version, target: Target, into: Path) -> Path:
    """The engine's files, in a folder below ``into``; raises RegistryError where there is none."""
    return registry.fetch(version, f"{_engine(registry, version, target)}/{_FILES_FOLDER}", into)


def log_parity(registry: Registry, version: Version, target: Target, *, passed: bool, figures: Figures) -> None:
    """Keep what the parity gate said of the version's engine for the target."""
    place = f"{_PARITY}/{target}"
    with explained(registry.uri):
        content = {"passed": passed, **figures}
        registry.client.log_text(version.run_id, json.dumps(content, indent=2), f"{place}.json")
        numbers = {f"{place}/{key}": float(value) for key, value in content.items() if _is_number(value)}
        log_metrics(registry.client, version.run_id, numbers)
    registry.set_tag(version, f"parity.{target}", "passed" if passed else "refused")


def parity(registry: Registry, version: Version, target: Target) -> dict[str, float | int | str | bool] | None:
    """What the gate said, ``passed`` among it; None where it was never asked."""
    if f"parity.{target}" not in registry.version(version.name, version.number).tags:
        return None
    return _read_json(registry, version, f"{_PARITY}/{target}.json")


def _engine(registry: Registry, version: Version, target: Target) -> str:
    if str(target) not in engine_targets(registry.version(version.name, version.number)):
        raise RegistryError(f"registry {shown(registry.uri)}: {version} has no engine for {target}: compile it")
    return f"{_ENGINES}/{target}"


def _read_json(registry: Registry, version: Version, artifact: str) -> dict[str, float | int | str | bool]:
    with tempfile.TemporaryDirectory() as scratch:
        content: dict[str, float | int | str | bool] = json.loads(registry.fetch(version, artifact, Path(scratch)).read_text())
    return content


def _is_number(value: object) -> bool:
    return isinstance(value, bool | int | float)
