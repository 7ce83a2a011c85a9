"""Child processes: their logs, their end, and the end of their parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sightline.processes import last_line, start
from sightline_contract.errors import StageError

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def says_up(log: Path) -> bool:
    return log.exists() and "up" in log.read_text()


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_child_writes_its_log_and_ends_when_asked(tmp_path: Path) -> None:
    log = tmp_path / "logs/child.log"
    with start("child", SLEEPER, log) as child:
        child.wait_until(lambda: says_up(log), 20, "it says so")
        assert os.getpgid(child.pid) == child.pid
    assert child.exit_code == -signal.SIGTERM


def test_a_child_that_will_not_end_is_killed(tmp_path: Path) -> None:
    child = start("child", STUBBORN, tmp_path / "log")
    wait_for(lambda: says_up(tmp_path / "log"))
    assert child.stop(grace_s=0.2) == -signal.SIGKILL


def test_what_a_child_started_ends_with_it(tmp_path: Path) -> None:
    script = f"import subprocess, time; print(subprocess.Popen({STUBBORN!r}).pid, flush=True); time.sleep(600)"
    child = start("child", [sys.executable, "-c", script], tmp_path / "log")
    wait_for(lambda: says_up(tmp_path / "log"))
    grandchild = int((tmp_path / "log").read_text().split()[0])
    child.stop()
    wait_for(lambda: is_gone(grandchild))


def test_an_early_end_tells_the_last_thing_that_was_said(tmp_path: Path) -> None:
    child = start("edge", [sys.executable, "-c", "raise SystemExit('error: no such video')"], tmp_path / "log")
    with pytest.raises(StageError, match=r"^edge ended with exit code 1: no such video \(log: .*\)$"):
        child.wait_until(lambda: False, 20, "never")


def test_a_jvm_trace_is_told_by_its_exception_and_not_by_a_frame(tmp_path: Path) -> None:
    outer = "java.lang.RuntimeException: outer\n\tat a.B.c(B.java:1)\n"
    trace = outer + "Caused by: java.io.IOException: inner\n\tat a.B.d(B.java:2)\n\t... 9 more\n"
    child = start("driver", [sys.executable, "-c", f"print({trace!r}); raise SystemExit(3)"], tmp_path / "log")
    with pytest.raises(StageError, match=r"exit code 3: Caused by: java\.io\.IOException: inner"):
        child.check(20)


def test_the_newest_line_of_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(100_000)) + "\n")
    assert last_line(log) == "line 99999"
    assert last_line(tmp_path / "absent") == ""


def test_a_child_that_is_not_ready_in_time_is_an_error_that_names_the_log(tmp_path: Path) -> None:
    with start("child", SLEEPER, tmp_path / "log") as child, pytest.raises(StageError, match=r"not within 0 s: see .*log"):
        child.wait_until(lambda: False, 0.1, "ready")


@pytest.mark.parametrize(("tied", "survives"), [(True, False), (False, True)])
def test_only_an_untied_child_outlives_a_killed_parent(tmp_path: Path, *, tied: bool, survives: bool) -> None:
    log = tmp_path / "log"
    script = f"""
import pathlib, threading, time
from sightline.processes import start
log = pathlib.Path({str(log)!r})
def begin():
    child = start("child", {SLEEPER!r}, log, tied={tied})
    child.wait_until(lambda: "up" in log.read_text(), 20, "it says so")
    pids.append(child.pid)
pids = []
thread = threading.Thread(target=begin)
thread.start()
thread.join()  # the thread that asked for the child ends, and the child must not
time.sleep(0.1)
print(pids[0], flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert not is_gone(child.pid)
    finally:
        parent.kill()
        parent.communicate()
    if survives:
        assert not is_gone(child.pid)
        child.kill()
    wait_for(lambda: is_gone(child.pid))
