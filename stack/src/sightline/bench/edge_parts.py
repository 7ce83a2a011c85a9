"""What single parts of a node cost: an audit clip's frame, the figures of a frame, a masked line of the log."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from prometheus_client import generate_latest

from sightline_edge.clips.clock import Instant
from sightline_edge.clips.ledger import LEDGER_FILE, Deletion, Ledger, Reason
from sightline_edge.clips.store import Offered, Store
from sightline_edge.config import ClipsConfig
from sightline_edge.frame import Pixels
from sightline_edge.health.masking import mask, register_secret
from sightline_edge.health.metrics import Metrics, Stage

_WIDTH, _HEIGHT, _PEOPLE = 1920, 1080, 12
_FRAMES = 300
_START_US = 1_900_000_000_000_000
_LINE = "rtsp://viewer:secret@10.0.0.17:554/1: the stream ended; trying again in 2 s"


class Street:
    """A moving picture in 1080p, drawn: paving and signs, twelve people who walk, a sensor's noise."""

    def __init__(self, seed: int = 1) -> None:
        chance = np.random.default_rng(seed)
        blocks = chance.integers(60, 190, (34, 60, 3), np.uint8)
        self._ground = np.asarray(cv2.resize(blocks, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)
        for _ in range(120):
            x, y, width, height = (int(chance.integers(low, high)) for low, high in _SIGN)
            colour = tuple(int(value) for value in chance.integers(30, 220, 3))
            cv2.rectangle(self._ground, (x, y), (x + width, y + height), colour, int(chance.choice([-1, 2])))
        grain = (chance.normal(0, 6, (_HEIGHT, _WIDTH)).astype(np.float32) for _ in range(7))
        self._noise = [np.asarray(cv2.GaussianBlur(each, (0, 0), 0.8))[..., None] for each in grain]

    def frame(self, number: int) -> tuple[Pixels, npt.NDArray[np.float32]]:
        """Picture ``number`` and its people, (N, 4) corners in px."""
        picture, boxes = self._ground.copy(), []
        for person in range(_PEOPLE):
            x, y = (person * 157 + number * (6 + person)) % (_WIDTH - 90), 250 + 57 * person
            swing = round(18 * float(np.sin(number * 0.9 + person)))
            coat = (40 + 15 * person, 200 - 12 * person, 90 + 9 * person)
            cv2.rectangle(picture, (x + 12, y), (x + 58, y + 100), coat, -1)
            for step in (swing, -swing):
                cv2.line(picture, (x + 35, y + 100), (x + 35 + step, y + 190), (60, 50, 40), 16)
            cv2.circle(picture, (x + 35, y - 22), 22, (120, 150, 200), -1)
            boxes.append((x, y - 45, x + 70, y + 195))
        noisy = np.clip(picture + self._noise[number % len(self._noise)], 0, 255)
        return noisy.astype(np.uint8), np.array(boxes, np.float32)


# Ranges of a sign's place and size, px.
_SIGN = ((0, _WIDTH), (0, _HEIGHT), (20, 160), (20, 120))


def measure_parts() -> dict[str, Any]:
    """Everything, by part."""
    return {
        "clips": measure_clips(),
        "ledger_row_bytes": measure_ledger(),
        "figures_us": measure_figures(),
        "masked_line_us": measure_masking(),
    }


def measure_clips(frames: int = _FRAMES) -> dict[str, dict[str, float]]:
    """CPU and bytes of a stored 1080p frame, at five a second."""
    street = Street()
    return {
        "not blurred": _clip(street, frames, blurred=False),
        f"{_PEOPLE} people blurred": _clip(street, frames, blurred=True),
    }


def _clip(street: Street, frames: int, *, blurred: bool) -> dict[str, float]:
    config, spent_s = ClipsConfig(), []
    with tempfile.TemporaryDirectory(prefix="sightline-clips-") as folder:
        store = Store(config, Path(folder), "bench", Instant(_START_US, 0, "boot"))
        for number in range(frames):
            pixels, people = street.frame(number)
            passed_us = round(number / config.frames_per_s * 1e6)
            now = Instant(_START_US + passed_us, passed_us, "boot")
            boxes = people if blurred else people[:0]
            began_s = time.process_time()
            store.append(Offered("street", pixels, now.wall_us, now.wall_us, boxes, now))
            spent_s.append(time.process_time() - began_s)
        store.close(now)
        bytes_a_frame = store.bytes / frames
    hour_gb = bytes_a_frame * config.frames_per_s * 3600 / 1e9
    return {"cpu_ms": float(np.median(spent_s)) * 1000, "bytes": bytes_a_frame, "gb_an_hour": hour_gb}


def measure_ledger(rows: int = 2000) -> float:
    """Bytes of a deletion in the ledger."""
    with tempfile.TemporaryDirectory(prefix="sightline-clips-") as folder:
        ledger = Ledger(Path(folder))
        for number in range(rows):
            at_us = _START_US + number * 60_000_000
            times = at_us, at_us + 60_000_000
            ledger.tell(Deletion(f"gate-north/{number:010d}.mkv", "gate-north", *times, 16_000_000, 300, times[1], Reason.AGE))
        ledger.close()
        return (Path(folder) / LEDGER_FILE).stat().st_size / rows


def measure_figures() -> dict[str, float]:
    """Microseconds: the calls of one frame with six detections, those of its scores alone, and one page."""
    metrics = Metrics("bench", [f"camera-{number}" for number in range(8)])
    scores, classes = np.linspace(0.1, 0.9, 6, dtype=np.float32), np.zeros(6, np.uint8)

    def frame() -> None:
        metrics.frame("camera-1")
        metrics.stage(Stage.PREPARE, 0.002)
        metrics.stage(Stage.QUEUE, 0.01)
        metrics.inference(0.05, 1, 8)
        metrics.stage(Stage.POST, 0.0005)
        metrics.scores(scores, classes)

    return {
        "frame": _us(frame, 20_000),
        "scores": _us(lambda: metrics.scores(scores, classes), 20_000),
        "page": _us(lambda: generate_latest(metrics.registry), 50),
    }


def measure_masking() -> float:
    """Microseconds of one line of the log, one secret registered."""
    register_secret("secret")
    return _us(lambda: mask(_LINE), 5_000)


def _us(call: Callable[[], object], times: int, repeats: int = 5) -> float:
    """Median of the repeats."""
    took_s = []
    for _ in range(repeats):
        began_s = time.perf_counter()
        for _ in range(times):
            call()
        took_s.append((time.perf_counter() - began_s) / times)
    return float(np.median(took_s)) * 1e6
