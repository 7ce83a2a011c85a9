"""What the tables say of rollouts and nodes, read without Spark: for commands, which work while the judge is down."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from sightline.rollout.records import step_of
from sightline_contract.errors import ConfigError, StorageError
from sightline_contract.rollout import ModelStatus
from sightline_lakehouse.ddl import is_local, table_location
from sightline_lakehouse.tables import MODEL_ROLLOUTS, MODEL_STATUS, Table
from sightline_models.rollout.state import fold
from sightline_models.rollout.steps import Step, StepName
from sightline_streaming.model_reports import status_of

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

RECENT: Final = timedelta(hours=24)  # a node that was not heard of for so long is not shown
OVER: Final = frozenset({StepName.COMPLETED, StepName.RESTORED})


@dataclass(frozen=True)
class History:
    """Tables below ``root``, a folder; raises StorageError where they cannot be read."""

    root: str

    def steps(self, rollout_id: str) -> list[Step]:
        """The steps of a rollout, by number; none before the judge took it up."""
        return [step_of(row) for row in self._rows(MODEL_ROLLOUTS, [("rollout_id", "=", rollout_id)], "seq")]

    def is_over(self, rollout_id: str) -> bool:
        """Whether it was completed, or every node is back."""
        return fold(self.steps(rollout_id)).at in OVER

    def statuses(self) -> dict[str, ModelStatus]:
        """The latest report by node of the day before the newest one, without figures."""
        import pyarrow.compute as pc

        # A fleet reports millions of times a day: which rows are wanted is found before any becomes an object.
        times = self._read(MODEL_STATUS, columns=["node_id", "reported_at", "event_date"], newest_days=RECENT)
        if times is None or not times.num_rows:
            return {}
        latest = times.group_by("node_id").aggregate([("reported_at", "max")])
        latest = latest.filter(pc.field("reported_at_max") > pc.max(latest["reported_at_max"]).as_py() - RECENT)
        at = latest["reported_at_max"].to_pylist()
        rows = self._read(MODEL_STATUS, [("reported_at", ">=", min(at))], newest_days=RECENT)
        of_node = dict(zip(latest["node_id"].to_pylist(), at, strict=True))
        found = rows.filter(pc.field("reported_at").isin(at)).to_pylist() if rows else []
        return {row["node_id"]: status_of(row) for row in found if of_node.get(row["node_id"]) == row["reported_at"]}

    def _rows(self, table: Table, where: list[Any], order: str) -> list[dict[str, Any]]:
        found = self._read(table, where)
        rows: list[dict[str, Any]] = found.sort_by(order).to_pylist() if found is not None else []
        return rows

    def _read(
        self,
        table: Table,
        where: Sequence[Any] = (),
        columns: list[str] | None = None,
        newest_days: timedelta | None = None,
    ) -> "pa.Table | None":
        """Rows, of the newest days alone where asked; None where there is no table."""
        with readable(table_location(self.root, table)):
            if (found := self.open(table)) is None:
                return None
            wanted = list(where)
            if newest_days is not None and (since := newest_date(found)) is not None:
                wanted.append(("event_date", ">=", since - newest_days))
            return found.to_pyarrow_table(filters=wanted or None, columns=columns)

    def open(self, table: Table) -> "DeltaTable | None":
        """The table as it is now; None where there is none. Raises ConfigError for tables that are in no folder."""
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        if not is_local(self.root):
            raise ConfigError(f"{self.root}: is no folder, and only the judge and Spark read an object store: ask with SQL")
        with readable(location := table_location(self.root, table)):
            try:
                return DeltaTable(location)
            except TableNotFoundError:
                return None


def newest_date(table: "DeltaTable") -> date | None:
    """The newest day that the table has rows of."""
    return max((date.fromisoformat(each["event_date"]) for each in table.partitions()), default=None)


@contextmanager
def readable(location: str) -> Iterator[None]:
    """Raises StorageError where Delta can't read the table there."""
    from deltalake.exceptions import DeltaError

    try:
        yield
    except (OSError, DeltaError) as error:
        reason = str(error).partition("\n")[0]
        raise StorageError(f"{location}: cannot be read ({reason}): check the table root") from error
