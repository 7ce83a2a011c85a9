"""The spool: what it has taken it keeps, through kills, torn writes and full disks, within its limits."""

import contextlib
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weak_disk import tear

from sightline_contract.errors import StorageError
from sightline_edge.config import SpoolConfig
from sightline_edge.delivery.records import Lane, Record
from sightline_edge.delivery.spool import Spool

MIB = 1024 * 1024
HOUR_US = 3_600_000_000


class Clock:
    def __init__(self) -> None:
        self.us = 5_000_000

    def __call__(self) -> int:
        return self.us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_spool(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Spool]]:
    opened: list[Spool] = []

    def make(**limits: float) -> Spool:
        opened.append(Spool(tmp_path / "spool.db", SpoolConfig(**limits), clock))
        return opened[-1]

    yield make
    for spool in opened:
        spool.close()


def record(number: int, lane: Lane = Lane.DETECTIONS, size: int = 20) -> Record:
    return Record(lane, "detections", f"camera-{number % 3}", b"%020d" % number + b"x" * (size - 20))


def numbers_in(spool: Spool, lane: Lane = Lane.DETECTIONS) -> list[int]:
    found: list[int] = []
    after = 0
    while rows := spool.take(lane, after, 1000):
        found += [int(row.value[:20]) for row in rows]
        after = rows[-1].number
    return found


