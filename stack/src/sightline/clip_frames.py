"""Pictures out of a video file, spread over its whole length."""

from pathlib import Path

import av
import av.error
import cv2
import numpy as np

from sightline_contract.errors import SourceError
from sightline_contract.parity import Pixels


def spread_frames(video: Path, count: int, fit: tuple[int, int] | None = None) -> list[Pixels]:
    """At most ``count`` BGR frames, evenly spread, made to fit into (width, height) px where larger; raises SourceError."""
    try:
        with av.open(str(video)) as container:
            total = sum(1 for _ in container.decode(video=0))
        if not total:
            raise SourceError(f"{video}: has no frame: give a video")
        wanted = set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist())
        with av.open(str(video)) as container:
            return [
                _fitted(np.asarray(frame.to_ndarray(format="bgr24"), np.uint8), fit)
                for index, frame in enumerate(container.decode(video=0))
                if index in wanted
            ]
    except (OSError, IndexError, av.error.FFmpegError) as error:
        raise SourceError(f"{video}: cannot be read as a video ({error}): check the path") from error


def _fitted(pixels: Pixels, fit: tuple[int, int] | None) -> Pixels:
    height, width = pixels.shape[:2]
    ratio = min(1.0, *(limit / side for limit, side in zip(fit, (width, height), strict=True))) if fit else 1.0
    if ratio == 1.0:
        return pixels
    size = max(1, int(width * ratio)), max(1, int(height * ratio))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
