"""What every store of the node does with its disk: one owner, whole transactions, names that a power cut does not lose."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


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


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` on the disk: a file that was made, renamed or deleted there stays so."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
