"""The front door: what it lists, how it fails, how fast it answers."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from sightline import cli
from sightline_contract.errors import ConfigError, ToolMissingError

SIGHTLINE = Path(sys.executable).with_name("sightline")
Captured = pytest.CaptureFixture[str]


def sightline(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SIGHTLINE, *words], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(sys, "argv", ["sightline", "status"])
    return monkeypatch


def run_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def fail() -> None:
        raise error

    monkeypatch.setattr("sightline.commands.status_command", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_help_lists_every_command_with_a_line() -> None:
    shown = sightline("--help")
    assert shown.returncode == 0
    for command in cli.COMMANDS:
        assert f"{command.name} " in shown.stdout
        assert command.help in shown.stdout


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from sightline import cli; sys.argv = ['sightline', '--help']; cli.main()"
    probe = f"import atexit, sys; atexit.register(lambda: print(sorted(sys.modules), file=sys.stderr)); {code}"
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    for heavy in ("numpy", "pyspark", "cv2", "confluent_kafka", "jgo", "psutil", "pydantic", "rich.console"):
        assert f"'{heavy}'" not in shown.stderr


def test_the_version_is_told() -> None:
    assert sightline("--version").stdout.startswith("sightline 0.")


def test_a_slip_of_the_pen_is_answered_with_the_right_name() -> None:
    refused = sightline("docter")
    assert refused.returncode == 2
    assert "doctor" in refused.stderr


def test_an_error_is_one_line_and_exit_code_1(failing: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert run_with(ConfigError("camera.yaml: zones:\n  none given"), failing) == 1
    assert capsys.readouterr().err == "error: camera.yaml: zones: none given\n"


def test_a_full_disk_is_one_line_that_names_the_path(failing: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert run_with(OSError(errno.ENOSPC, "No space left on device", "/data/out.mp4"), failing) == 1
    assert capsys.readouterr().err.startswith("error: disk full: /data/out.mp4 could not be written: ")


def test_a_file_that_cannot_be_written_is_one_line_too(failing: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert run_with(PermissionError(errno.EACCES, "Permission denied", "/etc/report"), failing) == 1
    assert capsys.readouterr().err.startswith("error: /etc/report: Permission denied: ")


def test_an_interrupt_is_exit_code_130(failing: pytest.MonkeyPatch) -> None:
    assert run_with(KeyboardInterrupt(), failing) == 130


def test_debug_anywhere_on_the_line_shows_the_trace(failing: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ConfigError("wrong")

    failing.setattr("sightline.commands.status_command", fail)
    failing.setattr(sys, "argv", ["sightline", "status", "--debug"])
    with pytest.raises(ConfigError):
        cli.main()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = cli.LazyCommand("track", "", "package_that_is_not_there.commands", "track_command", "streaming")
    with pytest.raises(ToolMissingError, match=r"package_that_is_not_there: pip install 'sightline\[streaming\]'"):
        lazy.load()


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_every_command_answers_to_help(command: cli.LazyCommand) -> None:
    shown = sightline(command.name, "--help")
    assert shown.returncode == 0, shown.stderr
