"""How numeric kernels are compiled: once, ahead of use, kept on disk beside the module.

numba looks only at a kernel's own file to decide whether its compiled form is still good: after editing a kernel that others
call, delete the ``__pycache__`` folder of this package.
"""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile ``function`` with numba; no Python object lives inside, so other threads run on meanwhile."""
    return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def inner(function: F) -> F:
    """Compile a kernel that only other kernels call: without an entry from Python it compiles a good deal faster."""
    compiled = numba.njit(cache=True, nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
    return cast("F", compiled(function))
