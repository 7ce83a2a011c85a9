"""Whether a running job is ready, or alive, by the status file that it keeps: one line and an exit code, for an orchestrator.

    python -m sightline_streaming.probe ready --status FILE
    python -m sightline_streaming.probe live --status FILE --max-age-s 30 --max-batch-s 600

*Ready*: every query takes input, and the file is fresh. *Live*: the file is fresh, and no query is longer at one micro-batch
than ``--max-batch-s``. A job without input is alive: Spark reports an idle trigger every ten seconds. A job that is starting
counts as alive, however long it takes, since its file is written once and then not before all queries run: a startup probe on
*ready* bounds that.

It must answer within a second on a busy machine, so it imports no Spark.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sightline_contract.errors import SightlineError, StageError

# Values of status.State, which cannot be imported without Spark; a test holds them equal.
STARTING = "starting"
SERVING = ("ready", "serving")
ENDED = ("failed", "stopped")


def require_ready(status: Path, now_s: float, max_age_s: float) -> str:
    """What the job does, in a line; raises StageError unless all its queries take input."""
    told = _read(status)
    if told["state"] not in SERVING:
        raise StageError(f"{status}: the job is {_state(told)}: not ready")
    _require_fresh(status, now_s, max_age_s)
    return f"ready: {_batches(told)}"


def require_live(status: Path, now_s: float, max_age_s: float, max_batch_s: float) -> str:
    """What the job does, in a line; raises StageError where only a restart would help."""
    told = _read(status)
    if told["state"] in ENDED:
        raise StageError(f"{status}: the job is {_state(told)}: start it again")
    if told["state"] == STARTING:
        return "live: starting"
    _require_fresh(status, now_s, max_age_s)
    for name, query in told["queries"].items():
        silent_s = now_s - query["progressed_at_s"]
        if silent_s > max_batch_s:
            raise StageError(
                f"{status}: {name} is at one micro-batch for {silent_s:.0f} s, {max_batch_s:.0f} allowed: restart it"
            )
    return f"live: {_batches(told)}"


def _read(status: Path) -> dict[str, Any]:
    try:
        told = json.loads(status.read_text(encoding="utf-8"))
    except OSError as error:
        raise StageError(f"{status}: no status ({error.strerror}): has the job been started with --status?") from error
    except ValueError as error:
        raise StageError(f"{status}: is no status file: give the one that the job's --status names") from error
    if not (isinstance(told, dict) and isinstance(told.get("queries"), dict) and "state" in told):
        raise StageError(f"{status}: is no status file: give the one that the job's --status names")
    return told


def _require_fresh(status: Path, now_s: float, max_age_s: float) -> None:
    age_s = now_s - status.stat().st_mtime
    if age_s > max_age_s:
        raise StageError(f"{status}: last written {age_s:.0f} s ago, {max_age_s:.0f} allowed: the driver hangs: restart it")


def _state(told: dict[str, Any]) -> str:
    return f"{told['state']} ({told['error']})" if told.get("error") else str(told["state"])


def _batches(told: dict[str, Any]) -> str:
    return ", ".join(f"{name} {query['batches']} batches" for name, query in told["queries"].items()) or "no queries"


def main(arguments: Sequence[str] | None = None) -> int:
    """Say what the status file says; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sightline_streaming.probe", description="Is a job ready, or alive?")
    parser.add_argument("what", choices=("ready", "live"))
    parser.add_argument("--status", type=Path, required=True, metavar="FILE", help="the file of the job's --status")
    parser.add_argument("--max-age-s", type=float, default=30.0, help="a running job writes it every half second")
    parser.add_argument("--max-batch-s", type=float, default=600.0, help="live: the longest that one micro-batch may take")
    options = parser.parse_args(arguments)
    try:
        if options.what == "ready":
            print(require_ready(options.status, time.time(), options.max_age_s))
        else:
            print(require_live(options.status, time.time(), options.max_age_s, options.max_batch_s))
    except SightlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
