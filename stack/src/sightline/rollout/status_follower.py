"""Nodes' latest reports, followed: a fleet fills gold.model_status with millions of rows a day, so only news are read."""

from typing import TYPE_CHECKING

from sightline.rollout.history import RECENT, History, newest_date, readable
from sightline_contract.rollout import ModelStatus
from sightline_lakehouse.ddl import table_location
from sightline_lakehouse.tables import MODEL_STATUS
from sightline_streaming.model_reports import status_of

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyarrow.dataset import Fragment


class StatusFollower:
    """The latest report by node, as ``History.statuses`` has them at first; ``poll`` takes in the files that are new since.

    By files and not by times: a node whose clock is behind is heard of, too.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._location = table_location(history.root, MODEL_STATUS)
        self._table: DeltaTable | None = None
        self._version = -1
        self._files: frozenset[str] = frozenset()
        self.statuses: dict[str, ModelStatus] = {}

    def poll(self) -> None:
        """Take what has come; raises ConfigError and StorageError."""
        with readable(self._location):
            if self._table is None:
                self._begin()
                return
            self._table.update_incremental()
            if self._table.version() != self._version:
                self._read_new(self._table)

    def _begin(self) -> None:
        if (table := self._history.open(MODEL_STATUS)) is None:
            return
        # Files first: what comes in between is read twice, which does no harm.
        files = frozenset(_fragments(table))
        self.statuses = self._history.statuses()
        self._table, self._version, self._files = table, table.version(), files

    def _read_new(self, table: "DeltaTable") -> None:
        schema = table.to_pyarrow_dataset().schema
        fragments = _fragments(table)
        for path in fragments.keys() - self._files:
            for row in fragments[path].to_table(schema=schema).to_pylist():
                status = status_of(row)
                known = self.statuses.get(status.node_id)
                if known is None or known.reported_us <= status.reported_us:
                    self.statuses[status.node_id] = status
        self._version, self._files = table.version(), frozenset(fragments)


def _fragments(table: "DeltaTable") -> "dict[str, Fragment]":
    """The files of the newest days, by path."""
    import pyarrow.compute as pc

    newest = newest_date(table)
    where = None if newest is None else pc.field("event_date") >= newest - RECENT
    return {each.path: each for each in table.to_pyarrow_dataset().get_fragments(where)}
