"""The ring's book, an SQLite file: which segments there are, and what was deleted, when and why.

A segment is entered before its file is made, and its row leaves in the transaction that tells its deletion, so that every
file that ever was is either entered or told. Deletions and trims are append-only: triggers refuse to change or remove a row.
One way leads out: ``trim`` removes deletions told ``KEEP_DAYS`` before the newest, in which the same trigger agrees, and tells
that in ``trims``. Every transaction is on the disk when it returns (WAL, synchronous FULL).
"""

import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sightline_contract.errors import StorageError
from sightline_edge.clips.clock import Instant
from sightline_edge.disk import transaction

LEDGER_FILE = "clips.db"
KEEP_DAYS = 400
_KEEP_US = KEEP_DAYS * 86_400 * 1_000_000
# A wall clock that a segment's age disagrees with by less is not worth a write.
_STEP_US = 1_000_000
_WAIT_S = 10.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, camera_id TEXT NOT NULL, first_us INTEGER NOT NULL, last_us INTEGER,
    oldest_us INTEGER NOT NULL, boot_id TEXT NOT NULL, boot_us INTEGER NOT NULL,
    bytes INTEGER, frames INTEGER, blur TEXT NOT NULL, whole INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS deletions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, file TEXT NOT NULL, camera_id TEXT NOT NULL, first_us INTEGER, last_us INTEGER,
    bytes INTEGER, frames INTEGER, deleted_us INTEGER NOT NULL, reason TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS deletions_by_time ON deletions (deleted_us);
CREATE TABLE IF NOT EXISTS trims (
    id INTEGER PRIMARY KEY AUTOINCREMENT, trimmed_us INTEGER NOT NULL, rows INTEGER NOT NULL, before_us INTEGER NOT NULL
);
CREATE TRIGGER IF NOT EXISTS deletions_stay BEFORE DELETE ON deletions
    WHEN OLD.deleted_us >= (SELECT max(deleted_us) FROM deletions) - KEEP_US
    BEGIN SELECT RAISE(ABORT, 'the ledger of deletions is append-only'); END;
CREATE TRIGGER IF NOT EXISTS deletions_are_as_told BEFORE UPDATE ON deletions
    BEGIN SELECT RAISE(ABORT, 'the ledger of deletions is append-only'); END;
CREATE TRIGGER IF NOT EXISTS trims_stay BEFORE DELETE ON trims
    BEGIN SELECT RAISE(ABORT, 'the ledger of deletions is append-only'); END;
CREATE TRIGGER IF NOT EXISTS trims_are_as_told BEFORE UPDATE ON trims
    BEGIN SELECT RAISE(ABORT, 'the ledger of deletions is append-only'); END;
""".replace("KEEP_US", str(_KEEP_US))


class Reason(StrEnum):
    """Why a file is gone."""

    AGE = "age"  # its oldest frame reached the age limit
    SIZE = "size"  # the oldest, when the ring was full
    START = "start"  # over the age limit when the node started
    CLOCK = "clock"  # dated in the future by an earlier boot: its age cannot be known
    TORN = "torn"  # not whole, after a power cut or an error of the disk
    STRAY = "stray"  # in the ring's folder without being entered
    MISSING = "missing"  # entered, and found deleted by somebody else
    OFF = "off"  # clips were taken out of the settings


@dataclass(slots=True)
class Segment:
    """A file of the ring. Times are UTC; ``last_us``, ``bytes`` and ``frames`` are known when it is whole."""

    id: int
    camera_id: str
    first_us: int  # capture time of its first frame
    last_us: int | None
    oldest_us: int  # when its first frame reached the node, by the wall clock that is the earlier
    boot_id: str
    boot_us: int  # the same since boot
    bytes: int | None
    frames: int | None
    blur: str  # classes, parted by commas
    whole: bool  # SQLite gives 0 or 1

    @property
    def file(self) -> str:
        """Path below the ring's folder."""
        return f"{self.camera_id}/{self.id:010d}.mkv"

    @property
    def part_file(self) -> str:
        """Its path while it is written."""
        return self.file + ".part"

    def age_us(self, now: Instant) -> int:
        """Age of the oldest frame, by the clock that makes it the older; below 0 where only a wrong clock knows it."""
        by_wall_us = now.wall_us - self.oldest_us
        return max(by_wall_us, now.boot_us - self.boot_us) if self.boot_id == now.boot_id else by_wall_us


