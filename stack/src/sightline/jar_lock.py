"""The lock file of the JVM side: which jars, which versions, which bytes.

``jars.lock`` holds one section a group (``kafka``: the embedded broker; ``spark``: the connectors beside PySpark's own
jars) and one line a jar: its Maven coordinate and its SHA-256. Nothing is resolved when jars are fetched, so two machines
hold the same bytes. To change a version, edit ``ROOTS`` and run ``python -m sightline.jar_lock``.
"""

import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sightline_contract.errors import ConfigError

LOCK_FILE = Path(__file__).with_name("jars.lock")


@dataclass(frozen=True)
class Root:
    """A jar that a group asks for by name, and whether its dependencies are wanted too."""

    coordinate: str
    transitive: bool = False


ROOTS: dict[str, tuple[Root, ...]] = {
    "kafka": (
        Root("org.apache.kafka:kafka_2.13:4.3.1", transitive=True),
        Root("org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"),  # the logging backend, which the jar itself does not name
    ),
    # Listed one by one: what they depend on beyond these is among PySpark's own jars, in PySpark's versions.
    "spark": (
        Root("io.delta:delta-spark_4.2_2.13:4.4.0"),
        Root("io.delta:delta-storage:4.4.0"),
        Root("io.delta:delta-kernel-api:4.4.0"),
        Root("io.delta:delta-kernel-defaults:4.4.0"),
        Root("io.delta:delta-kernel-unitycatalog:4.4.0"),
        Root("io.unitycatalog:unitycatalog-client:0.6.0"),
        Root("io.unitycatalog:unitycatalog-hadoop:0.6.0"),
        Root("org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0"),
        Root("org.apache.spark:spark-token-provider-kafka-0-10_2.13:4.2.0"),
        Root("org.apache.kafka:kafka-clients:3.9.2"),
        Root("org.apache.commons:commons-pool2:2.13.1"),
    ),
}


@dataclass(frozen=True, order=True)
class Jar:
    """One pinned jar."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinate(self) -> str:
        """``group:artifact:version``."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        """Name of the file in a repository and in the cache."""
        return f"{self.artifact}-{self.version}.jar"


@cache
def read_lock(path: Path = LOCK_FILE) -> dict[str, tuple[Jar, ...]]:
    """The pinned jars of each group; raises ConfigError naming the line that cannot be read."""
    groups: dict[str, list[Jar]] = {}
    section: list[Jar] | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if text.startswith("[") and text.endswith("]"):
            section = groups.setdefault(text[1:-1], [])
        elif text:
            coordinate, _, sha256 = text.partition(" ")
            if section is None or coordinate.count(":") != 2 or len(sha256) != 64:
                raise ConfigError(f"{path}, line {number}: expected 'group:artifact:version sha256' below a [section]")
            group, artifact, version = coordinate.split(":")
            section.append(Jar(group, artifact, version, sha256))
    return {name: tuple(jars) for name, jars in groups.items()}


def write_lock(groups: dict[str, Iterable[Jar]], path: Path = LOCK_FILE) -> None:
    """Write ``groups`` in the form that ``read_lock`` reads."""
    lines = ["# Written by `python -m sightline.jar_lock`. A line: Maven coordinate, SHA-256 of the jar."]
    for name, jars in groups.items():
        lines += ["", f"[{name}]", *(f"{jar.coordinate} {jar.sha256}" for jar in sorted(jars))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def resolve(roots: Iterable[Root], repository: Path) -> set[Jar]:
    """Resolve ``roots`` to jars, downloading them below ``repository`` to take their digests.

    Each root on its own: resolved together, the build file of one would set the versions of another's dependencies.
    """
    from jgo.maven import MavenContext

    maven = MavenContext(repo_cache=repository, timeout=60)
    found: set[Jar] = set()
    for root in roots:
        wanted = [maven.create_dependency(root.coordinate)]
        if root.transitive:
            _, below = maven.resolver.resolve(wanted)
            wanted += [each for each in below if each.scope in ("compile", "runtime") and not each.optional]
        for each in wanted:
            sha256 = hashlib.sha256(each.artifact.resolve().read_bytes()).hexdigest()
            found.add(Jar(each.groupId, each.artifactId, each.version, sha256))
    return found


def main() -> None:
    """Resolve every group again and write the lock file."""
    with tempfile.TemporaryDirectory(prefix="sightline-jars-") as folder:
        write_lock({name: resolve(roots, Path(folder)) for name, roots in ROOTS.items()})


if __name__ == "__main__":
    main()
