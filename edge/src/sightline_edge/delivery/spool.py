"""The durable queue between the node and the centre: one SQLite file in WAL mode.

Invariants
- ``append`` returns when its records are on the disk (``synchronous=FULL``: SQLite has called fsync). That is the node's
  promise: what was appended leaves the spool by ``done``, or by a limit, an unreadable page or the broker's refusal, and these
  are counted in the file itself.
- A record is whole or absent after a power cut: SQLite recovers to its last commit (https://sqlite.org/wal.html).
- What was appended can be taken, forgotten and moved from the log into the file whatever else fills the disk: its pages are
  taken from the disk before the commit. A spool whose uplink is back empties itself on a full disk, too.
- The file never grows over ``max_bytes``; its write-ahead log takes ``WAL_BYTES`` of them.
- Age is the time that the node ran, not the wall clock's: a device whose clock jumps from 1970 to today at its first contact
  must not find all that it kept too old.

Several processes may append (an export writes its audit record); one forwarder takes. An audit record is dropped by no limit.
"""

import errno
import logging
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sightline_contract.errors import StorageError
from sightline_edge.config import SpoolConfig
from sightline_edge.delivery.records import Lane, Record, Stored
from sightline_edge.disk import transaction

logger = logging.getLogger(__name__)

WAL_BYTES = 4 * 1024**2
# SQLite's own default. A checkpoint moves the log into the file, so that the log stays within WAL_BYTES.
_PAGE_BYTES = 4096
_CHECKPOINT_PAGES = 512
# So much of the limit is given free at once, so that not every commit has to drop something.
_SLACK = 0.05
# SQLite waits for another process's write so long; an export's append takes milliseconds.
_BUSY_S = 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    lane INTEGER NOT NULL,
    kept_us INTEGER NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_by_lane ON messages (lane, number);
