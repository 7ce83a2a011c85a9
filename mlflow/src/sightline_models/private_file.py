"""Files with keys: their owner's alone, written whole."""

import os
import stat
from pathlib import Path

from sightline_contract.errors import ConfigError


def read_private(path: Path) -> bytes:
    """The content of a key's file; raises ConfigError where it cannot be read, or others can."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise ConfigError(f"{path}: others may read it (mode {mode:04o}): chmod 600 {path}")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): check the path and its permissions") from error


def write_private(path: Path, content: bytes) -> None:
    """Write a new file that its owner alone may read; raises ConfigError where it is there or cannot be made."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made ({error.strerror}): choose another path") from error
