"""``sightline models``, with the cache as the place where models go, and the edge's detector to run them."""

from pathlib import Path
from typing import TYPE_CHECKING

from sightline.cache import cache_dir, models_dir
from sightline_contract.parity import Pixels
from sightline_contract.targets import Target
from sightline_models.commands import build_models_app
from sightline_models.compile_commands import CompileTools, add_compile_commands

if TYPE_CHECKING:
    from sightline_edge.detector import Detector

_THREADS = 2
_BATCH = 16
# Low enough for a mean average precision; gates that need another ask for it.
_MIN_SCORE = 0.01


def open_detector(folder: Path, target: Target | None) -> "Detector":
    """The edge's detector, as the gates of compiling want it; raises ModelError."""
    from sightline_edge.detector import Detector  # 'models list' needs no runtime

    return Detector(folder, _MIN_SCORE, _THREADS, _BATCH, target)


def _spread_frames(video: Path, count: int, fit: tuple[int, int]) -> list[Pixels]:
    from sightline.clip_frames import spread_frames

    return spread_frames(video, count, fit)


models_app = build_models_app(models_dir())
add_compile_commands(models_app, CompileTools(models_dir(), cache_dir() / "engines", open_detector, _spread_frames))
