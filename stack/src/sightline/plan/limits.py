"""What breaks first as one cell grows: every known limit, and the largest cell that stays within it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sightline.plan.costs import Costs
from sightline.plan.model import GB, CellPlan, Demand, plan_cell, scheduling_s

MOST_SHARDS: Final = 4096  # of config.JobConfig
_MAX_RESULT_GB: Final = 1.07  # spark.driver.maxResultSize is 1 GiB unless set
# What a Kafka broker is commonly given at most, followers included.
_MOST_PARTITIONS_A_BROKER: Final = 4000
# Beyond it, Delta's log and a listing of a day of the fact log take longer than a micro-batch.
_MOST_FILES_A_DAY: Final = 1e6
_SEARCH_UP_TO: Final = 10_000_000


@dataclass(frozen=True)
class Limit:
    """``cameras`` is the largest cell within the limit; ``remedy`` is what helps beyond."""

    what: str
    cameras: int
    remedy: str


def limits(demand: Demand, costs: Costs) -> list[Limit]:
    """The limits that a cell can reach, the tightest first."""
    share = 1 - demand.headroom

    def result_gb(cell: CellPlan) -> float:
        return cell.load.detections * demand.trigger_s.facts * costs.facts_driver_bytes_per_detection.value / GB

    found = [
        Limit(
            f"facts: rows pass through the driver on one core, {share:.0%} of it",
            _largest(demand, costs, lambda cell: cell.facts_driver_share <= share),
            "smaller cells; fewer cameras a `facts` job",
        ),
        Limit(
            "facts: a micro-batch's rows against `spark.driver.maxResultSize` (1 GiB)",
            _largest(demand, costs, lambda cell: result_gb(cell) <= _MAX_RESULT_GB),
            "raise it and the driver's memory, or a shorter `trigger_s.facts`",
        ),
        Limit(
            "tracking: one driver starts a micro-batch's tasks, half of the trigger",
            _largest(demand, costs, lambda cell: scheduling_s(costs, cell.shuffle_partitions) <= demand.trigger_s.tracking / 2),
            "a longer `trigger_s.tracking`, at the price of freshness; smaller cells",
        ),
        Limit(
            "fact log: a million files a day",
            _largest(demand, costs, lambda cell: cell.tables.log_files_per_day <= _MOST_FILES_A_DAY),
            "a longer `trigger_s.tracking`; compaction every hour",
        ),
        Limit(
            f"tracking: {MOST_SHARDS} shards",
            _largest(demand, costs, lambda cell: cell.shards <= MOST_SHARDS),
            "smaller cells",
        ),
        Limit(
            f"Kafka: {_MOST_PARTITIONS_A_BROKER} partitions a broker",
            _largest(demand, costs, lambda cell: _partitions_a_broker(cell, demand) <= _MOST_PARTITIONS_A_BROKER),
            "more brokers",
        ),
    ]
    reached = (limit for limit in found if limit.cameras < _SEARCH_UP_TO - 1)
    return sorted(reached, key=lambda limit: limit.cameras)


def _partitions_a_broker(cell: CellPlan, demand: Demand) -> float:
    return cell.kafka.partitions * demand.replication / cell.kafka.brokers


def _largest(demand: Demand, costs: Costs, holds: Callable[[CellPlan], bool]) -> int:
    """The largest cell for which ``holds``, by bisection; 0 where none is."""
    within, beyond = 0, _SEARCH_UP_TO
    while beyond - within > 1:
        middle = (within + beyond) // 2
        if holds(plan_cell(demand, costs, middle)):
            within = middle
        else:
            beyond = middle
    return within
