"""The judge's process: the job ``models`` and the judge's looks in one Spark driver.

    python -m sightline.rollout.judge_process --config job.yaml --status judge.json --registry sqlite:///mlflow.db

SIGTERM and SIGINT end it, and so may SIGKILL: a later start goes on exactly where it was.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from sightline.jars import fetch_jars
from sightline.rollout.attesting import Attested, attester, no_policy
from sightline.rollout.fleet import Fleet, latest_statuses
from sightline.rollout.journal import Journal, Registry
from sightline.rollout.judge import Judge
from sightline.rollout.plan_topic import PlanFollower
from sightline_contract.errors import SightlineError
from sightline_contract.topics import AUDIT, MODEL_ROLLOUT, ROLLOUT_KEYS, ROLLOUT_PLANS
from sightline_lakehouse.ddl import create_tables
from sightline_lakehouse.tables import MODEL_ROLLOUTS
from sightline_streaming import audit, models
from sightline_streaming.application import Application
from sightline_streaming.config import JobConfig, load_job_config
from sightline_streaming.kafka import await_topics

LOOK_S: Final = 2.0
_MASTER: Final = "local[3]"
_BROKER_TIMEOUT_S: Final = 60.0
# MLflow's client would try for minutes while the fleet waits; the journal tries again.
_REGISTRY_PATIENCE: Final = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def run(
    config: JobConfig,
    status: Path,
    registry: Registry | None,
    look_s: float,
    to_stop: threading.Event,
    attested: Attested = no_policy,
    *,
    chain_audit: bool = False,
) -> None:
    """Judge until ``to_stop`` is set; raises SightlineError where a streaming query fails.

    ``chain_audit``: keep the audit log, too, where no job archive does.
    """
    fleet = Fleet()
    jobs = [replace(models.JOB, start=partial(models.start, tell=fleet.take)), *([audit.JOB] if chain_audit else [])]
    topics = [ROLLOUT_PLANS, ROLLOUT_KEYS, MODEL_ROLLOUT, AUDIT, *(topic for job in jobs for topic in job.topics)]
    await_topics(config.kafka, topics, _BROKER_TIMEOUT_S)
    with Application(config, jobs, master=_MASTER, jars=fetch_jars("spark")) as application:
        _listen(to_stop)
        create_tables(application.spark, config.table_root, (MODEL_ROLLOUTS,))
        fleet.take(latest_statuses(application.spark, config.table_root))
        application.start()
        application.await_ready()
        plans = PlanFollower(config.kafka)
        judge = Judge(
            application.spark, config.table_root, fleet, plans, Journal(application.spark, config, registry), attested
        )
        try:
            while not to_stop.is_set():
                begun_s = time.monotonic()
                judge.look()
                _write(status, {"state": "ready", **judge.as_json()})
                application.check()
                to_stop.wait(max(0.0, look_s - (time.monotonic() - begun_s)))
        finally:
            plans.close()


def _listen(to_stop: threading.Event) -> None:
    """PySpark sets a handler of its own for SIGINT when it starts, hence after that."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: to_stop.set())


def _write(path: Path, content: object) -> None:
    staged = path.with_name(path.name + ".new")
    staged.write_text(json.dumps(content), encoding="utf-8")
    staged.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = _parser().parse_args(arguments)
    for name, value in _REGISTRY_PATIENCE.items():
        os.environ.setdefault(name, value)
    options.status.parent.mkdir(parents=True, exist_ok=True)
    _write(options.status, {"state": "starting", "error": ""})
    try:
        config = load_job_config(options.config, os.environ, options.set)
        registry = None
        if options.registry:
            from sightline.rollout.registry_door import RegistryDoor

            registry = RegistryDoor(options.registry, config.kafka)
        attested = attester(options.attest_policy, options.trust)
        run(config, options.status, registry, options.look_s, threading.Event(), attested, chain_audit=options.audit)
    except SightlineError as error:
        traceback.print_exc()
        _write(options.status, {"state": "failed", "error": str(error)})
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    _write(options.status, {"state": "stopped", "error": ""})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The judge of rollouts, with the job that makes its tables.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="job configuration (YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="stands above the file, repeatable")
    parser.add_argument("--status", type=Path, required=True, metavar="FILE", help="keep a JSON status file")
    parser.add_argument("--registry", default="", metavar="URI", help="the model registry; none: aliases and tags wait")
    parser.add_argument("--attest-policy", type=Path, metavar="FILE", help="what statements of boot must say (YAML)")
    parser.add_argument("--trust", type=Path, metavar="FILE", help="the nodes' authority, for these statements (PEM)")
    parser.add_argument("--audit", action="store_true", help="keep the audit log, too: for a site without the job archive")
    parser.add_argument("--look-s", type=float, default=LOOK_S, metavar="S", help="time between two looks")
    return parser


if __name__ == "__main__":
    sys.exit(main())
