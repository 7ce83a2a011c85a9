"""Building a TensorRT engine. Of this package the only file that loads TensorRT, and only when something is built.

An engine is built on the architecture that it will run on: the builder times every kernel on the GPU. Those timings are kept
per target in a cache file, so that building the same model again takes seconds.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from sightline_contract.errors import ModelError, StorageError, ToolMissingError
from sightline_contract.targets import Precision
from sightline_models.compile.gpu import gpu_architecture

# The builder's own default of 0..5: more tries more kernels.
DEFAULT_LEVEL: Final = 3
WORKSPACE_BYTES: Final = 4 << 30


@dataclass(frozen=True)
class Profile:
    """Batch sizes that an engine takes, and the one that its kernels are chosen for."""

    least: int
    best: int
    most: int


# The nodes of a site batch the pictures of up to 64 cameras; kernels are chosen for the middle.
DEFAULT_PROFILES: Final = (Profile(1, 16, 64),)


@dataclass(frozen=True)
class BuildOptions:
    """How to build."""

    precision: Precision
    profiles: tuple[Profile, ...] = DEFAULT_PROFILES
    level: int = DEFAULT_LEVEL
    half_tensors: bool = False  # input and output tensors in fp16: half the bytes to copy
    timings: int = 1  # of each kernel, averaged


@dataclass(frozen=True)
class Built:
    """What building cost."""

    build_s: float
    cpu_s: float  # of all threads: of more than build_s there was something to compile side by side
    engine_bytes: int
    timing_cache_found: bool


def build_engine(
    model: bytes, name: str, options: BuildOptions, engine: Path, timing_cache: Path, log: Path | None = None
) -> Built:
    """Build ``engine`` out of an ONNX file's content with a free batch size; raises ModelError, ToolMissingError, StorageError.

    For int8 and fp8 the content has Q/DQ nodes (see ``calibration``); what they do not cover runs at fp16. ``log`` takes all
    that TensorRT says, with seconds since the beginning: megabytes, from which one sees where the time goes.
    """
    trt = _tensorrt()
    gpu_architecture()  # says that there is no GPU: TensorRT would end the process
    logger = _Log(trt, log).logger
    builder = trt.Builder(logger)
    builder.max_threads = os.cpu_count() or 1  # kernels are compiled side by side, and timed one by one
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise ModelError(f"{name}: TensorRT {trt.__version__} cannot read it ({_short(reasons)}): choose a CPU target")
    config = _config(trt, builder, network, options)
    found = timing_cache.is_file()
    cache = config.create_timing_cache(timing_cache.read_bytes() if found else b"")
    config.set_timing_cache(cache, False)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    plan = builder.build_serialized_network(network, config)
    build_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    if plan is None:
        raise ModelError(
            f"{name}: TensorRT {trt.__version__} builds no {options.precision} engine ({_short(_Log.last)}): "
            "choose another precision"
        )
    content = bytes(plan)
    _write(engine, content)
    _write(timing_cache, bytes(config.get_timing_cache().serialize()))
    return Built(build_s, cpu_s, len(content), found)


def tensorrt_version() -> str:
    """The version that engines are built for; raises ToolMissingError."""
    return str(_tensorrt().__version__)


def _tensorrt() -> ModuleType:
    """TensorRT, under the name of its package or of its bindings; raises ToolMissingError."""
    try:
        import tensorrt as trt
    except ImportError:
        try:
            import tensorrt_bindings as trt
        except ImportError as error:
            raise ToolMissingError(
                f"TensorRT cannot be loaded ({error}): compile on a machine with it, or for a CPU target"
            ) from error
    module: ModuleType = trt
    return module


def _config(trt: Any, builder: Any, network: Any, options: BuildOptions) -> Any:
    config = builder.create_builder_config()
    config.builder_optimization_level = options.level
    config.avg_timing_iterations = options.timings
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    flags = {
        Precision.FP32: (),
        Precision.FP16: ("FP16",),
        Precision.INT8: ("INT8", "FP16"),
        Precision.FP8: ("FP8", "FP16"),
    }[options.precision]
    for flag in flags:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    if options.precision is Precision.FP32:
        # TF32 has fp16's mantissa: what is called fp32 shall be it.
        config.clear_flag(trt.BuilderFlag.TF32)
    first = network.get_input(0)
    for of in options.profiles:
        profile = builder.create_optimization_profile()
        shape = tuple(first.shape)[1:]
        profile.set_shape(first.name, (of.least, *shape), (of.best, *shape), (of.most, *shape))
        config.add_optimization_profile(profile)
    if options.half_tensors:
        tensors = [first, *(network.get_output(index) for index in range(network.num_outputs))]
        for tensor in tensors:
            tensor.dtype = trt.float16
    return config


class _Log:
    """TensorRT's log: its errors are kept for the one line that is shown; the rest goes to a file, where one is given."""

    last: Sequence[str] = ()

    def __init__(self, trt: Any, path: Path | None) -> None:
        began_s, file = time.perf_counter(), path.open("w", encoding="utf-8") if path else None

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()

            def log(self, severity: Any, message: str) -> None:
                if severity <= trt.ILogger.Severity.ERROR:
                    _Log.last = (*_Log.last[-4:], message)
                if file:
                    print(f"{time.perf_counter() - began_s:.3f}", message, file=file, flush=True)

        _Log.last = ()
        self.logger = Logger()


def _short(reasons: Sequence[str]) -> str:
    lines = [" ".join(reason.split()) for reason in reasons]
    return (lines[-1] if lines else "it does not say why")[:200]


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".new")
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}): free space or choose another folder") from error
