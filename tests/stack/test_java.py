"""Finding a Java among those that a machine has."""

from pathlib import Path

import pytest

from sightline import java
from sightline_contract.errors import ToolMissingError


def fake_java(home: Path, version: str) -> Path:
    executable = home / "bin/java"
    executable.parent.mkdir(parents=True)
    executable.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
    executable.chmod(0o755)
    return executable


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(java, "_COMMON_FOLDERS", (str(tmp_path / "jvm"),))
    return tmp_path


def test_this_machine_has_one_that_runs() -> None:
    found = java.find_java()
    assert found.version in java.SUPPORTED_VERSIONS
    assert (found.home / "bin/java").exists()


def test_the_users_choice_comes_first(bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_java(bare_machine / "jvm/a", "17.0.1")
    chosen = fake_java(bare_machine / "mine", "21.0.4")
    monkeypatch.setenv("JAVA_HOME", str(bare_machine / "mine"))
    assert java.find_java() == java.Java(chosen, 21)


def test_one_that_is_too_new_is_passed_over(bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_java(bare_machine / "mine", "25")
    monkeypatch.setenv("JAVA_HOME", str(bare_machine / "mine"))
    fake_java(bare_machine / "jvm/b", "17.0.9")
    assert java.find_java().version == 17


def test_an_old_version_number_is_read_right(tmp_path: Path) -> None:
    assert java.java_version(fake_java(tmp_path, "1.8.0_402")) == 8


def test_no_java_is_one_line_that_says_how_to_install_it(bare_machine: Path) -> None:
    fake_java(bare_machine / "jvm/c", "11.0.2")
    with pytest.raises(ToolMissingError, match=r"only 11 found.*apt install openjdk-17.*dnf install") as caught:
        java.find_java()
    assert "\n" not in str(caught.value)
