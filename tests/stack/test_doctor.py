"""What the doctor says of a machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from sightline.doctor import Finding, State, examine
from sightline.ports import free_port


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_an_empty_cache_is_named_and_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "empty"))
    findings = by_name(examine(free_port()))
    assert {findings[name].state for name in ("jars: kafka", "jars: spark", "default detector", "sample clip")} == {State.LATER}
    assert findings["jars: spark"].remedy == "sightline jars"
    assert not [finding for finding in findings.values() if finding.state is State.MISSING]
    assert not (tmp_path / "empty").exists()


def test_what_is_installed_is_told_apart_from_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.doctor._PACKAGES_BY_EXTRA", {"edge": ("av", "surely_not_installed"), "models": ("onnx",)})
    findings = by_name(examine(free_port()))
    assert findings["Python packages: models"].state is State.PRESENT
    lacking = findings["Python packages: edge"]
    assert (lacking.state, lacking.found, lacking.remedy) == (
        State.MISSING,
        "lacks surely_not_installed",
        "pip install 'sightline[edge]'",
    )


def test_a_missing_java_is_exit_code_1_with_the_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.java._COMMON_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    java = by_name(examine(free_port()))["Java 17 or 21"]
    assert java.state is State.MISSING
    assert "apt install" in java.remedy


def test_the_command_prints_the_table_and_the_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path))
    command = [str(Path(sys.executable).with_name("sightline")), "doctor", "--port", str(free_port())]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout
    assert "Java 17 or 21" in result.stdout
    assert "jars: kafka: sightline jars" in result.stdout.splitlines()
