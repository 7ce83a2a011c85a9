"""The Spark driver of the one-machine stack: every streaming job and a SQL endpoint (Spark Connect) in one JVM.

    python -m sightline.driver --config job.yaml --status status.json --connect-port 15002 --gate FOLDER

SIGTERM and SIGINT end it at once; what a micro-batch had not committed is done again by the next start. SIGUSR1 is for
input that has ended: the jobs take all that is there and end, the quality gate judges the tables and leaves its report in
``--gate``, and the SQL endpoint goes on until SIGTERM.
"""

import argparse
import os
import signal
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyspark.sql import SparkSession

from sightline.jars import fetch_jars
from sightline.ports import LOOPBACK
from sightline_contract.errors import SightlineError
from sightline_lakehouse.ddl import create_tables, register_tables
from sightline_lakehouse.quality import run_quality_gate
from sightline_streaming.application import JOBS, PIPELINE, Application
from sightline_streaming.config import JobConfig, load_job_config
from sightline_streaming.kafka import await_topics
from sightline_streaming.session import build_session
from sightline_streaming.status import State, StatusFile

# Slots, not cores: the real-time query keeps one for itself as long as it runs.
_MASTER = "local[4]"
_BROKER_TIMEOUT_S = 60.0


class Driver:
    """The driver's life, from the first line to the last."""

    def __init__(self, config: JobConfig, status: StatusFile, connect_port: int, gate_folder: Path) -> None:
        self._config = config.model_copy(update={"spark": connect_settings(connect_port) | config.spark})
        self._status = status
        self._gate_folder = gate_folder
        self._to_drain = threading.Event()
        self._to_stop = threading.Event()

    def run(self) -> None:
        """Run until SIGTERM; raises SightlineError."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            prepared = [pool.submit(JOBS[name].prepare) for name in PIPELINE]
            spark = build_session("sightline", self._config, _MASTER, fetch_jars("spark"))
            for each in prepared:
                each.result()
        self._listen()
        try:
            await_broker(self._config)
            create_tables(spark, self._config.table_root)
            self._stream(spark)
            if not self._to_stop.is_set():
                self._status.write(State.CHECKING)
                # Not before: it takes seconds, in which the node would wait for jobs that take input.
                register_tables(spark, self._config.table_root)
                run_quality_gate(spark, self._config.table_root, self._gate_folder)
                self._status.write(State.SERVING)
                self._to_stop.wait()
        finally:
            spark.stop()
        self._status.write(State.STOPPED)

    def _stream(self, spark: SparkSession) -> None:
        with Application(self._config, PIPELINE, spark=spark) as application:
            application.start()
            application.await_ready()
            application.await_any_failure(lambda: self._status.tell(State.READY, application, self._asked_to_end()))
            if not self._to_stop.is_set():
                application.drain(lambda: self._status.tell(State.DRAINING, application, self._to_stop.is_set()))

    def _asked_to_end(self) -> bool:
        return self._to_drain.is_set() or self._to_stop.is_set()

    def _listen(self) -> None:
        """Take signals; PySpark sets a handler of its own for SIGINT when it starts, hence after that."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._to_stop.set())
        signal.signal(signal.SIGUSR1, lambda *_: self._to_drain.set())


def connect_settings(port: int) -> dict[str, str]:
    """Spark settings that make the driver's JVM serve Spark Connect on the loopback interface."""
    return {
        "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
        "spark.connect.grpc.binding.address": LOOPBACK,
        "spark.connect.grpc.binding.port": str(port),
    }


def await_broker(config: JobConfig) -> None:
    """Wait for the broker, which may start at the same time; raises BrokerError when it does not come."""
    topics = [topic for name in PIPELINE for topic in JOBS[name].topics]
    await_topics(config.kafka, topics, _BROKER_TIMEOUT_S)


def main() -> int:
    """Entry point; returns the exit code."""
    options = _parser().parse_args()
    status = StatusFile(options.status)
    status.write(State.STARTING)
    try:
        config = load_job_config(options.config, os.environ)
        Driver(config, status, options.connect_port, options.gate).run()
    except SightlineError as error:
        traceback.print_exc()
        status.write(State.FAILED, error=str(error))
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="All streaming jobs and a SQL endpoint in one Spark driver.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="job configuration (YAML)")
    parser.add_argument("--status", type=Path, required=True, metavar="FILE", help="keep a JSON status file")
    parser.add_argument("--connect-port", type=int, required=True, metavar="PORT", help="port of the SQL endpoint")
    parser.add_argument("--gate", type=Path, required=True, metavar="FOLDER", help="where the quality gate leaves its report")
    return parser


if __name__ == "__main__":
    sys.exit(main())
