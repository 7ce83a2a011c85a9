import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from clip_rig import START_US

from sightline_edge.clips.clock import Instant, read_clock
from sightline_edge.clips.ledger import KEEP_DAYS, LEDGER_FILE, Deletion, Ledger, Reason

DAY_US = 86_400 * 1_000_000


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path)
    yield opened
    opened.close()


def tell(ledger: Ledger, name: str, deleted_us: int) -> None:
    ledger.tell(Deletion(name, "gate", 1, 2, 3, 4, deleted_us, Reason.AGE))


@pytest.mark.parametrize(
    "sql", ["DELETE FROM deletions", "UPDATE deletions SET reason = 'x'", "UPDATE deletions SET bytes = 0"]
)
def test_what_is_told_cannot_be_changed_or_removed(ledger: Ledger, tmp_path: Path, sql: str) -> None:
    tell(ledger, "a", START_US)
    tell(ledger, "b", START_US + DAY_US)
    other = sqlite3.connect(tmp_path / LEDGER_FILE)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        other.execute(sql)
    other.close()
    assert [deletion.file for deletion in ledger.deletions()] == ["b", "a"]


def test_every_commit_is_on_the_disk_when_it_returns(ledger: Ledger) -> None:
    assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_deletions_told_long_ago_are_trimmed_and_the_trim_is_told(ledger: Ledger, tmp_path: Path) -> None:
    tell(ledger, "old", START_US)
    tell(ledger, "young", START_US + 2 * DAY_US)
    now_us = START_US + (KEEP_DAYS + 1) * DAY_US
    tell(ledger, "new", now_us)
    assert ledger.trim(Instant(now_us, 0, "boot")) == 1
    assert [deletion.file for deletion in ledger.deletions()] == ["new", "young"]
    other = sqlite3.connect(tmp_path / LEDGER_FILE)
    assert other.execute("SELECT rows, trimmed_us FROM trims").fetchall() == [(1, now_us)]
    for sql in ("DELETE FROM trims", "UPDATE trims SET rows = 0"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(sql)
        other.rollback()
    other.close()


def test_a_clock_in_the_future_alone_trims_nothing(ledger: Ledger) -> None:
    tell(ledger, "a", START_US)
    assert ledger.trim(Instant(START_US + 10 * KEEP_DAYS * DAY_US, 0, "boot")) == 0


def test_a_deletion_and_its_entry_change_together(ledger: Ledger) -> None:
    now = read_clock()
    segment = ledger.enter("gate", now.wall_us, now.wall_us, now, "person")
    assert ledger.segments() == [segment]
    ledger.tell(Deletion(segment.file, "gate", None, None, None, None, now.wall_us, Reason.SIZE), segment)
    assert ledger.segments() == []
    again = ledger.enter("gate", now.wall_us, now.wall_us, now, "")
    assert again.id == segment.id + 1  # a file's name is never used twice


@pytest.mark.parametrize(
    ("wall_s", "boot_id", "age_s"),
    [(100, "boot", 100), (-3600, "boot", 100), (7200, "boot", 7200), (50, "next", 50), (-3600, "next", -3600)],
)
def test_an_age_is_the_larger_of_what_the_clocks_tell(ledger: Ledger, wall_s: int, boot_id: str, age_s: int) -> None:
    segment = ledger.enter("gate", START_US, START_US, Instant(START_US, 0, "boot"), "")
    assert segment.age_us(Instant(START_US + wall_s * 1_000_000, 100_000_000, boot_id)) == age_s * 1_000_000


def test_the_real_clock_counts_on_both_sides() -> None:
    first, second = read_clock(), read_clock()
    assert first.boot_id == second.boot_id
    assert first.boot_us <= second.boot_us
