"""What ``models_gpu`` needs of models, in a folder: python -m sightline.bench.models_kit KIT CLIP NAME=FOLDER..."""

import shutil
import sys
from pathlib import Path

import onnx

from sightline.clip_frames import spread_frames
from sightline_contract.manifest import GOLDEN_PART
from sightline_contract.model_card import CARD_FILE, MODEL_FILE, load_card
from sightline_contract.parity import write_golden
from sightline_contract.targets import Precision
from sightline_edge.detector import Detector
from sightline_models.compile.calibration import quantize
from sightline_models.compile.dynamic_batch import free_batch
from sightline_models.compile.golden import CALIBRATION_FRAMES, GOLDEN_FRAMES, make_golden, split_clip


def write_kit(kit: Path, clip: Path, models: dict[str, Path]) -> None:
    """Each model with free batch, with int8 and with fp8, and its golden clip; raises a SightlineError."""
    for name, folder in models.items():
        into = kit / "models" / name
        into.mkdir(parents=True, exist_ok=True)
        for part in (CARD_FILE, MODEL_FILE):
            shutil.copyfile(folder / part, into / part)
        frames = split_clip(spread_frames(clip, GOLDEN_FRAMES + CALIBRATION_FRAMES, load_card(folder).input.size), str(clip))
        detector = Detector(folder, 0.1, 2, 16)
        write_golden(into / GOLDEN_PART, make_golden(frames.golden, detector))
        free = free_batch(onnx.load(folder / MODEL_FILE), name)
        onnx.save(free, into / "dynamic.onnx")
        for precision in (Precision.INT8, Precision.FP8):
            batches = (detector.prepare(frame).tensor[None] for frame in frames.calibration)
            onnx.save(quantize(free, batches, precision, name), into / f"{precision}.onnx")


if __name__ == "__main__":
    write_kit(Path(sys.argv[1]), Path(sys.argv[2]), {n: Path(f) for n, _, f in (text.partition("=") for text in sys.argv[3:])})
