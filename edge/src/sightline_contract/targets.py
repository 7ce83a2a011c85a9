"""What a model is compiled for: a runtime of a version, on an architecture, at a precision."""

from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

from sightline_contract.settings import Settings

_Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.]+$", max_length=64)]


class Runtime(StrEnum):
    """What runs the model."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"


class Precision(StrEnum):
    """How numbers are held while it runs."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    FP8 = "fp8"


class Target(Settings):
    """A place to run: an engine made for one runs on no other.

    ``architecture`` is the processor's: ``x86_64`` or ``aarch64`` of a CPU, ``sm_90`` of an NVIDIA GPU. ``version`` is the
    runtime's, as far as an engine depends on it: TensorRT's whole version; of runtimes that compile when they load, ``any``.
    """

    runtime: Runtime
    version: _Word
    architecture: _Word
    precision: Precision

    def __str__(self) -> str:
        return f"{self.runtime}-{self.version}-{self.architecture}-{self.precision}"


def parse_target(text: str) -> Target:
    """The target that ``str`` of one gave, as in ``tensorrt-10.6.0-sm_90-fp16``; raises ValueError."""
    words = text.split("-")
    if len(words) != 4:
        raise ValueError(f"{text!r} is no target such as tensorrt-10.6.0-sm_90-fp16 or onnxruntime-any-x86_64-fp32")
    return Target(runtime=Runtime(words[0]), version=words[1], architecture=words[2], precision=Precision(words[3]))
