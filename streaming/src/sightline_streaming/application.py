"""Several jobs in one Spark driver: start them, watch them, and end them in order.

drain() is for input that has ended: tracking takes all that is there, then facts and archive do, so that afterwards the
tables hold everything that Kafka held. stop() ends at once: what a micro-batch had not committed is done again by the next
start. Both leave checkpoints that any later start goes on from.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
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
from sightline_streaming import alerts, archive, audit, facts, models, tracking
from sightline_streaming.checkpoints import Checkpoints
from sightline_streaming.config import JobConfig
from sightline_streaming.failures import explain_failure
from sightline_streaming.job import Job, JobContext
from sightline_streaming.kafka import require_topics
from sightline_streaming.session import build_session

JOBS: dict[str, Job] = {job.name: job for job in (tracking.JOB, facts.JOB, alerts.JOB, archive.JOB, audit.JOB, models.JOB)}
# The judge's process runs "models" beside its looks at the tables, so that one driver serves both; "archive" does what "audit"
# does. These run elsewhere.
PIPELINE: tuple[str, ...] = tuple(name for name in JOBS if name not in (models.JOB.name, audit.JOB.name))

# Who must have taken everything before who: drain() follows it.
_WAVES = (("tracking",), ("alerts",), ("facts", "archive", "audit", "models"))

_POLL_S = 0.2
_LONGEST_BATCH_S = 600


class Application:
    """Streaming jobs of one driver: ``with Application(...) as application:`` opens it, start() or drain() runs it."""

    def __init__(
        self,
        config: JobConfig,
        jobs: Sequence[str | Job],
        *,
        master: str | None = None,
        jars: Sequence[Path] = (),
        spark: SparkSession | None = None,
    ) -> None:
        """``master`` and ``jars`` where no spark-submit gave them; ``spark`` is a session of the caller's, left open.

        A job is given by its name, or as a Job that stands for the one of its name.
        """
        given = {job.name: job for job in jobs if isinstance(job, Job)}
        names = [job if isinstance(job, str) else job.name for job in jobs]
        unknown = [name for name in names if name not in JOBS]
        if unknown or not jobs:
            raise ConfigError(f"job {unknown[0] if unknown else ''!r}: is not one of {', '.join(JOBS)}")
        if {archive.JOB.name, audit.JOB.name} <= set(names):
            raise ConfigError("job 'audit': 'archive' keeps the audit log already: leave one of them out")
        self.config = config
        self._jobs = [given.get(job.name, job) for job in JOBS.values() if job.name in names]
        self._master = master
        self._jars = jars
        self._given = spark
        self._spark: SparkSession | None = None
        self._context: JobContext | None = None
        self._queries: dict[str, tuple[StreamingQuery, ...]] = {}
        # Told each query that drain() ends, while its progress can still be asked for.
        self.on_last_progress: Callable[[StreamingQuery], None] = lambda _query: None

    @property
    def spark(self) -> SparkSession:
        """The driver's session, once open."""
        return self._opened().spark

    @property
    def queries(self) -> tuple[StreamingQuery, ...]:
        """All queries that were started."""
        return tuple(query for queries in self._queries.values() for query in queries)

    def open(self) -> None:
        """Check what the jobs need, open the session, create missing tables; raises SightlineError and leaves nothing."""
        cameras = load_cameras(self.config.cameras) if any(job.reads_cameras for job in self._jobs) else ()
        require_topics(self.config.kafka, [topic for job in self._jobs for topic in job.topics])
        name = "sightline-" + "-".join(job.name for job in self._jobs)
        with self._undone(name):
            self._spark = self._given or self._open_session(name)
            tables = dict.fromkeys(table for job in self._jobs for table in job.tables)
            create_tables(self._spark, self.config.table_root, tuple(tables))
            checkpoints = Checkpoints(self._spark, self.config.checkpoint_root)
            self._context = JobContext(self._spark, self.config, cameras, checkpoints)

    def start(self) -> None:
        """Start every job's queries; raises SightlineError and leaves nothing."""
        for job in self._jobs:
            with self._undone(job.name):
                self._queries[job.name] = job.start(self._opened())

    @contextmanager
    def _undone(self, what: str) -> Iterator[None]:
        """Stop everything where the block fails, and tell a failure of Spark as one of ours."""
        try:
            yield
        except BaseException as error:
            self.stop()
            if isinstance(error, PySparkException | Py4JError):
                raise explain_failure(what, error) from error
            raise

    def _opened(self) -> JobContext:
        if self._context is None:
            raise StageError("the streaming jobs have no session: call open() first")
        return self._context

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
        while True:
            self.check()
            if asked_to_end():
                return
            time.sleep(_POLL_S)

    def check(self) -> None:
        """Raise SightlineError where a query failed."""
        for query in self.queries:
            if error := failure_of(query):
                raise error

    def drain(self, asked_to_end: Callable[[], bool] = lambda: False) -> None:
        """Let the jobs take all input that is there, started before or not, then stop; raises what made one fail.

        A query on a timer would wait for its next two ticks, so each is started anew with the one task to catch up.
        """
        for wave in _WAVES:
            jobs = [job for job in self._jobs if job.name in wave]
            for job in jobs:
                ended = self._queries.pop(job.name, ())
                self._end(ended, between_batches=job.drains)
                self._tell_last(ended)
                if job.drains:
                    with self._undone(job.name):
                        self._queries[job.name] = job.start(replace(self._opened(), available_now=True))
            self._await_end(self._queries_of(jobs), asked_to_end)
            self._tell_last(self._queries_of(jobs))
            if asked_to_end():
                break
        self.stop()

    def _tell_last(self, queries: Iterable[StreamingQuery]) -> None:
        for query in queries:
            self.on_last_progress(query)

    def _await_end(self, queries: tuple[StreamingQuery, ...], asked_to_end: Callable[[], bool]) -> None:
        self.await_any_failure(lambda: asked_to_end() or _all_ended(queries))

    def _queries_of(self, jobs: Iterable[Job]) -> tuple[StreamingQuery, ...]:
        return tuple(query for job in jobs for query in self._queries.get(job.name, ()))

    def _end(self, queries: Iterable[StreamingQuery], *, between_batches: bool) -> None:
        """Stop queries, where asked for each when the micro-batch that it is at has ended."""
        for query in queries:
            if between_batches:
                gone_on = partial(_has_gone_on, query, _batches(query))
                self._wait(gone_on, _LONGEST_BATCH_S, f"{query.name}: a batch did not end")
            query.stop()

    def stop(self) -> None:
        """Stop every query, and the session unless it was given. Safe to repeat."""
        for query in self.queries:
            query.stop()
        self._queries.clear()
        if self._context is not None:
            self._context.checkpoints.release()
            self._context = None
        if self._spark is not None and self._given is None:
            self._spark.stop()
        self._spark = None

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
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def failure_of(query: StreamingQuery) -> SightlineError | None:
    """Why the query failed, or None while it runs or after it was stopped."""
    if query.isActive:
        return None
    error = query.exception()
    return explain_failure(query.name, error) if error else None


def _batches(query: StreamingQuery) -> int:
    progress = query.lastProgress
    return -1 if progress is None else progress.batchId


def _has_gone_on(query: StreamingQuery, batches: int) -> bool:
    return not query.isActive or not query.status["isTriggerActive"] or _batches(query) > batches


def _all_ended(queries: Iterable[StreamingQuery]) -> bool:
    return not any(query.isActive for query in queries)
