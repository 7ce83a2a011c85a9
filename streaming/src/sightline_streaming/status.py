"""What a running application says about itself: a small JSON file that is replaced as a whole, for whoever started it."""

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import Any

from pyspark.sql.streaming.query import StreamingQuery

from sightline_streaming.application import Application

_INTERVAL_S = 0.5


class State(StrEnum):
    """Where an application stands."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    # Of a driver that outlives its jobs: the quality gate runs; only the SQL endpoint is left.
    CHECKING = "checking"
    SERVING = "serving"
    STOPPED = "stopped"
    FAILED = "failed"


class StatusFile:
    """Writes ``{"state", "error", "queries": {name: QUERY}}`` to a file, if any.

    QUERY is ``{"batches", "rows", "rows_per_s", "batch_ms", "progressed_at_s"}``; the last is when (UTC seconds) the query was
    last seen to end a trigger, with input or without: an idle query tells that every ten seconds.
    Every micro-batch's whole progress report, as Spark makes it, is appended to ``progress``, if given: a line of JSON each.
    """

    def __init__(self, path: Path | None, progress: Path | None = None) -> None:
        self._path = path
        self._progress = progress
        self._written = 0.0
        self._queries: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, str] = {}

    def tell(self, state: State, application: Application, answer: bool) -> bool:
        """Write what the application's queries have done, unless that was done a moment ago; returns ``answer``."""
        if time.monotonic() - self._written > _INTERVAL_S:
            self._written = time.monotonic()
            for query in application.queries:
                self.take(query)
            self.write(state)
        return answer

    def write(self, state: State, error: str = "") -> None:
        """Replace the file."""
        if self._path is None:
            return
        staged = self._path.with_name(self._path.name + ".new")
        staged.write_text(json.dumps({"state": state, "error": error, "queries": self._queries}), encoding="utf-8")
        staged.replace(self._path)

    def take(self, query: StreamingQuery) -> None:
        """Take in what a query has done since the last time."""
        told = self._queries.setdefault(query.name, {"batches": 0, "rows": 0, "progressed_at_s": time.time()})
        for progress in query.recentProgress:
            if progress.timestamp <= self._seen.get(query.name, ""):
                continue
            self._seen[query.name] = progress.timestamp
            told["progressed_at_s"] = time.time()
            # An idle trigger bears the number of the batch that is still to come.
            if progress.numInputRows or "addBatch" in progress.durationMs:
                self._append(progress.json)
                told |= {
                    "batches": progress.batchId + 1,
                    "rows": told["rows"] + progress.numInputRows,
                    "rows_per_s": progress.processedRowsPerSecond,
                    "batch_ms": progress.batchDuration,
                }

    def _append(self, report: str) -> None:
        if self._progress is not None:
            with self._progress.open("a", encoding="utf-8") as lines:
                lines.write(report + "\n")
