"""Files that appear complete or not at all: a rerun never trips over half of one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sightline_contract.errors import StorageError


@contextmanager
def whole_file(path: Path, refusals: tuple[type[Exception], ...] = (OSError,)) -> Iterator[Path]:
    """A path to write to that becomes ``path`` when the block ends well and vanishes when it does not.

    ``refusals`` are the errors that mean that the disk refused; they become a StorageError.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except refusals as error:
        reason = getattr(error, "strerror", None) or error
        raise StorageError(f"{path}: cannot be written ({reason}): check the folder and the free space") from error
