"""Which targets this machine can compile for, and why not the others."""

import importlib.util
import platform
from dataclasses import dataclass
from typing import Final

from sightline_contract.errors import ConfigError, ToolMissingError
from sightline_contract.targets import Precision, Runtime, Target, parse_target
from sightline_models.compile.gpu import gpu_architecture
from sightline_models.compile.tensorrt_engine import tensorrt_version

# fp8 tensor cores came with Ada and Hopper.
_FP8_SINCE: Final = 89


@dataclass(frozen=True)
class Possible:
    """A runtime at a precision here: its target, or the reason why there is none."""

    runtime: Runtime
    precision: Precision
    target: Target | None
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.runtime}:{self.precision}"


def possible_targets() -> list[Possible]:
    """Every runtime at every precision, as it is on this machine."""
    return [_possible(runtime, precision) for runtime in Runtime for precision in Precision]


def target_here(text: str) -> Target:
    """The target of ``tensorrt:fp16``, or of a whole one, which must be this machine's.

    Raises ConfigError for what is none, ToolMissingError for what this machine cannot build.
    """
    try:
        runtime, colon, precision = text.partition(":")
        wanted = None if colon else parse_target(text)
        possible = _possible(
            wanted.runtime if wanted else Runtime(runtime), wanted.precision if wanted else Precision(precision)
        )
    except ValueError as error:
        raise ConfigError(f"--target {text}: is no target ({error}): see 'sightline models targets'") from error
    if possible.target is None:
        raise ToolMissingError(f"--target {text}: {possible.reason}")
    if wanted and wanted != possible.target:
        raise ToolMissingError(f"--target {text}: this machine builds {possible.target}: compile on the device, or one like it")
    return possible.target


def _possible(runtime: Runtime, precision: Precision) -> Possible:
    if runtime is Runtime.TENSORRT:
        return _tensorrt(precision)
    target = Target(runtime=runtime, version="any", architecture=platform.machine(), precision=precision)
    reason = _onnxruntime_reason(precision) if runtime is Runtime.ONNXRUNTIME else _openvino_reason(precision)
    return Possible(runtime, precision, None if reason else target, reason)


def _tensorrt(precision: Precision) -> Possible:
    try:
        architecture = gpu_architecture()
        version = tensorrt_version()
    except ToolMissingError as error:
        return Possible(Runtime.TENSORRT, precision, None, str(error))
    if precision is Precision.FP8 and int(architecture.removeprefix("sm_")) < _FP8_SINCE:
        return Possible(Runtime.TENSORRT, precision, None, f"{architecture} has no fp8 arithmetic: choose int8")
    target = Target(runtime=Runtime.TENSORRT, version=version, architecture=architecture, precision=precision)
    return Possible(Runtime.TENSORRT, precision, target)


def _onnxruntime_reason(precision: Precision) -> str:
    if precision in (Precision.FP32, Precision.INT8):
        return ""
    return f"ONNX Runtime runs no {precision} on a CPU: choose fp32 or int8"


def _openvino_reason(precision: Precision) -> str:
    if importlib.util.find_spec("openvino") is None:
        return "OpenVINO is not installed: install sightline[edge-openvino]"
    if precision is Precision.FP8:
        return "OpenVINO runs no fp8 on a CPU: choose fp32, fp16 or int8"
    if precision is Precision.FP16:
        import openvino as ov

        if "FP16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            return "this CPU has no fp16 arithmetic: choose fp32 or int8"
    return ""
