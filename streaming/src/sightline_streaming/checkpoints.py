"""Checkpoint folders: one per query, claimed by one driver, begun and continued under the same numbers.

Two drivers on one checkpoint would each take the other's micro-batches for done. On a local disk a lock refuses the second
at once; it goes with the process, however that ends. An object store has no locks: there Spark's own commit log stops the
slower of the two at its next micro-batch.

The number of shards and state partitions cannot change under a state: they are written down when a checkpoint begins. A
checkpoint that was taken to other numbers (rescale.py) says in the same file which one its query goes on in, and is never
used again.
"""

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyspark.sql import SparkSession

from sightline_contract.errors import ConfigError, StorageError
from sightline_lakehouse.ddl import is_local
from sightline_streaming.small_files import SmallFiles

IDENTITY_FILE = "sightline.json"
LOCK_FILE = "sightline.lock"
MOVED_TO = "moved_to"
_SPARK_FILE = "metadata"  # Spark's first in a checkpoint, before a first micro-batch: the query's id


class Checkpoints:
    """The checkpoints below ``root`` that this driver has claimed."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self._spark = spark
        self._root = root.rstrip("/")
        self._locks: dict[str, int] = {}  # descriptors by checkpoint

    def claim(self, query: str, may_begin: Callable[[], None] = lambda: None, **identity: int) -> str:
        """Location of the query's checkpoint, held by this driver until release().

        ``may_begin`` is called where the query has no checkpoint yet and raises where it must not begin one. Raises
        StorageError where another driver holds it, ConfigError where it was begun under another ``identity``.
        """
        name, begun = self.find(query) if identity else (query, None)
        location = self._held(name)
        if begun is None:
            files = SmallFiles(self._spark, location)
            if files.read(_SPARK_FILE) is None:
                may_begin()
            if identity:
                # Whoever dies from here on, before a first commit, is let begin again.
                write_identity(files, identity)
            return location
        for key, value in begun.items():
            if identity.get(key) != value:
                raise ConfigError(
                    f"{location}: was begun with {key} {value}, the configuration says {identity.get(key)}: its state fits "
                    f"no other number; set {key} back, or take it to another one with 'sightline rescale'"
                )
        return location

    def find(self, query: str) -> tuple[str, dict[str, Any] | None]:
        """Name of the checkpoint that the query goes on in, and what it was begun under; it is held until release()."""
        name = query
        while True:
            # Read under the lock: whoever moves a checkpoint holds it.
            begun = read_identity(SmallFiles(self._spark, self._held(name)))
            if begun is None:
                self._require_none_after(query)
                return name, None
            if MOVED_TO not in begun:
                return name, begun
            name = begun[MOVED_TO]

    def _require_none_after(self, query: str) -> None:
        """A first checkpoint that somebody deleted would be begun anew, and all input read again."""
        after = [name for name in SmallFiles(self._spark, self._root).names("") if name.startswith(f"{query}-")]
        if after:
            raise StorageError(
                f"{self._root}/{query}: was begun by nobody, yet {min(after)} stands beside it: put its {IDENTITY_FILE} "
                "back, which says where it moved to"
            )

    def release(self) -> None:
        """Give up every claim."""
        for descriptor in self._locks.values():
            os.close(descriptor)
        self._locks.clear()

    def _held(self, name: str) -> str:
        """Location of a checkpoint, which no other driver has from now on."""
        if is_local(self._root) and name not in self._locks:
            self._locks[name] = self._lock(Path(urlsplit(self._root).path, name))
        return f"{self._root}/{name}"

    def _lock(self, folder: Path) -> int:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(
                f"{folder}: cannot be written ({error.strerror}): correct checkpoint_root or free space"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StorageError(
                f"{folder}: another driver runs on this checkpoint: stop it, or give this one a checkpoint_root of its own"
            ) from error
        return descriptor


def read_identity(files: SmallFiles) -> dict[str, Any] | None:
    """What the checkpoint of ``files`` was begun under, and MOVED_TO where it was left for another; None: not begun."""
    content = files.read(IDENTITY_FILE)
    if content is None:
        return None
    identity: dict[str, Any] = json.loads(content)
    return identity


def write_identity(files: SmallFiles, identity: dict[str, Any]) -> None:
    """Write down what the checkpoint of ``files`` was begun under."""
    files.write(IDENTITY_FILE, json.dumps(identity).encode())
