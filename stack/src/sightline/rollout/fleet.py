"""What the fleet said last, and what time it is there.

Time is data: the judge has no clock of its own, so that a simulated day is judged as a real one. It is as late as the newest
report says, save those of a few nodes ahead of all others, whose clocks may be wrong: one clock must not close every window.
Where no node reports any more, time stands still and nothing is judged or promoted; that nobody was heard of is told by
``heard_s_ago``, the one figure here that a real clock measures.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Final

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark's users know

from sightline_contract.rollout import ModelStatus
from sightline_lakehouse.ddl import path_identifier, table_location
from sightline_lakehouse.tables import MODEL_STATUS
from sightline_streaming.model_reports import status_of

# Of so many nodes one clock may be ahead of all others.
_NODES_PER_WRONG_CLOCK: Final = 20
# How far back a judge that starts again looks for nodes; the topic keeps reports as long.
_DAYS: Final = 7


def event_time_us(statuses: Mapping[str, ModelStatus]) -> int | None:
    """What time it is for the nodes, UTC us; None before a first report."""
    reported = sorted((status.reported_us for status in statuses.values()), reverse=True)
    return reported[len(reported) // _NODES_PER_WRONG_CLOCK] if reported else None


class Fleet:
    """The latest report of every node; threads may tell and ask at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statuses: dict[str, ModelStatus] = {}
        self._heard_s = time.monotonic()

    def take(self, statuses: Iterable[ModelStatus]) -> None:
        """Take in reports, in any order."""
        with self._lock:
            for status in statuses:
                self._heard_s = time.monotonic()
                known = self._statuses.get(status.node_id)
                if known is None or known.reported_us <= status.reported_us:
                    self._statuses[status.node_id] = status

    @property
    def statuses(self) -> dict[str, ModelStatus]:
        """The latest report by node."""
        with self._lock:
            return dict(self._statuses)

    @property
    def heard_s_ago(self) -> float:
        """Seconds since any report came, or since the start."""
        return time.monotonic() - self._heard_s


def latest_statuses(spark: SparkSession, root: str) -> list[ModelStatus]:
    """The latest report of every node in gold.model_status, without figures; the newest days of it."""
    rows = spark.table(path_identifier(table_location(root, MODEL_STATUS)))
    (newest,) = rows.agg(F.max("event_date").alias("date")).collect()
    if newest.date is None:
        return []
    recent = rows.where(F.col("event_date") > F.date_sub(F.lit(newest.date), _DAYS))
    whole = F.max_by(F.struct(*(F.col(name) for name in rows.columns)), "reported_at").alias("row")
    found = recent.groupBy("node_id").agg(whole).select("row.*").toArrow().to_pylist()
    return [status_of(row) for row in found]
