"""How the simulator's kernels are compiled: with numba, once, kept on disk until any of their sources changes.

numba looks at a kernel's own file only when it decides whether the compiled form is still good, and a compiled kernel holds
those that it calls: hence one folder for each state of all sources, as the streaming core has it.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

F = TypeVar("F", bound=Callable[..., object])

# A record of a structured array as kernels see it, fields as attributes, of which numpy's types know nothing.
Record = Any
Records = npt.NDArray[np.void]
Floats = npt.NDArray[np.float64]

_NUMBA: Any = numba.config


def kernel(function: F) -> F:
    """Compile ``function``; other threads run on while it does."""
    given = _NUMBA.CACHE_DIR
    _NUMBA.CACHE_DIR = _CACHE_FOLDER
    try:
        return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy")(function))
    finally:
        _NUMBA.CACHE_DIR = given


def _cache_folder() -> str:
    here = Path(__file__).parent
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sorted(here.glob("*.py"))))
    return str(Path(_NUMBA.CACHE_DIR or here / "__pycache__") / f"kernels-{digest.hexdigest()[:16]}")


_CACHE_FOLDER = _cache_folder()
