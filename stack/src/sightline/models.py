"""``sightline models``: models go into the cache, the registry is the local stack's, the edge's detector runs them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sightline.cache import cache_dir, models_dir
from sightline.ports import LOOPBACK
from sightline.registry_service import DEFAULT_REGISTRY
from sightline.rollout.commands import add_rollout_commands
from sightline_contract.events import AuditRecord
from sightline_contract.parity import Pixels
from sightline_contract.targets import Target
from sightline_models.commands import build_models_app
from sightline_models.compile_commands import CompileTools, add_compile_commands
from sightline_models.evaluation import EvaluatedDetector, OpenDetector
from sightline_models.registry_commands import add_registry_commands

if TYPE_CHECKING:
    from sightline_edge.detector import Detector

# Latency is comparable between machines and models only where the number of threads is the same: an edge node's usual two.
_THREADS = 2
_BATCH = 16
# Low enough for a mean average precision; gates that need another ask for it.
_MIN_SCORE = 0.01
# HOST:PORT of the central broker, to which the audit log's records go; without it the local stack's.
BOOTSTRAP_VARIABLE = "SIGHTLINE_BOOTSTRAP"


def open_detector(folder: Path, target: Target | None) -> "Detector":
    """The edge's detector, as the gates of compiling want it; raises ModelError."""
    from sightline_edge.detector import Detector  # 'models list' needs no runtime

    return Detector(folder, _MIN_SCORE, _THREADS, _BATCH, target)


def _open_to_evaluate(folder: Path, min_score: float) -> EvaluatedDetector:
    from sightline_edge.detector import Detector

    return Detector(folder, min_score, _THREADS, max_batch=1)


def _open_labelled(folder: Path) -> Callable[[Any], float]:
    """mAP50 of a detector on the labelled set in a folder."""
    from sightline_models.evaluation import evaluate, load_labelled_set

    labelled = load_labelled_set(folder)
    return lambda detector: evaluate(detector, labelled, _THREADS).map50


def _spread_frames(video: Path, count: int, fit: tuple[int, int]) -> list[Pixels]:
    from sightline.clip_frames import spread_frames

    return spread_frames(video, count, fit)


def _announce(record: AuditRecord) -> None:
    from sightline.audit.announce import announcer
    from sightline.broker import DEFAULT_PORT

    bootstrap = os.environ.get(BOOTSTRAP_VARIABLE) or f"{LOOPBACK}:{DEFAULT_PORT}"
    announcer(bootstrap, tell=lambda line: typer.echo(line, err=True))(record)


models_app = build_models_app(models_dir())
add_registry_commands(models_app, DEFAULT_REGISTRY, OpenDetector(_open_to_evaluate, _THREADS), _announce)
add_compile_commands(
    models_app,
    CompileTools(models_dir(), cache_dir() / "engines", open_detector, _spread_frames, _open_labelled, DEFAULT_REGISTRY),
)
add_rollout_commands(models_app)
