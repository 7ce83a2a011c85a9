"""What a long-running process does once, seen in a process of its own."""

import subprocess
import sys

import pytest


def told_by(script: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


# Page faults of making and dropping an array, the second time as a part of the first; and whether the setting was taken.
FAULTS = """
import resource
import numpy as np
{settings}

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(100_000_000, np.uint8)[::4096] = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
print(faults() / first)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_memory_of_a_large_array_is_kept_for_the_next_one() -> None:
    kept = "from sightline_streaming.long_running import keep_freed_memory; assert keep_freed_memory()"
    assert float(told_by(FAULTS.format(settings=kept))[0]) < 0.1
    assert float(told_by(FAULTS.format(settings=""))[0]) > 0.5  # which shows what is measured


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_arrow_takes_its_memory_from_there_too() -> None:
    script = """
import pyarrow as pa
from sightline_streaming.long_running import keep_freed_memory
keep_freed_memory()
print(pa.default_memory_pool().backend_name)
"""
    assert told_by(script) == ["system"]


def test_collections_pass_over_what_is_there_and_find_what_comes_later() -> None:
    script = """
import gc
from sightline_streaming.long_running import keep_what_is_there

class Knot:
    def __init__(self):
        self.self = self
    def __del__(self):
        print("collected")

keep_what_is_there()
frozen = gc.get_freeze_count()
print(frozen > 1000)
Knot()
keep_what_is_there()
print(gc.get_freeze_count() == frozen)
gc.collect()
"""
    assert told_by(script) == ["True", "True", "collected"]