def test_records_come_out_in_their_order_and_stay_until_they_are_done(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool()
    spool.append([record(i) for i in range(10)])
    first = spool.take(Lane.DETECTIONS, 0, 4)
    assert [int(row.value) for row in first] == [0, 1, 2, 3]
    assert (first[1].topic, first[1].key) == ("detections", "camera-1")
    spool.done([row.number for row in first])
    assert numbers_in(spool) == list(range(4, 10))
    assert spool.depth().total == 6


def test_lanes_are_counted_and_taken_apart(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool()
    spool.append([record(1), record(2, Lane.EVENTS), record(3), record(4, Lane.AUDIT)])
    assert spool.depth().messages == {Lane.AUDIT: 1, Lane.EVENTS: 1, Lane.STATUS: 0, Lane.DETECTIONS: 2}
    assert numbers_in(spool, Lane.EVENTS) == [2]


def test_a_number_is_never_used_twice(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool()
    spool.append([record(1)])
    (first,) = spool.take(Lane.DETECTIONS, 0, 10)
    spool.done([first.number])
    spool.append([record(2)])
    assert spool.take(Lane.DETECTIONS, 0, 10)[0].number > first.number


def test_what_is_too_old_goes_first_and_is_counted(open_spool: Callable[..., Spool], clock: Clock) -> None:
    spool = open_spool(max_age_h=2)
    spool.append([record(i) for i in range(3)])
    clock.us += HOUR_US
    spool.append([record(3), record(4, Lane.AUDIT)])
    clock.us += HOUR_US + 1
    spool.trim()
    assert numbers_in(spool) == [3]
    assert spool.losses() == {"age": 3}
    assert spool.depth().oldest_s == pytest.approx(3600, abs=1)
    clock.us += 2 * HOUR_US
    spool.trim()
    assert (numbers_in(spool), numbers_in(spool, Lane.AUDIT)) == ([], [4])  # an audit record outlives every limit


def test_age_counts_the_time_that_the_node_ran(tmp_path: Path, open_spool: Callable[..., Spool], clock: Clock) -> None:
    spool = open_spool(max_age_h=2)
    spool.append([record(0)])
    clock.us += HOUR_US
    spool.trim()
    spool.close()
    clock.us = 7  # the machine was off, for whatever time
    again = open_spool(max_age_h=2)
    assert again.depth().oldest_s == pytest.approx(3600, abs=1)
    clock.us += HOUR_US + 10
    again.trim()
    assert numbers_in(again) == []


def test_a_full_spool_drops_its_oldest_and_counts_them(open_spool: Callable[..., Spool], tmp_path: Path) -> None:
    spool = open_spool(max_bytes=16 * MIB)
    for start in range(0, 20_000, 500):
        spool.append([record(i, size=1500) for i in range(start, start + 500)])
    spool.append([record(99, Lane.AUDIT)])
    kept = numbers_in(spool)
    assert kept == list(range(kept[0], 20_000))
    assert spool.losses() == {"size": kept[0]}
    assert len(kept) * 1500 > 8 * MIB
    files = sum(path.stat().st_size for path in tmp_path.glob("spool.db*"))
    assert files <= 16 * MIB + 64 * 1024  # the shared-memory index of the log is beside it


def test_room_that_was_taken_is_used_again(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool()
    sizes = []
    for _ in range(30):
        spool.append([record(i, size=1000) for i in range(1000)])
        spool.done([row.number for row in spool.take(Lane.DETECTIONS, 0, 1000)])
        sizes.append(spool.depth().file_bytes)
    assert sizes[-1] == sizes[5]
    assert spool.depth().total == 0


def test_what_the_centre_will_never_take_is_counted(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool()
    spool.append([record(i) for i in range(3)])
    spool.refuse([row.number for row in spool.take(Lane.DETECTIONS, 0, 2)])
    assert (numbers_in(spool), spool.losses()) == ([2], {"refused": 2})


def test_another_process_may_append(open_spool: Callable[..., Spool], tmp_path: Path) -> None:
    spool = open_spool()
    spool.append([record(0)])
    code = (
        "from pathlib import Path; from sightline_edge.config import SpoolConfig;"
        "from sightline_edge.delivery.records import Lane, Record; from sightline_edge.delivery.spool import Spool;"
        f"spool = Spool(Path({str(tmp_path / 'spool.db')!r}), SpoolConfig());"
        "spool.append([Record(Lane.AUDIT, 'audit', 'n', b'%020d' % 7)]); spool.close()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert (numbers_in(spool), numbers_in(spool, Lane.AUDIT)) == ([0], [7])
    assert spool.depth().total == 2


# What writes, and says after each commit how far it is, until it is killed.
WRITER = """
import os, sys
from pathlib import Path
from sightline_edge.config import SpoolConfig
from sightline_edge.delivery.records import Lane, Record
from sightline_edge.delivery.spool import Spool
spool = Spool(Path(sys.argv[1]), SpoolConfig())
number = int(sys.argv[2])
while True:
    spool.append([Record(Lane.DETECTIONS, "detections", "c", b"%020d" % i + b"x" * 500) for i in range(number, number + 20)])
    number += 20
    os.write(1, b"%020d" % number)
"""


def write_until_killed(path: Path, start: int, commits: int, before_kill: Callable[[], None] = lambda: None) -> int:
    """Returns the number up to which the writer was told that its records are kept."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(start)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        told = [os.read(writer.stdout.fileno(), 20) for _ in range(commits)]
        before_kill()
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read()
    return int((b"".join(told) + rest)[-20:])


def test_a_killed_writer_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    told = 0
    for kill in range(4):
        told = write_until_killed(path, told, commits=5 + 7 * kill)
        spool = Spool(path, SpoolConfig())
        kept = numbers_in(spool)
        spool.close()
        assert kept == list(range(len(kept)))
        assert told <= len(kept) <= told + 20
        told = len(kept)


@pytest.mark.parametrize("seed", range(3))
def test_a_power_cut_tears_only_what_was_not_yet_promised(tmp_path: Path, seed: int) -> None:
    """The commit that the cut interrupted is anything; whole disks are cut in tests/faults/test_outage.py."""
    path = tmp_path / "spool.db"
    told = write_until_killed(path, 0, commits=3 + seed)
    before = path.with_name("spool.db-wal").read_bytes()
    tear(path.with_name("spool.db-wal"), random.Random(seed))
    assert path.with_name("spool.db-wal").read_bytes() != before
    spool = Spool(path, SpoolConfig())
    kept = numbers_in(spool)
    spool.append([record(len(kept))])
    assert numbers_in(spool) == list(range(len(kept) + 1))
    spool.close()
    assert told <= len(kept) <= told + 20


def test_a_damaged_file_is_put_aside_and_what_can_be_read_is_kept(open_spool: Callable[..., Spool], tmp_path: Path) -> None:
    spool = open_spool()
    spool.append([record(i, size=2000) for i in range(3000)])
    spool.close()
    path = tmp_path / "spool.db"
    content = bytearray(path.read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 40_000] = random.Random(1).randbytes(40_000)
    path.write_bytes(content)
    path.with_name("spool.db.suspect").touch()
    mended = open_spool()
    kept = numbers_in(mended)
    assert kept == list(range(len(kept)))
    assert len(kept) > 500
    assert mended.losses()["damaged"] == 1
    assert (tmp_path / "spool.db.damaged").exists()
    mended.append([record(5000)])
    assert numbers_in(mended)[-1] == 5000


def test_damage_found_on_the_way_is_mended_by_the_next_start(open_spool: Callable[..., Spool], tmp_path: Path) -> None:
    spool = open_spool()
    spool.append([record(i, size=2000) for i in range(3000)])
    spool.close()
    path = tmp_path / "spool.db"
    content = bytearray(path.read_bytes())
    content[4096 * 40 : 4096 * 400] = random.Random(1).randbytes(4096 * 360)
    path.write_bytes(content)
    hurt = open_spool()
    with pytest.raises(StorageError, match="damaged"):
        numbers_in(hurt)
    hurt.close()
    again = open_spool()
    again.append([record(5000)])
    assert numbers_in(again)[-1] == 5000


def test_a_file_that_is_no_spool_is_put_aside(open_spool: Callable[..., Spool], tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"no database at all" * 1000)
    spool = open_spool()
    spool.append([record(1)])
    assert numbers_in(spool) == [1]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/spool\.db: the spool cannot be opened"):
        Spool(tmp_path / "file" / "spool.db", SpoolConfig())


needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 20 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)) == 4096:
            pass


def append_for_ever(spool: Spool) -> None:
    for start in itertools.count(1000, 100):
        spool.append([record(i, size=1000) for i in range(start, start + 100)])


@needs_mount
def test_a_full_disk_takes_nothing_and_loses_nothing(small_disk: Path) -> None:
    spool = Spool(small_disk / "spool.db", SpoolConfig())
    spool.append([record(i, size=1000) for i in range(1000)])
    ballast = small_disk / "ballast"
    fill(ballast)
    with pytest.raises(StorageError, match="the spool took nothing"):
        append_for_ever(spool)
    kept = numbers_in(spool)
    assert kept == list(range(len(kept)))
    assert len(kept) >= 1000
    assert spool.losses() == {}
    ballast.unlink()
    spool.append([record(30_000)])
    assert numbers_in(spool) == [*range(len(kept)), 30_000]
    spool.close()


@needs_mount
def test_a_full_disk_does_not_keep_the_spool_from_emptying(small_disk: Path) -> None:
    """Protection: pages are taken from the disk before their commit. Without it the log cannot be moved into the file any more,
    and fills up, and ``done`` is refused until somebody makes room.
    """
    spool = Spool(small_disk / "spool.db", SpoolConfig())
    spool.append([record(i, size=1000) for i in range(4000)])
    fill(small_disk / "ballast")
    with pytest.raises(StorageError):
        append_for_ever(spool)
    while rows := spool.take(Lane.DETECTIONS, 0, 100):
        spool.done([row.number for row in rows])
    assert spool.depth().total == 0
    spool.append([record(1)])
    spool.close()


@needs_mount
def test_a_spool_with_room_of_its_own_does_not_mind_a_full_disk(small_disk: Path) -> None:
    spool = Spool(small_disk / "spool.db", SpoolConfig(max_bytes=16 * MIB, reserve=True))
    assert spool.depth().file_bytes > 10 * MIB
    fill(small_disk / "ballast")
    for start in range(0, 40_000, 100):
        spool.append([record(i, size=500) for i in range(start, start + 100)])
        if start >= 10_000:
            spool.done([row.number for row in spool.take(Lane.DETECTIONS, 0, 100)])
    assert numbers_in(spool) == list(range(30_000, 40_000))
    assert spool.losses() == {}
    spool.close()


@settings(max_examples=30)
@given(st.lists(st.one_of(st.integers(1, 40), st.sampled_from(["take", "trim", "reopen"])), max_size=25))
def test_whatever_happens_the_depth_is_what_is_there(tmp_path_factory: pytest.TempPathFactory, steps: list[int | str]) -> None:
    path = tmp_path_factory.mktemp("spool") / "spool.db"
    spool = Spool(path, SpoolConfig())
    expected: list[int] = []
    given_out = 0
    for step in steps:
        if isinstance(step, int):
            spool.append([record(given_out + i) for i in range(step)])
            expected += range(given_out, given_out + step)
            given_out += step
        elif step == "take":
            rows = spool.take(Lane.DETECTIONS, 0, 7)
            spool.done([row.number for row in rows])
            assert [int(row.value) for row in rows] == expected[:7]
            expected = expected[7:]
        elif step == "trim":
            spool.trim()
        else:
            spool.close()
            spool = Spool(path, SpoolConfig())
    assert numbers_in(spool) == expected
    depth = spool.depth()
    assert (depth.total, depth.content_bytes) == (len(expected), 20 * len(expected))
    spool.close()


def test_sqlite_is_told_to_synchronise_each_commit(open_spool: Callable[..., Spool], tmp_path: Path) -> None:
    spool = open_spool()
    assert spool._database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert spool._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with sqlite3.connect(tmp_path / "spool.db") as other:
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    other.close()
