"""What a running application says about itself: a small JSON file that is replaced as a whole, for whoever started it."""

import json
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

from pyspark.sql.streaming.query import StreamingQuery


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
    """Writes ``{"state", "error", "queries": {name: {"batches", "rows", "rows_per_s", "batch_ms"}}}`` to a file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._rows: dict[str, int] = {}
        self._last_batch: dict[str, int] = {}
        self._queries: dict[str, dict[str, Any]] = {}

    def write(self, state: State, queries: Iterable[StreamingQuery] = (), error: str = "") -> None:
        """Replace the file; nothing happens where none was asked for."""
        if self._path is None:
            return
        for query in queries:
            self._take(query)
        text = json.dumps({"state": state, "error": error, "queries": self._queries})
        staged = self._path.with_name(self._path.name + ".new")
        staged.write_text(text, encoding="utf-8")
        staged.replace(self._path)

    def _take(self, query: StreamingQuery) -> None:
        for progress in query.recentProgress:
            if progress.batchId <= self._last_batch.get(query.name, -1):
                continue
            self._last_batch[query.name] = progress.batchId
            self._rows[query.name] = self._rows.get(query.name, 0) + progress.numInputRows
            self._queries[query.name] = {
                "batches": progress.batchId + 1,
                "rows": self._rows[query.name],
                "rows_per_s": progress.processedRowsPerSecond,
                "batch_ms": progress.batchDuration,
            }
