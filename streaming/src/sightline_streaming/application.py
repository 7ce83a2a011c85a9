"""Several jobs in one Spark driver: start them, watch them, and end them in order.

The order of ending is the way of the data: tracking, facts, alerts, archive. drain() lets each job take all that is there
for it before the next ends, so that afterwards the tables hold everything that Kafka held; it is meant for input that has
ended. stop() ends at once: what a micro-batch had not committed is done again by the next start.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from sightline_contract.camera import load_cameras
from sightline_contract.errors import ConfigError, SightlineError, StageError
from sightline_lakehouse.ddl import create_tables
from sightline_streaming import alerts, archive, facts, tracking
from sightline_streaming.checkpoints import Checkpoints
from sightline_streaming.config import JobConfig
from sightline_streaming.failures import explain_failure
from sightline_streaming.job import Job, JobContext
from sightline_streaming.kafka import require_topics
from sightline_streaming.session import build_session

# In the order of the data: drain() follows it.
JOBS: dict[str, Job] = {job.name: job for job in (tracking.JOB, facts.JOB, alerts.JOB, archive.JOB)}

_POLL_S = 0.2


class Application:
    """Streaming jobs of one driver: use it as a context manager."""

    def __init__(
        self,
        config: JobConfig,
        jobs: Sequence[str],
        *,
        master: str | None = None,
        jars: Sequence[Path] = (),
        spark: SparkSession | None = None,
    ) -> None:
        """``master`` and ``jars`` where no spark-submit gave them; ``spark`` is a session of the caller's, left open."""
        unknown = [name for name in jobs if name not in JOBS]
        if unknown or not jobs:
            raise ConfigError(f"job {unknown[0] if unknown else ''!r}: is not one of {', '.join(JOBS)}")
        self.config = config
        self._jobs = [job for job in JOBS.values() if job.name in jobs]
        self._master = master
        self._jars = jars
        self._given = spark
        self._spark: SparkSession | None = None
        self._checkpoints: Checkpoints | None = None
        self._queries: dict[str, tuple[StreamingQuery, ...]] = {}

    @property
    def spark(self) -> SparkSession:
        """The driver's session, once started."""
        if self._spark is None:
            raise StageError("the streaming jobs were not started: call start() first")
        return self._spark

    @property
    def queries(self) -> tuple[StreamingQuery, ...]:
        """All queries that were started."""
        return tuple(query for queries in self._queries.values() for query in queries)

    def start(self) -> None:
        """Check what the jobs need, create missing tables, start every query; raises SightlineError and leaves nothing."""
        cameras = load_cameras(self.config.cameras)
        require_topics(self.config.kafka, [topic for job in self._jobs for topic in job.topics])
        name = "sightline-" + "-".join(job.name for job in self._jobs)
        try:
            self._spark = self._given or self._open_session(name)
            tables = dict.fromkeys(table for job in self._jobs for table in job.tables)
            create_tables(self._spark, self.config.table_root, tuple(tables))
            self._checkpoints = Checkpoints(self._spark, self.config.checkpoint_root)
            context = JobContext(self._spark, self.config, cameras, self._checkpoints)
            for job in self._jobs:
                self._queries[job.name] = job.start(context)
        except BaseException as error:
            self.stop()
            if isinstance(error, PySparkException | Py4JError):
                raise explain_failure(name, error) from error
            raise

    def _open_session(self, name: str) -> SparkSession:
        if self._master is None:
            return build_session(name, self.config)
        with ThreadPoolExecutor(1, thread_name_prefix="prepare") as pool:
            prepared = [pool.submit(job.prepare) for job in self._jobs]
            spark = build_session(name, self.config, self._master, self._jars)
            for each in prepared:
                each.result()
        return spark

    def await_ready(self, timeout_s: float = 120) -> None:
        """Wait until every query takes input; raises StageError after ``timeout_s``, or what made a query fail."""
        self._wait(lambda: all(self._takes_input(query) for query in self.queries), timeout_s, "the jobs did not become ready")

    def await_any_failure(self, asked_to_end: Callable[[], bool] = lambda: False) -> None:
        """Wait until ``asked_to_end()``; raises SightlineError as soon as a query fails."""
        while not asked_to_end():
            self.check()
            time.sleep(_POLL_S)

    def check(self) -> None:
        """Raise SightlineError where a query failed."""
        for query in self.queries:
            if error := failure_of(query):
                raise error

    def drain(self) -> None:
        """Let every job take all input that is there, then stop; raises what made a query fail."""
        for job in self._jobs:
            for query in self._queries.pop(job.name, ()):
                if job.drains:
                    self._take_all(query)
                query.stop()
        self.stop()

    def stop(self) -> None:
        """Stop every query, and the session unless it was given. Safe to repeat."""
        for query in self.queries:
            query.stop()
        self._queries.clear()
        if self._checkpoints is not None:
            self._checkpoints.release()
            self._checkpoints = None
        if self._spark is not None and self._given is None:
            self._spark.stop()
        self._spark = None

    def _take_all(self, query: StreamingQuery) -> None:
        try:
            query.processAllAvailable()
        except (PySparkException, Py4JError) as error:
            raise (failure_of(query) or explain_failure(query.name, error)) from error

    def _takes_input(self, query: StreamingQuery) -> bool:
        """Whether the query has planned and begun its first batch."""
        if query.lastProgress is not None:
            return True
        tracker = self.spark.sparkContext.statusTracker()
        jobs = [tracker.getJobInfo(number) for number in tracker.getJobIdsForGroup(str(query.runId))]
        stages = [tracker.getStageInfo(stage) for job in jobs if job for stage in job.stageIds]
        # A real-time query reports progress at a batch's end only, minutes later; until then its task runs.
        return any(stage.numActiveTasks for stage in stages if stage)

    def _wait(self, condition: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise StageError(f"{otherwise} within {timeout_s:.0f} s")
            time.sleep(_POLL_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def failure_of(query: StreamingQuery) -> SightlineError | None:
    """Why the query failed, or None while it runs or after it was stopped."""
    if query.isActive:
        return None
    error = query.exception()
    return explain_failure(query.name, error) if error else None
