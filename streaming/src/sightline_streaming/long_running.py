"""What a Python process that takes one micro-batch after another does once, so as not to do it for each of them.

Freed memory is kept. glibc returns a large array's memory to the kernel as soon as it is freed, and the kernel clears every
page of it when the next micro-batch asks again: a fifth of a worker's time, and almost half of the driver's, in a profile of a
city.

What is there to stay is not searched for garbage. Spark's worker has Python collect after every task, modules and compiled
kernels included: a tenth of its time.
"""

import ctypes
import gc
from functools import cache

import pyarrow as pa

# Numbers of mallopt(3)'s parameters, as glibc's malloc.h has them.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
# A process gives back what it has free at its heap's end above this.
KEPT_BYTES = 1 << 30


@cache
def keep_freed_memory() -> bool:
    """Have this process keep freed memory, Arrow's included, up to ``KEPT_BYTES`` at its heap's end; returns whether it does.

    Once a process is enough. Other C libraries than glibc have no such setting: there nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # One heap for all threads: what one of them freed, another one takes.
    wanted = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: KEPT_BYTES, _M_ARENA_MAX: 1}
    if mallopt is None or not all(mallopt(parameter, value) for parameter, value in wanted.items()):
        return False
    # Arrow's own allocators give back as eagerly.
    pa.set_memory_pool(pa.system_memory_pool())
    return True


@cache
def keep_what_is_there() -> None:
    """Have garbage collections pass over all objects that there are now; once a process, when all it needs is loaded."""
    gc.collect()
    gc.freeze()
