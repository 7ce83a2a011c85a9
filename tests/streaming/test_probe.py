"""The probe of an orchestrator: what a job's status file means, and that the jobs write what it reads."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sightline_contract.errors import StageError
from sightline_streaming import probe
from sightline_streaming.status import State, StatusFile

if TYPE_CHECKING:
    from tests.streaming.conftest import Site

NOW_S = 1_800_000_000.0


@pytest.fixture
def status(tmp_path: Path) -> Callable[..., Path]:
    """Write a status file that is ``age_s`` old, of a query whose last trigger ended ``silent_s`` ago."""

    def write(state: str, *, error: str = "", age_s: float = 0.2, silent_s: float = 1.0) -> Path:
        query = {"batches": 7, "rows": 70, "progressed_at_s": NOW_S - silent_s}
        path = tmp_path / "status.json"
        path.write_text(json.dumps({"state": state, "error": error, "queries": {"tracking": query}}))
        os.utime(path, (NOW_S - age_s, NOW_S - age_s))
        return path

    return write


def live(path: Path) -> str:
    return probe.require_live(path, NOW_S, max_age_s=30, max_batch_s=600)


def ready(path: Path) -> str:
    return probe.require_ready(path, NOW_S, max_age_s=30)


def test_the_probe_knows_the_states_of_a_job() -> None:
    assert {probe.STARTING, *probe.SERVING, *probe.ENDED} < set(State)


def test_a_job_whose_queries_take_input_is_ready_and_alive(status: Callable[..., Path]) -> None:
    assert ready(status("ready")) == "ready: tracking 7 batches"
    assert live(status("ready")) == "live: tracking 7 batches"


@pytest.mark.parametrize("state", ["starting", "draining", "checking", "failed", "stopped"])
def test_a_job_in_any_other_state_is_not_ready(status: Callable[..., Path], state: str) -> None:
    with pytest.raises(StageError, match=state):
        ready(status(state))


def test_a_job_that_starts_is_alive_however_long_it_takes(status: Callable[..., Path]) -> None:
    assert live(status("starting", age_s=500)) == "live: starting"


def test_what_the_last_container_left_behind_makes_none_ready(status: Callable[..., Path]) -> None:
    with pytest.raises(StageError, match="last written 31 s ago, 30 allowed"):
        ready(status("ready", age_s=31))


def test_a_driver_that_hangs_is_not_alive(status: Callable[..., Path]) -> None:
    with pytest.raises(StageError, match="the driver hangs"):
        live(status("ready", age_s=31))


def test_a_query_that_ends_no_trigger_is_not_alive(status: Callable[..., Path]) -> None:
    assert live(status("ready", silent_s=599))
    with pytest.raises(StageError, match="tracking is at one micro-batch for 601 s, 600 allowed"):
        live(status("ready", silent_s=601))


def test_a_job_that_failed_says_why_it_is_not_alive(status: Callable[..., Path]) -> None:
    with pytest.raises(StageError, match=r"the job is failed \(no broker\)"):
        live(status("failed", error="no broker"))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": "ready"}'])
def test_a_file_that_is_no_status_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "status.json").write_text(content)
    with pytest.raises(StageError, match="is no status file"):
        live(tmp_path / "status.json")


def test_the_command_is_one_line_and_an_exit_code_and_loads_no_spark(tmp_path: Path) -> None:
    missing = tmp_path / "status.json"
    command = [sys.executable, "-X", "importtime", "-m", "sightline_streaming.probe", "ready", "--status", str(missing)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert f"error: {missing}: no status (No such file or directory)" in ended.stderr.splitlines()[-1]
    assert "pyspark" not in ended.stderr


@pytest.mark.spark
@pytest.mark.kafka
def test_a_job_that_was_idle_counts_what_follows_and_is_alive_meanwhile(site: "Site", monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle trigger bears the number of the batch to come, which must not be taken for counted by then."""
    monkeypatch.setattr("sightline_streaming.status._INTERVAL_S", 0.0)
    path = site.folder / "status.json"
    file = StatusFile(path)
    idle_ms = "spark.sql.streaming.noDataProgressEventInterval"
    site.spark.conf.set(idle_ms, "100")
    try:
        with site.application("tracking") as application:
            site.send_batches(0)
            application.start()

            def told() -> dict[str, Any]:
                file.tell(State.READY, application, False)
                query: dict[str, Any] = json.loads(path.read_text())["queries"]["tracking"]
                return query

            first = wait_for(told, lambda query: query["rows"] > 0)
            idle = wait_for(told, lambda query: query["progressed_at_s"] > first["progressed_at_s"] + 1)
            assert (idle["batches"], idle["rows"]) == (first["batches"], first["rows"])
            assert "tracking" in probe.require_live(path, time.time(), max_age_s=5, max_batch_s=5)
            site.send_batches(1, 2)
            after = wait_for(told, lambda query: query["rows"] >= idle["rows"] + 2)
            assert after["batches"] > idle["batches"]
    finally:
        site.spark.conf.unset(idle_ms)


def wait_for(told: Callable[[], dict[str, Any]], holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 300  # the first use compiles the kernels
    while not holds(query := told()):
        assert time.monotonic() < deadline, query
        time.sleep(0.1)
    return query
