"""The unit costs that a projection rests on: one value each, with its unit in the name and its source beside it.

``costs.yaml`` holds those of this version. A file of the same form may replace any of them, for instance by what
one's own machines take. A cost is *measured* where a command produced it, *estimated* where none has yet.
"""

from enum import StrEnum
from importlib.resources import as_file, files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, create_model, field_validator

from sightline_contract.settings import Settings, load_settings

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Kind(StrEnum):
    """Whether a command produced the value."""

    MEASURED = "measured"
    ESTIMATED = "estimated"


class Cost(Settings):
    """One unit cost."""

    value: Amount
    kind: Kind
    source: Annotated[str, Field(min_length=1)]


class Curve(Settings):
    """A unit cost that depends on the objects in a frame: known at some numbers of them, straight in between and beyond."""

    value: dict[Annotated[float, Field(gt=0)], Amount]
    kind: Kind
    source: Annotated[str, Field(min_length=1)]

    @field_validator("value")
    @classmethod
    def _rises(cls, value: dict[float, float]) -> dict[float, float]:
        points = dict(sorted(value.items()))
        if len(points) < 2:
            raise ValueError("needs two points or more")
        if any(after < before for before, after in pairwise(points.values())):
            raise ValueError("more objects cannot cost less")
        return points

    def at(self, objects: float) -> float:
        """The cost at a number of objects; below the first point the first line's, but never below 0."""
        points = list(self.value.items())
        line = next((pair for pair in pairwise(points) if objects <= pair[1][0]), tuple(points[-2:]))
        (x0, y0), (x1, y1) = line
        return max(0.0, y0 + (y1 - y0) * (objects - x0) / (x1 - x0))


class Costs(Settings):
    """Unit costs. CPU seconds are those of one core; "million" counts what the name says; a GB is 10^9 bytes."""

    core_cpu_s_per_million_frames: Curve
    tracking_cpu_s_per_million_messages: Cost
    tracking_cpu_s_per_million_detections: Cost
    tracking_cpu_s_per_batch: Cost
    tracking_cpu_s_per_batch_and_partition: Cost
    tracking_fixed_s_per_batch: Cost
    tracking_driver_s_per_task: Cost
    facts_driver_cpu_s_per_million_detections: Cost
    facts_driver_cpu_s_per_batch: Cost
    facts_executor_cpu_s_per_million_detections: Cost
    facts_driver_bytes_per_detection: Cost
    archive_cpu_s_per_million_messages: Cost
    archive_cpu_s_per_batch: Cost
    broker_cpu_s_per_gb_in: Cost
    broker_cpu_s_per_gb_out: Cost
    wire_bytes_per_message: Cost
    wire_bytes_per_detection: Cost
    raw_bytes_per_message: Cost
    raw_bytes_per_detection: Cost
    fact_log_bytes_per_message: Cost
    fact_log_bytes_per_detection: Cost
    tables_bytes_per_message: Cost
    tables_bytes_per_detection: Cost
    state_bytes_per_camera_and_object: Cost
    executor_memory_gb: Cost
    executor_memory_gb_per_core: Cost
    driver_memory_gb: Cost
    driver_memory_kb_per_camera: Cost
    broker_memory_gb: Cost


def _optional(annotation: Any) -> Any:
    return (annotation | None, None)


_Changes: type[Settings] = create_model(
    "_Changes", __base__=Settings, **{name: _optional(field.annotation) for name, field in Costs.model_fields.items()}
)


def load_costs(changes: Path | None = None) -> Costs:
    """The unit costs of this version, those in ``changes`` in place of ours; raises ConfigError."""
    with as_file(files(__package__) / "costs.yaml") as path:
        costs = load_settings(path, Costs)
    if changes is None:
        return costs
    given = load_settings(changes, _Changes)
    return costs.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})
