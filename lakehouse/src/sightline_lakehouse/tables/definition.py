"""What a table is, and the columns that several have."""

from dataclasses import dataclass
from enum import StrEnum


class Layer(StrEnum):
    """Layers of the medallion architecture, and rows that failed a check."""

    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"
    QUARANTINE = "quarantine"


@dataclass(frozen=True)
class Column:
    """A column; ``minimum``, ``maximum`` and ``values`` bound what a good row may hold."""

    name: str
    type: str
    description: str
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table. ``description`` states the grain; ``key`` is unique over its rows, save where rows ``may_repeat``."""

    layer: Layer
    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition_by: tuple[str, ...] = ("event_date",)
    retention_days: int = 365
    may_repeat: bool = False  # delivered at least once: who reads drops repetitions by key
    append_only: bool = False  # nothing is ever deleted or changed, whatever retention_days says

    @property
    def full_name(self) -> str:
        """``layer.name``."""
        return f"{self.layer}.{self.name}"

    @property
    def path(self) -> str:
        """Place below the table root."""
        return f"{self.layer}/{self.name}"

    @property
    def schema_ddl(self) -> str:
        """Columns as Spark SQL's schema text, which both StructType.fromDDL and CREATE TABLE read."""
        return ", ".join(f"`{c.name}` {c.type}{'' if c.nullable else ' NOT NULL'}" for c in self.columns)


CAMERA_ID = Column("camera_id", "string", "Camera, unique in the fleet.")
SESSION = Column("session", "bigint", "Start of the camera's pipeline run, UTC microseconds.", minimum=0)
TRACK_ID = Column("track_id", "string", "Camera, session and the tracker's counter: unique in the fleet.")
CLASS_NAME = Column("class_name", "string", "Class of the object.")
EVENT_DATE = Column("event_date", "date", "UTC date of the row's event time.")
MODEL_VERSION = Column("model_version", "string", "Version of the model whose detections these are.")