CREATE TABLE IF NOT EXISTS depth (lane INTEGER PRIMARY KEY, messages INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS losses (reason TEXT PRIMARY KEY, messages INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS clock (one INTEGER PRIMARY KEY CHECK (one = 1), ran_us INTEGER NOT NULL);
INSERT OR IGNORE INTO clock VALUES (1, 0);
CREATE TRIGGER IF NOT EXISTS count_in AFTER INSERT ON messages BEGIN
    INSERT INTO depth VALUES (new.lane, 1, length(new.value))
    ON CONFLICT (lane) DO UPDATE SET messages = messages + 1, bytes = bytes + length(new.value);
END;
CREATE TRIGGER IF NOT EXISTS count_out AFTER DELETE ON messages BEGIN
    UPDATE depth SET messages = messages - 1, bytes = bytes - length(old.value) WHERE lane = old.lane;
END;
"""


# The clock is written by each trim, and each record has it, too. Numbers and times grow together.
_RAN_US = "SELECT max(ran_us, coalesce((SELECT kept_us FROM messages ORDER BY number DESC LIMIT 1), 0)) FROM clock"


@dataclass(frozen=True)
class Depth:
    """What the spool holds. ``oldest_s`` is in running time of the node."""

    messages: dict[Lane, int]
    content_bytes: int
    file_bytes: int
    oldest_s: float

    @property
    def total(self) -> int:
        """Messages of all lanes."""
        return sum(self.messages.values())


def boot_us() -> int:
    """Microseconds since the machine started, suspended or not; no clock step changes it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class Spool:
    """The queue's file. Safe to use from several threads."""

    def __init__(self, path: Path, config: SpoolConfig, now_us: Callable[[], int] = boot_us, *, owner: bool = True) -> None:
        """Open or make ``path``. A file that SQLite cannot read is put aside and what can be read of it is kept.

        Only its ``owner`` does that, and reserves room; another process takes the file as it is. Raises StorageError where
        the folder cannot be written or, for who is not the owner, where the file is damaged.
        """
        self.path = path
        self._config = config
        self._suspicion = path.with_name(f"{path.name}.suspect")
        self._now_us = now_us
        self._opened_us = now_us()
        self._lock = threading.RLock()
        self._file = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = self._opened() if owner else self._connected()
            self._ran_before_us = self._number(_RAN_US)
            if owner:
                self._reserve()
        except (OSError, sqlite3.DatabaseError) as error:
            raise StorageError(f"{path}: the spool cannot be opened ({error}): check the folder and its disk") from error

    def append(self, records: Sequence[Record]) -> None:
        """Keep ``records`` in their order; they are on the disk on return, or none of them is.

        Raises StorageError where the disk is full; a full spool drops its oldest messages instead.
        """
        rows = [(each.lane, self.ran_us(), each.topic, each.key, each.value) for each in records]
        with self._lock:
            try:
                self._insert(rows)
            except StorageError as error:
                if not _is_full(error.__cause__) or not self._make_room(sum(len(each.value) for each in records)):
                    raise
                self._insert(rows)

    def take(self, lane: Lane, after: int, limit: int) -> list[Stored]:
        """The next records of a lane behind number ``after``; they stay until ``done``."""
        with self._lock, self._telling():
            found = self._database.execute(
                "SELECT number, kept_us, topic, key, value FROM messages WHERE lane = ? AND number > ? ORDER BY number LIMIT ?",
                (lane, after, limit),
            )
            return [Stored(*row) for row in found]

    def done(self, numbers: Sequence[int]) -> None:
        """Forget records that the centre has acknowledged; raises StorageError where the disk has no room even for that."""
        with self._transaction() as database:
            database.executemany("DELETE FROM messages WHERE number = ?", [(number,) for number in numbers])

    def refuse(self, numbers: Sequence[int]) -> None:
        """Forget, and count, records that the centre will never take."""
        with self._transaction():
            marks = ",".join("?" * len(numbers))
            self._lose("refused", f"number IN ({marks})", tuple(numbers))

    def trim(self) -> None:
        """Drop what is older or more than the limits allow, oldest first. To be called now and then."""
        with self._transaction() as database:
            database.execute("UPDATE clock SET ran_us = ?", (self.ran_us(),))
            oldest_us = self.ran_us() - round(self._config.max_age_h * 3600e6)
            young = database.execute("SELECT number FROM messages WHERE kept_us >= ? ORDER BY number LIMIT 1", (oldest_us,))
            first = young.fetchone()
            if first is None:
                self._lose("age", "lane != ?", (Lane.AUDIT,))
            else:
                self._lose("age", "lane != ? AND number < ?", (Lane.AUDIT, first[0]))
        if self._used_bytes() > self._room_bytes():
            self._make_room(0)

    def depth(self) -> Depth:
        """How much the spool holds."""
        with self._lock:
            rows = self._database.execute("SELECT lane, messages, bytes FROM depth").fetchall()
            held = {Lane(lane): messages for lane, messages, _ in rows}
            first = self._database.execute("SELECT kept_us FROM messages ORDER BY number LIMIT 1").fetchone()
            return Depth(
                messages={lane: held.get(lane, 0) for lane in Lane},
                content_bytes=sum(size for _, _, size in rows),
                file_bytes=self._number("PRAGMA page_count") * _PAGE_BYTES,
                oldest_s=max(0, self.ran_us() - first[0]) / 1e6 if first else 0.0,
            )

    def losses(self) -> dict[str, int]:
        """Messages that left otherwise than to the centre since the file was made, by reason: age, size, refused, damaged."""
        with self._lock:
            return dict(self._database.execute("SELECT reason, messages FROM losses").fetchall())

    def ran_us(self) -> int:
        """The spool's clock: microseconds that the node ran with this file, over all its runs."""
        return self._ran_before_us + self._now_us() - self._opened_us

    def close(self) -> None:
        """Close the file; it is then one file without a log beside it."""
        with self._lock:
            self._database.close()
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _reserve(self) -> None:
        """Take from the disk what the spool may need: always its log, and all of its file where the settings say so.

        Pages that were used once stay in the file and are used again, whoever fills the disk in the meantime.
        """
        self._database.execute("UPDATE clock SET ran_us = ran_us")  # the log is made by the first write
        with self.path.with_name(f"{self.path.name}-wal").open("r+b") as log:
            os.posix_fallocate(log.fileno(), 0, WAL_BYTES)
        if not self._config.reserve:
            return
        missing = self._room_bytes() // _PAGE_BYTES - self._number("PRAGMA page_count")
        at_once = WAL_BYTES // 4
        self._database.execute("CREATE TABLE IF NOT EXISTS reserve (room BLOB)")
        for _ in range(missing * _PAGE_BYTES // at_once - 1):
            self._database.execute("INSERT INTO reserve VALUES (zeroblob(?))", (at_once,))
        self._database.execute("DROP TABLE reserve")

    def _opened(self) -> sqlite3.Connection:
        unclean = self._suspicion.exists() or self.path.with_name(f"{self.path.name}-wal").exists()
        try:
            database = self._connected()
            found = database.execute("PRAGMA quick_check").fetchone() if unclean else ("ok",)
            if found == ("ok",):
                database.execute(_RAN_US).fetchone()
                self._suspicion.unlink(missing_ok=True)
                return database
            database.close()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
        return self._salvaged()

    def _connected(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            for setting in (
                f"page_size = {_PAGE_BYTES}",
                "journal_mode = WAL",
                "synchronous = FULL",
                f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
                f"journal_size_limit = {WAL_BYTES}",
                f"max_page_count = {(self._config.max_bytes - WAL_BYTES) // _PAGE_BYTES}",
                "cache_size = -2048",
                "secure_delete = OFF",  # zeros over each forgotten message would be as much writing again
            ):
                database.execute(f"PRAGMA {setting}")
            database.executescript(_SCHEMA)
        except BaseException:
            database.close()
            raise
        # Not closed before the connection is: a process that closes a file loses all its locks on it, SQLite's too.
        before, self._file = self._file, os.open(self.path, os.O_RDWR)
        if before >= 0:
            os.close(before)
        return database

    def _salvaged(self) -> sqlite3.Connection:
        """A new file with what can be read of a damaged one, which is kept beside it."""
        aside = self.path.with_name(f"{self.path.name}.damaged")
        for ending in ("", "-wal", "-shm"):
            part = self.path.with_name(self.path.name + ending)
            part.with_name(aside.name + ending).unlink(missing_ok=True)
            if part.exists():
                shutil.move(part, part.with_name(aside.name + ending))
        database = self._connected()
        kept = 0
        with transaction(database):
            for row in _readable(aside):
                database.execute("INSERT INTO messages (lane, kept_us, topic, key, value) VALUES (?, ?, ?, ?, ?)", row)
                kept += 1
            # How many were lost nobody can tell: the damage is counted, and the file stays for who wants to look.
            database.execute("INSERT INTO losses VALUES ('damaged', 1, 0) ON CONFLICT DO UPDATE SET messages = messages + 1")
        self._suspicion.unlink(missing_ok=True)
        logger.error("%s: the spool was damaged: %d messages were read from it, the file is kept as %s", self.path, kept, aside)
        return database

    def _insert(self, rows: Sequence[tuple[object, ...]]) -> None:
        with self._transaction() as database:
            database.executemany("INSERT INTO messages (lane, kept_us, topic, key, value) VALUES (?, ?, ?, ?, ?)", rows)
            self._take_pages()

    def _take_pages(self) -> None:
        """Take the file's pages from the disk, those that are in the log alone as yet, too."""
        size = self._number("PRAGMA page_count") * _PAGE_BYTES
        try:
            if size > os.fstat(self._file).st_size:
                os.posix_fallocate(self._file, 0, size)
        except OSError as error:
            raise StorageError(
                f"{self.path}: the spool took nothing ({error.strerror}): free some space on its disk"
            ) from error

    def _make_room(self, wanted_bytes: int) -> bool:
        """Drop the oldest messages until ``wanted_bytes`` and some slack fit under the limit.

        False where the spool is not near its limit: then it is the disk that is full, and what was promised stays.
        """
        slack_bytes = round(_SLACK * self._room_bytes())
        excess = self._used_bytes() + 2 * wanted_bytes + slack_bytes - self._room_bytes()
        if excess <= 0:
            return False
        with self._transaction() as database:
            freed = 0
            last = 0
            oldest = database.execute(
                "SELECT number, length(value) + length(key) + length(topic) FROM messages WHERE lane != ? ORDER BY number",
                (Lane.AUDIT,),
            )
            for number, size in oldest:
                last, freed = number, freed + size
                if freed >= excess:
                    break
            oldest.close()
            self._lose("size", "lane != ? AND number <= ?", (Lane.AUDIT, last))
        return freed > 0

    def _lose(self, reason: str, condition: str, parameters: tuple[object, ...]) -> None:
        # The condition is one of the texts above, never a value.
        counted = f"SELECT count(*), coalesce(sum(length(value)), 0) FROM messages WHERE {condition}"  # noqa: S608
        messages, size = self._database.execute(counted, parameters).fetchone()
        if not messages:
            return
        self._database.execute(f"DELETE FROM messages WHERE {condition}", parameters)  # noqa: S608
        self._database.execute(
            "INSERT INTO losses VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET messages = messages + ?2, bytes = bytes + ?3",
            (reason, messages, size),
        )
        logger.warning("%s: %d messages (%d bytes) dropped, oldest first: %s", self.path, messages, size, reason)

    def _used_bytes(self) -> int:
        with self._lock:
            return (self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")) * _PAGE_BYTES

    def _room_bytes(self) -> int:
        return self._config.max_bytes - WAL_BYTES

    def _number(self, query: str) -> int:
        return int(self._database.execute(query).fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._telling(), transaction(self._database):
            yield self._database

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """What SQLite says as a StorageError; where it finds the file damaged, the next start is to look at all of it."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StorageError(f"{self.path}: the spool took nothing ({error}): free some space on its disk") from error
        except sqlite3.DatabaseError as error:
            self._suspicion.touch()
            raise StorageError(
                f"{self.path}: the spool is damaged ({error}): start the node again, it keeps what can be read"
            ) from error


def _readable(path: Path) -> Iterator[tuple[object, ...]]:
    """Rows of a damaged spool, in order, up to where SQLite can read no further."""
    try:
        database = sqlite3.connect(path)
        try:
            yield from database.execute("SELECT lane, kept_us, topic, key, value FROM messages ORDER BY number")
        finally:
            database.close()
    except sqlite3.DatabaseError as error:
        logger.warning("%s: cannot be read any further (%s)", path, error)


def _is_full(error: BaseException | None) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL
