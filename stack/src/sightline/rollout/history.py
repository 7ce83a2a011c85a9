"""What the tables say of rollouts and nodes, read without Spark: for commands, which work while the judge is down."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sightline.rollout.records import step_of
from sightline_contract.errors import ConfigError, StorageError
from sightline_contract.rollout import ModelStatus
from sightline_lakehouse.ddl import is_local, table_location
from sightline_lakehouse.tables import MODEL_ROLLOUTS, MODEL_STATUS, Table
from sightline_models.rollout.state import fold
from sightline_models.rollout.steps import Step, StepName
from sightline_streaming.model_reports import status_of

_RECENT: Final = timedelta(hours=24)  # a node that was not heard of for so long is not shown
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
        dates = {row["event_date"] for row in self._rows(MODEL_STATUS, [], "event_date", ["event_date"])}
        if not dates:
            return {}
        recent = [("event_date", ">=", max(dates) - _RECENT)]
        rows = self._rows(MODEL_STATUS, recent, "reported_at")
        newest = rows[-1]["reported_at"]
        return {row["node_id"]: status_of(row) for row in rows if row["reported_at"] > newest - _RECENT}

    def _rows(self, table: Table, where: list[Any], order: str, columns: list[str] | None = None) -> list[dict[str, Any]]:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        if not is_local(self.root):
            raise ConfigError(f"{self.root}: is no folder, and only the judge and Spark read an object store: ask with SQL")
        location = table_location(self.root, table)
        try:
            found = DeltaTable(location).to_pyarrow_table(filters=where or None, columns=columns)
        except TableNotFoundError:
            return []
        except (OSError, DeltaError) as error:
            reason = str(error).partition("\n")[0]
            raise StorageError(f"{location}: cannot be read ({reason}): check the table root") from error
        rows: list[dict[str, Any]] = found.sort_by(order).to_pylist()
        return rows
