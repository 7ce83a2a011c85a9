"""How numeric kernels are compiled: once, ahead of use, kept on disk beside the module.

numba looks only at a kernel's own file to decide whether its compiled form is still good: after editing a kernel that others
call, delete the ``__pycache__`` folder of this package.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

F = TypeVar("F", bound=Callable[..., object])

# One record of a structured array as kernels see it, its fields as attributes, of which numpy's types know nothing.
Record = Any
Records = npt.NDArray[np.void]

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
_NO_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def kernel(function: F) -> F:
    """Compile ``function`` with numba; no Python object lives inside, so other threads run on meanwhile."""
    return cast("F", numba.njit(**_OPTIONS)(function))


def inner(function: F) -> F:
    """Compile a kernel that only other kernels call: without an entry from Python it compiles a good deal faster."""
    return cast("F", numba.njit(**_OPTIONS, **_NO_WRAPPERS)(function))
