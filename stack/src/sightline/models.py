"""``sightline models``: models go into the cache, the registry is the local stack's, the edge's detector runs them."""

from pathlib import Path

from sightline.cache import models_dir
from sightline.ports import LOOPBACK
from sightline.registry_service import DEFAULT_REGISTRY_PORT
from sightline.rollout.commands import add_rollout_commands
from sightline_models.commands import build_models_app
from sightline_models.evaluation import EvaluatedDetector, OpenDetector
from sightline_models.registry_commands import add_registry_commands

# Latency is comparable between machines and models only where the number of threads is the same: an edge node's usual two.
_THREADS = 2


def _open_detector(folder: Path, min_score: float) -> EvaluatedDetector:
    from sightline_edge.detector import Detector  # 'models list' needs no runtime

    return Detector(folder, min_score, _THREADS, max_batch=1)


models_app = build_models_app(models_dir())
add_registry_commands(models_app, f"http://{LOOPBACK}:{DEFAULT_REGISTRY_PORT}", OpenDetector(_open_detector, _THREADS))
add_rollout_commands(models_app)
