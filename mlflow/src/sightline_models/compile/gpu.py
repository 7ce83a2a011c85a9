"""The NVIDIA GPU of this machine, asked of its driver.

TensorRT's builder ends the whole process where it finds no GPU, so this is asked before.
"""

import ctypes
from typing import Final

from sightline_contract.errors import ToolMissingError

# CUdevice_attribute of the driver's interface (cuda.h).
_MAJOR: Final = 75
_MINOR: Final = 76


def gpu_architecture() -> str:
    """The first GPU's compute capability, as in ``sm_90``; raises ToolMissingError where there is none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise ToolMissingError("no NVIDIA GPU is here (no driver): compile on the device, or for a CPU target") from error
    count, major, minor = (ctypes.c_int() for _ in range(3))
    for status in (driver.cuInit(0), driver.cuDeviceGetCount(ctypes.byref(count))):
        if status:
            raise ToolMissingError(f"no NVIDIA GPU can be used here (CUDA error {status}): choose a CPU target")
    if not count.value:
        raise ToolMissingError("no NVIDIA GPU is here: compile on the device, or for a CPU target")
    driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, 0)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, 0)
    return f"sm_{major.value}{minor.value}"
