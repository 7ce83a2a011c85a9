"""Small files through Hadoop on a local disk."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sightline_streaming.small_files import SmallFiles

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def test_a_file_is_written_again_and_leaves_nothing_beside_it(spark: "SparkSession", tmp_path: Path) -> None:
    files = SmallFiles(spark, f"{tmp_path}/judge")
    assert files.read("journal.json") is None
    assert files.names("") == []
    files.write("journal.json", b"[1]")
    files.write("journal.json", b"[1, 2]")
    assert files.read("journal.json") == b"[1, 2]"
    assert [path.name for path in (tmp_path / "judge").iterdir()] == files.names("") == ["journal.json"]


def test_a_checksum_of_what_was_there_before_is_no_matter(spark: "SparkSession", tmp_path: Path) -> None:
    """What a writer leaves that is killed between file and checksum. Protection: Hadoop's file system without checksums."""
    path = tmp_path / "journal.json"
    _write_with_checksum(spark, path, b"[]")
    (tmp_path / "new").write_bytes(b"[1]")
    (tmp_path / "new").replace(path)
    files = SmallFiles(spark, str(tmp_path))
    assert (tmp_path / ".journal.json.crc").exists()
    assert files.read("journal.json") == b"[1]"
    files.write("journal.json", b"[1, 2]")
    assert files.read("journal.json") == b"[1, 2]"
    assert files.names("") == ["journal.json"]


def _write_with_checksum(spark: "SparkSession", path: Path, content: bytes) -> None:
    """As Hadoop writes a local file, and as ours were written once."""
    context = spark.sparkContext
    to = context._jvm.org.apache.hadoop.fs.Path(str(path))
    stream = to.getFileSystem(context._jsc.hadoopConfiguration()).create(to)
    stream.write(content)
    stream.close()
