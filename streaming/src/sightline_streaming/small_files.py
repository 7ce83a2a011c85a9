"""Small files wherever Spark can write: each is whole or absent, whatever happens meanwhile.

They are written the way Spark writes the logs of a checkpoint, so what makes its recovery safe on a file system makes ours. But
ours are written again under their names, and beside a local file Hadoop keeps its checksum, which it puts in place after the
file: a writer killed in between leaves one that nobody can read. So local files have none here, and one that is there is no
matter.
"""

from typing import Any

from pyspark.sql import SparkSession


class SmallFiles:
    """Files below a folder, by their names relative to it."""

    def __init__(self, spark: SparkSession, folder: str) -> None:
        # Hadoop's file systems are reached through the JVM: PySpark has no public door to them.
        context: Any = spark.sparkContext
        self._jvm = context._jvm
        self.folder = folder.rstrip("/")
        self._options = self._jvm.org.apache.hadoop.conf.Configuration(context._jsc.hadoopConfiguration())
        self._system = self._path("").getFileSystem(self._options)
        if self._system.getScheme() == "file":
            where = self._system.getUri()
            self._options.set("fs.AbstractFileSystem.file.impl", "org.apache.hadoop.fs.local.RawLocalFs")
            self._system = self._jvm.org.apache.hadoop.fs.RawLocalFileSystem()
            self._system.initialize(where, self._options)

    def read(self, name: str) -> bytes | None:
        """Content of a file, or None where there is none."""
        path = self._path(name)
        if not self._system.exists(path):
            return None
        stream = self._system.open(path)
        try:
            return bytes(stream.readAllBytes())
        finally:
            stream.close()

    def write(self, name: str, content: bytes) -> None:
        """Put a file in place, as a whole, in place of the one that was there."""
        path = self._path(name)
        self._system.mkdirs(path.getParent())
        files = self._jvm.org.apache.spark.sql.execution.streaming.checkpointing.CheckpointFileManager
        stream = files.create(path.getParent(), self._options).createAtomic(path, True)
        try:
            stream.write(content)
        except BaseException:
            stream.cancel()
            raise
        stream.close()

    def names(self, folder: str) -> list[str]:
        """Names of what is in a folder below, hidden files left out; none where it does not exist."""
        path = self._path(folder)
        if not self._system.exists(path):
            return []
        found = [status.getPath().getName() for status in self._system.listStatus(path)]
        return [name for name in found if not name.startswith(".")]  # checksums, and files that are being written

    def _path(self, name: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(f"{self.folder}/{name}" if name else self.folder)
