"""What every store of the node does with its disk: one owner, whole transactions, files that a power cut does not lose."""

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sightline_contract.errors import ConfigError


def lock(path: Path) -> IO[bytes] | None:
    """Take a lock file, which is made where it is missing; None where another process has it. It ends with the process."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing; the connection is in autocommit mode (``isolation_level=None``)."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # SQLite itself has rolled back after some errors, a full disk among them
            database.execute("ROLLBACK")
        raise


def write_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Make a file, whose content is on the disk when this returns, though maybe not its name; what is there goes first.

    ``mode`` is what the umask leaves of it. Raises OSError.
    """
    path.unlink(missing_ok=True)  # what a broken run left may be another's to read
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """As ``write_file``, the name too: a power cut leaves the whole old file or the whole new one. One writer at a time."""
    aside = path.with_name(f"{path.name}.new")
    try:
        write_file(aside, content, mode)
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def require_private(path: Path) -> None:
    """Raise ConfigError where others may read a key's file; OSError where it is not there."""
    status = path.stat()
    # As PostgreSQL's client has it: the owner's alone, or root's with a group, which is how service managers hand keys over.
    forbidden = 0o027 if status.st_uid == 0 and os.geteuid() != 0 else 0o077
    if stat.S_IMODE(status.st_mode) & forbidden:
        raise ConfigError(f"{path}: others may read it (mode {stat.S_IMODE(status.st_mode):04o}): chmod 600 {path}")


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` on the disk: a file that was made, renamed or deleted there stays so."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
