"""How numeric kernels are compiled: once, when first called, and kept on disk.

A compiled kernel holds those that it calls. numba decides by a kernel's own file whether its compiled form is still good, so
they are kept in a folder named after the sources of all: change one, and all are compiled anew.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

F = TypeVar("F", bound=Callable[..., object])

# One record of a structured array as kernels see it, its fields as attributes, of which numpy's types know nothing.
Record = Any
Records = npt.NDArray[np.void]

_NUMBA: Any = numba.config

# "_nrt" is numba's runtime, which counts references: told always, since kernels inherit it from who compiles them first.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": True}
# Without it a kernel that makes an array does not compile.
_UNCOUNTED: dict[str, Any] = {"_nrt": False}
_NO_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def kernel(function: F) -> F:
    """Compile ``function`` with numba; no Python object lives inside, so other threads run on meanwhile."""
    return cast("F", _compiled(function, _OPTIONS))


def inner(function: F) -> F:
    """Compile a kernel that only other kernels call: without an entry from Python it compiles a good deal faster."""
    return cast("F", _compiled(function, _OPTIONS | _NO_WRAPPERS))


def leaf(function: F) -> F:
    """Compile a kernel that only other kernels call, that makes no array and returns none.

    Whatever arrays it is given its caller keeps alive, so references to them are not counted: counting, atomic and at every
    slice and call, was more than half of the shard kernel's time.
    """
    return cast("F", _compiled(function, _OPTIONS | _NO_WRAPPERS | _UNCOUNTED))


def leaf_kernel(function: F) -> F:
    """``leaf`` for a kernel that Python calls, too."""
    return cast("F", _compiled(function, _OPTIONS | _UNCOUNTED))


def _compiled(function: Callable[..., object], options: dict[str, Any]) -> object:
    given = _NUMBA.CACHE_DIR
    _NUMBA.CACHE_DIR = _CACHE_FOLDER
    try:
        return numba.njit(**options)(function)
    finally:
        _NUMBA.CACHE_DIR = given


def _cache_folder() -> str:
    """Below ``$NUMBA_CACHE_DIR``, else beside the modules; numba falls back to the user's own cache where it may not write."""
    here = Path(__file__).parent
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sorted(here.glob("*.py"))))
    return str(Path(_NUMBA.CACHE_DIR or here / "__pycache__") / f"kernels-{digest.hexdigest()[:16]}")


_CACHE_FOLDER = _cache_folder()
