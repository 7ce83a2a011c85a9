"""Engines of a registered version: what it was compiled to for each target, and what the gates said of that."""

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

_ENGINE_TAG: Final = "engine."
_PARITY_TAG: Final = "parity."


def log_engine(registry: Registry, version: Version, target: Target, engine: Path) -> None:
    """Keep an engine; the one that was kept for the target before is written over."""
    with explained(registry.uri):
        registry.client.log_artifact(version.run_id, str(engine), _files_of(target))
    registry.set_tag(version, f"{_ENGINE_TAG}{target}", "made")  # last: who sees the tag finds the file


def engine_targets(version: Version) -> list[str]:
    """The targets, as text, for which the version, freshly read, has an engine."""
    return _targets(version, _ENGINE_TAG)


def download_engine(registry: Registry, version: Version, target: Target, into: Path) -> Path:
    """The engine's file, in a folder below ``into``; raises RegistryError where there is none."""
    if str(target) not in engine_targets(registry.version(version.name, version.number)):
        raise RegistryError(f"registry {shown(registry.uri)}: {version} has no engine for {target}: compile it")
    return registry.fetch(version, _files_of(target), into)


def log_parity(registry: Registry, version: Version, target: Target, *, passed: bool, figures: Figures) -> None:
    """Keep what compiling for the target measured and what the gates said; one that was refused is not rolled out."""
    place = _parity_of(target)
    with explained(registry.uri):
        content = {"passed": passed, **figures}
        registry.client.log_text(version.run_id, json.dumps(content, indent=2), f"{place}.json")
        numbers = {f"{place}/{key}": float(value) for key, value in content.items() if isinstance(value, bool | int | float)}
        log_metrics(registry.client, version.run_id, numbers)
    registry.set_tag(version, f"{_PARITY_TAG}{target}", "passed" if passed else "refused")


def parity(registry: Registry, version: Version) -> dict[str, Figures]:
    """What was measured and said, ``passed`` among it, by the targets for which the version, freshly read, was compiled."""
    return {target: _read_json(registry, version, f"{_parity_of(target)}.json") for target in _targets(version, _PARITY_TAG)}


def was_refused(version: Version, target: str) -> bool:
    """Whether the gates refused the version, freshly read, for the target's text."""
    return version.tags.get(f"{_PARITY_TAG}{target}") == "refused"


def _targets(version: Version, tag: str) -> list[str]:
    return sorted(key.removeprefix(tag) for key in version.tags if key.startswith(tag))


def _files_of(target: Target) -> str:
    return f"engines/{target}/files"


def _parity_of(target: Target | str) -> str:
    return f"parity/{target}"


def _read_json(registry: Registry, version: Version, artifact: str) -> Figures:
    with tempfile.TemporaryDirectory() as scratch:
        content: Figures = json.loads(registry.fetch(version, artifact, Path(scratch)).read_text(encoding="utf-8"))
    return content
