"""Golden clips for bundles: what each version says on ONNX Runtime to the same frames of a clip."""

from pathlib import Path
from typing import Final

from sightline.clip_frames import spread_frames
from sightline_contract.manifest import GOLDEN_PART
from sightline_contract.parity import write_golden
from sightline_models.compile.golden import GOLDEN_FRAMES, make_golden
from sightline_models.registry import Version

_THREADS: Final = 2
_FIT: Final = (640, 360)  # px; every detector here scales its frames to about so much


class GoldenClips:
    """Makes each version's golden clip once; raises SourceError or ModelError."""

    def __init__(self, clip: Path) -> None:
        self._clip = clip
        self._made: dict[str, Path] = {}

    def __call__(self, version: Version, folder: Path) -> Path:
        """The file, beside the model folder."""
        from sightline_edge.detector import Detector

        if str(version) not in self._made:
            detector = Detector(folder, 0.0, _THREADS, max_batch=1)
            try:
                golden = make_golden(spread_frames(self._clip, GOLDEN_FRAMES, _FIT), detector)
            finally:
                detector.close()
            path = folder.parent / f"{folder.name}-{GOLDEN_PART}"
            write_golden(path, golden)
            self._made[str(version)] = path
        return self._made[str(version)]