@dataclass(frozen=True)
class Deletion:
    """A file that is gone; what was never known of it is None."""

    file: str
    camera_id: str
    first_us: int | None
    last_us: int | None
    bytes: int | None
    frames: int | None
    deleted_us: int
    reason: str


class Ledger:
    """The book. One thread at a time; other processes may read meanwhile."""

    def __init__(self, folder: Path) -> None:
        """Open or create it; raises StorageError."""
        path = folder / LEDGER_FILE
        try:
            self._db = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise StorageError(f"{path}: cannot be opened ({error}): check path and rights") from error
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            self._db.close()
            raise StorageError(
                f"{path}: is no ledger of clips that can be used ({error}): mend the disk or move the file away; "
                "clips that no ledger knows are then deleted"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def enter(self, camera_id: str, first_us: int, oldest_us: int, now: Instant, blur: str) -> Segment:
        """A new segment, before its file is made."""
        row = (camera_id, first_us, oldest_us, now.boot_id, now.boot_us, blur)
        cursor = self._db.execute(
            "INSERT INTO segments (camera_id, first_us, oldest_us, boot_id, boot_us, blur) VALUES (?, ?, ?, ?, ?, ?)", row
        )
        assert cursor.lastrowid is not None  # noqa: S101 - SQLite gives one for every INSERT
        return Segment(
            cursor.lastrowid, camera_id, first_us, None, oldest_us, now.boot_id, now.boot_us, None, None, blur, False
        )

    def complete(self, segment: Segment) -> None:
        """The segment's file is whole, and about to get its name."""
        row = (segment.last_us, segment.bytes, segment.frames, segment.id)
        self._db.execute("UPDATE segments SET last_us = ?, bytes = ?, frames = ?, whole = 1 WHERE id = ?", row)

    def redate(self, now: Instant) -> None:
        """After a wall clock was set back: what this boot wrote is dated by the clock as it is now, for later boots to know."""
        boot_time_us = now.wall_us - now.boot_us
        self._db.execute(
            "UPDATE segments SET oldest_us = ? + boot_us WHERE boot_id = ? AND oldest_us > ? + boot_us + ?",
            (boot_time_us, now.boot_id, boot_time_us, _STEP_US),
        )

    def segments(self, camera_id: str | None = None) -> list[Segment]:
        """All that are entered, the oldest first."""
        rows = self._db.execute(
            "SELECT id, camera_id, first_us, last_us, oldest_us, boot_id, boot_us, bytes, frames, blur, whole FROM segments "
            "WHERE ?1 IS NULL OR camera_id = ?1 ORDER BY id",
            (camera_id,),
        )
        return [Segment(*row) for row in rows]

    def tell(self, deletion: Deletion, segment: Segment | None = None) -> None:
        """A file is gone; ``segment`` is its entry, which leaves in the same transaction."""
        told = (deletion.file, deletion.camera_id, deletion.first_us, deletion.last_us, deletion.bytes, deletion.frames)
        with transaction(self._db):
            self._db.execute(
                "INSERT INTO deletions (file, camera_id, first_us, last_us, bytes, frames, deleted_us, reason) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*told, deletion.deleted_us, str(deletion.reason)),
            )
            if segment is not None:
                self._db.execute("DELETE FROM segments WHERE id = ?", (segment.id,))

    def deletions(self, newest: int | None = None) -> list[Deletion]:
        """The newest deletions, or all, the newest first."""
        rows = self._db.execute(
            "SELECT file, camera_id, first_us, last_us, bytes, frames, deleted_us, reason FROM deletions "
            "ORDER BY id DESC LIMIT ?",
            (-1 if newest is None else newest,),
        )
        return [Deletion(*row) for row in rows]

    def trim(self, now: Instant) -> int:
        """Remove deletions told more than KEEP_DAYS ago, and tell how many; a clock in the future alone removes nothing."""
        with transaction(self._db):
            (newest_us,) = self._db.execute("SELECT max(deleted_us) FROM deletions").fetchone()
            before_us = min(now.wall_us, newest_us or 0) - _KEEP_US
            rows = self._db.execute("DELETE FROM deletions WHERE deleted_us < ?", (before_us,)).rowcount
            if rows:
                self._db.execute(
                    "INSERT INTO trims (trimmed_us, rows, before_us) VALUES (?, ?, ?)", (now.wall_us, rows, before_us)
                )
        return rows
