"""Finds a Java that Spark and Kafka both run on.

Looks at ``$JAVA_HOME``, the ``PATH`` and the folders where Linux distributions put their JDKs, in that order, and takes
the first that says it is a supported version: a machine may well have a newer one in front.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sightline_contract.errors import ToolMissingError

SUPPORTED_VERSIONS = (17, 21)

_COMMON_FOLDERS = ("/usr/lib/jvm", "/usr/java", "/opt/java", "/opt", "~/.sdkman/candidates/java")
_VERSION_LINE = re.compile(r'version "(?:1\.)?(\d+)')
_ANSWER_TIMEOUT_S = 20


@dataclass(frozen=True)
class Java:
    """A Java runtime of this machine."""

    executable: Path
    version: int

    @property
    def home(self) -> Path:
        """What ``JAVA_HOME`` must be for this Java."""
        return self.executable.resolve().parent.parent


def find_java() -> Java:
    """The Java to use; raises ToolMissingError with one line that says how to install one."""
    seen: dict[Path, int] = {}
    for candidate in _candidates():
        executable = candidate.resolve()
        if executable in seen:
            continue
        version = java_version(candidate)
        if version in SUPPORTED_VERSIONS:
            return Java(candidate, version)
        seen[executable] = version or 0
    others = sorted({str(version) for version in seen.values() if version})
    found = f"only {', '.join(others)} found" if others else "none found"
    raise ToolMissingError(
        f"Java 17 or 21 is needed ({found}): 'apt install openjdk-17-jre-headless' on Debian or Ubuntu 22.04+, "
        "'dnf install java-21-openjdk-headless' on Fedora, or set JAVA_HOME"
    )


def java_version(executable: Path) -> int | None:
    """The feature version that ``executable`` reports, or None if it cannot be run."""
    try:
        answer = subprocess.run([executable, "-version"], capture_output=True, text=True, timeout=_ANSWER_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION_LINE.search(answer.stderr + answer.stdout)
    return int(match.group(1)) if match else None


def _candidates() -> Iterator[Path]:
    """Executables named java, those that the user chose first."""
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin/java").is_file():
        yield Path(home) / "bin/java"
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path)
    for folder in _COMMON_FOLDERS:
        yield from sorted(Path(folder).expanduser().glob("*/bin/java"))
