"""The disk of tables and checkpoints is full: the driver ends in one line, and goes on where it was once there is room."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faulty_city import SmallCity, Uplink
from faulty_judge import assert_exactly_once, assert_facts_of
from faulty_run import FaultyRun

pytestmark = [pytest.mark.spark, pytest.mark.kafka, pytest.mark.faults]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here, root may do so: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_driver_whose_disk_is_full_ends_in_one_line_and_goes_on_when_there_is_room(
    run_of: Callable[[SmallCity], FaultyRun], uplink: Uplink, small_disk: Path
) -> None:
    """Protection: failures.py, which tells what to do; without it the line says that a new start is enough.

    That no file is left half-written under its own name is Spark's and Delta's doing; an exact run holds them to it.
    """
    city = SmallCity(120)
    run = run_of(city)
    run.root = small_disk
    uplink.send(city.messages)
    uplink.flush()
    run.start()
    run.wait_for_commits(2)
    fill(small_disk / "filler")
    line = run.last_words()
    assert "free space" in line, line
    assert run.checkpoints.exists()
    again = run.start("--drain")
    assert again.wait(120) == 1
    assert "free space" in run.last_words()
    (small_disk / "filler").unlink()
    run.finish("disk full, room made")
    assert_exactly_once(run.tables, uplink.acknowledged)
    assert_facts_of(run.tables, city)


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as filler:
        try:
            while filler.write(bytes(4096)):
                pass
        except OSError:
            return
