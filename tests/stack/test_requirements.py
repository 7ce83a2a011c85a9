"""requirements.txt: in step with pyproject.toml, every package by its hash, no address of a registry; set-up is quick again."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "requirements.txt").read_text(encoding="utf-8")
PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)(\[[^]]*\])?==(?P<version>\S+)", re.MULTILINE)


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lists = [
        project["build-system"]["requires"],
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ]
    return [Requirement(text) for each in lists for text in each]


def test_every_declared_package_is_pinned_at_a_version_that_it_allows() -> None:
    pins: dict[str, list[Version]] = {}
    for match in PIN.finditer(TEXT):
        pins.setdefault(canonicalize_name(match["name"]), []).append(Version(match["version"]))
    out_of_step = [
        str(wanted)
        for wanted in declared()
        if canonicalize_name(wanted.name) != "sightline"
        and not any(wanted.specifier.contains(pin) for pin in pins.get(canonicalize_name(wanted.name), []))
    ]
    assert out_of_step == [], "run 'make lock'"


def test_every_pin_has_hashes() -> None:
    blocks = re.split(r"\n(?=[a-z0-9])", TEXT.split("\n", 2)[2])
    assert len(blocks) > 100
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_no_address_stands_in_it() -> None:
    assert "://" not in TEXT


def test_set_up_does_nothing_when_nothing_changed(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    for name in ("Makefile", "requirements.txt", "pyproject.toml", "stack/setup.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / ".venv/ready").touch()
    assert subprocess.run(["make", "--question", "setup"], cwd=tmp_path, check=False).returncode == 0
    ready = (tmp_path / ".venv/ready").stat()
    newer = (ready.st_atime_ns, ready.st_mtime_ns + 10**9)
    os.utime(tmp_path / "requirements.txt", ns=newer)
    assert subprocess.run(["make", "--question", "setup"], cwd=tmp_path, check=False).returncode == 1
