"""Compiling a model folder for a target: build, compare with the golden clip, and refuse what says other things.

The result is a model folder of its own, with the golden clip and, where the target needs one, ``engine``: written beside its
place and put there only when all gates are passed, so that there is never an engine that nobody checked.

Gates. Every engine must agree with ONNX Runtime at full precision on the golden clip (``sightline_contract.parity.BARS``). One
with 8 bits may differ more there, and must prove that it is still a good detector: on labelled pictures its mAP50 may fall by
``MAX_MAP50_LOSS`` at most; without labels the objects of which either side is quite sure must agree.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import onnx

from sightline_contract.errors import ConfigError, ParityError, StorageError
from sightline_contract.manifest import ENGINE_PART, GOLDEN_PART, THRESHOLDS_PART
from sightline_contract.model_card import CARD_FILE, MODEL_FILE, load_card
from sightline_contract.parity import BARS, Bars, Golden, Parity, check_parity, write_golden
from sightline_contract.targets import Precision, Runtime, Target
from sightline_models.compile.calibration import quantize
from sightline_models.compile.dynamic_batch import free_batch
from sightline_models.compile.golden import Clip, Detects, OpenDetector, make_golden
from sightline_models.compile.tensorrt_engine import DEFAULT_LEVEL, BuildOptions, build_engine

# Absolute; two runs of training differ by as much.
MAX_MAP50_LOSS: Final = 0.02
# Without labels: what a threshold of use would let through must be the same for 19 of 20 objects.
UNLABELLED_BARS: Final = Bars(min_agreement=0.95, min_mean_iou=0.85, max_mean_score_gap=0.08, sure_score=0.5)

_EIGHT_BITS: Final = (Precision.INT8, Precision.FP8)

# mAP50 of a detector on labelled pictures.
Accuracy = Callable[[Detects], float]


@dataclass(frozen=True)
class Compiled:
    """A model folder for a target, and what was measured on the way."""

    folder: Path
    target: Target
    engine: Path | None  # None where the runtime reads the ONNX file as it is
    build_s: float
    engine_bytes: int
    timing_cache_found: bool
    parity: Parity
    sure_agreement: float | None = None  # of 8 bits without labels
    map50: float | None = None  # of 8 bits with labels
    map50_full: float | None = None  # of the model at full precision

    def figures(self) -> dict[str, float | int | str | bool]:
        """All numbers, flat."""
        own = {
            "build_s": round(self.build_s, 3),
            "engine_bytes": self.engine_bytes,
            "timing_cache_found": self.timing_cache_found,
            "sure_agreement": self.sure_agreement,
            "map50": self.map50,
            "map50_full": self.map50_full,
        }
        parity = {f"parity_{name}": value for name, value in asdict(self.parity).items()}
        return {name: value for name, value in {**own, **parity}.items() if value is not None}


@dataclass(frozen=True)
class Order:
    """What to compile and with what."""

    folder: Path  # of the model
    target: Target
    clip: Clip
    out: Path  # becomes a model folder
    caches: Path  # folder of TensorRT's timings, a file a target
    open_detector: OpenDetector
    accuracy: Accuracy | None = None
    level: int = DEFAULT_LEVEL


def compile_model(
    order: Order, log: Callable[[Compiled], None] | None = None, log_refusal: Callable[[str], None] | None = None
) -> Compiled:
    """Build, check and put in place; ``log`` hears of what passed, ``log_refusal`` why a gate refuses. Replaces ``out``.

    Raises ParityError where a gate refuses, ModelError where the clip or the model is of no use, ToolMissingError where the
    target is not this machine's, StorageError.
    """
    if order.out.resolve() == order.folder.resolve():
        raise ConfigError(f"{order.out}: is the model's own folder: give another --out")
    full = order.open_detector(order.folder, None)
    golden = make_golden(order.clip.golden, full)
    try:
        order.out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".compile-", dir=order.out.parent) as work:
            made = Path(work) / "model"
            _copy_parts(order.folder, made)
            write_golden(made / GOLDEN_PART, golden)
            built = _build(order, made, full)
            try:
                compiled = _gated(order, built, golden, full)
            except ParityError as refusal:
                if log_refusal:
                    log_refusal(str(refusal))
                raise
            if order.out.exists():
                order.out.rename(Path(work) / "replaced")
            made.rename(order.out)
    except OSError as error:
        raise StorageError(f"{order.out}: cannot be written ({error.strerror}): free space or choose another folder") from error
    finally:
        full.close()
    placed = replace(compiled, folder=order.out, engine=order.out / ENGINE_PART if compiled.engine else None)
    if log:
        log(placed)
    return placed


@dataclass(frozen=True)
class _Made:
    folder: Path
    build_s: float
    timing_cache_found: bool = False

    @property
    def engine(self) -> Path | None:
        engine = self.folder / ENGINE_PART
        return engine if engine.is_file() else None


def _copy_parts(source: Path, into: Path) -> None:
    into.mkdir()
    for part in (MODEL_FILE, CARD_FILE, THRESHOLDS_PART):
        if (source / part).is_file():
            shutil.copyfile(source / part, into / part)


def _build(order: Order, made: Path, full: Detects) -> _Made:
    """Write the engine, where the target has one."""
    name, precision = load_card(order.folder).name, order.target.precision
    source = onnx.load(order.folder / MODEL_FILE)
    began_s = time.perf_counter()
    model = free_batch(source, name)
    if precision in _EIGHT_BITS:
        model = quantize(model, (full.prepare(frame).tensor[None] for frame in order.clip.calibration), precision, name)
    if order.target.runtime is Runtime.TENSORRT:
        options = BuildOptions(precision, level=order.level)
        cache = order.caches / f"{order.target}.timings"
        built = build_engine(model.SerializeToString(), name, options, made / ENGINE_PART, cache)
        return _Made(made, built.build_s, built.timing_cache_found)
    if model is not source:
        onnx.save(model, made / ENGINE_PART)
    return _Made(made, time.perf_counter() - began_s)


def _gated(order: Order, made: _Made, golden: Golden, full: Detects) -> Compiled:
    """The figures of an engine that passes all gates; raises ParityError."""
    what, precision = f"{full.card.name} for {order.target}", order.target.precision
    engine = order.open_detector(made.folder, order.target)
    try:
        seen = engine.see(golden.frames, golden.min_score)
        parity = check_parity(golden, seen, BARS[precision], what)
        compiled = Compiled(
            made.folder, order.target, made.engine, made.build_s, made.engine.stat().st_size if made.engine else 0,
            made.timing_cache_found, parity,
        )  # fmt: skip
        if precision not in _EIGHT_BITS:
            return compiled
        if order.accuracy is None:
            sure = check_parity(golden, seen, UNLABELLED_BARS, what)
            return replace(compiled, sure_agreement=sure.agreement)
        before, after = order.accuracy(full), order.accuracy(engine)
        if not after >= before - MAX_MAP50_LOSS:
            raise ParityError(
                f"{what}: loses too much (mAP50 {after:.3f}, {before:.3f} at full precision): compile it at a higher precision"
            )
        return replace(compiled, map50=after, map50_full=before)
    finally:
        engine.close()
