"""Checkpoint folders: one per query, claimed by one driver, begun and continued under the same numbers.

Two drivers on one checkpoint would each take the other's micro-batches for done. On a local disk a lock refuses the second
at once; it goes with the process, however that ends. An object store has no locks: there Spark's own commit log stops the
slower of the two at its next micro-batch.

The number of shards and state partitions cannot change under a state: they are written down when a checkpoint begins.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyspark.sql import SparkSession

from sightline_contract.errors import ConfigError, StorageError
from sightline_lakehouse.ddl import is_local

IDENTITY_FILE = "sightline.json"
LOCK_FILE = "sightline.lock"


class Checkpoints:
    """The checkpoints below ``root`` that this driver has claimed."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self._spark = spark
        self._root = root.rstrip("/")
        self._locks: dict[str, int] = {}

    def claim(self, query: str, **identity: int) -> str:
        """Location of the query's checkpoint, held by this driver until release().

        Raises StorageError where another driver holds it, ConfigError where it was begun under another ``identity``.
        """
        location = f"{self._root}/{query}"
        if is_local(self._root) and query not in self._locks:
            self._locks[query] = self._lock(Path(urlsplit(location).path))
        self._agree(location, identity)
        return location

    def release(self) -> None:
        """Give up every claim."""
        for descriptor in self._locks.values():
            os.close(descriptor)
        self._locks.clear()

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

    def _agree(self, location: str, identity: dict[str, int]) -> None:
        if not identity:
            return
        file = _HadoopFile(self._spark, f"{location}/{IDENTITY_FILE}")
        begun = file.read()
        if begun is None:
            file.write(json.dumps(identity))
            return
        for key, value in json.loads(begun).items():
            if identity.get(key) != value:
                raise ConfigError(
                    f"{location}: was begun with {key} {value}, the configuration says {identity.get(key)}: its state fits "
                    f"no other number; set {key} back"
                )


class _HadoopFile:
    """A small file wherever Spark can write."""

    def __init__(self, spark: SparkSession, location: str) -> None:
        # Hadoop's file systems are reached through the JVM: PySpark has no public door to them.
        context: Any = spark.sparkContext
        self._jvm = context._jvm
        self._path = self._jvm.org.apache.hadoop.fs.Path(location)
        self._system = self._path.getFileSystem(context._jsc.hadoopConfiguration())

    def read(self) -> str | None:
        if not self._system.exists(self._path):
            return None
        stream = self._system.open(self._path)
        try:
            return bytes(stream.readAllBytes()).decode()
        finally:
            stream.close()

    def write(self, text: str) -> None:
        stream = self._system.create(self._path, True)
        try:
            stream.write(text.encode())
        finally:
            stream.close()
