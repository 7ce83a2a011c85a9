"""Every table, once: columns, types, keys, layout, retention, description, and what its rows must satisfy.

DDL, the quality suites and the dbt sources are all made from here, and a test holds them equal. The module knows no engine:
types are Spark SQL's type names as text. Times are UTC. A table lives at ``<table root>/<layer>/<name>``.
"""

from sightline_lakehouse.tables.audit import AUDIT_CHECKPOINTS, AUDIT_LOG
from sightline_lakehouse.tables.bronze import DEAD_LETTERS, DETECTIONS_RAW, FACT_KINDS, TRACKER_FACTS
from sightline_lakehouse.tables.definition import Column, Layer, Table
from sightline_lakehouse.tables.gold import ALERTS, COUNT_ANOMALIES, NODE_STATUS, OBJECT_COUNTS
from sightline_lakehouse.tables.models import MODEL_DETECTIONS, MODEL_FIGURES, MODEL_ROLLOUTS, MODEL_STATUS
from sightline_lakehouse.tables.silver import CAMERA_HEALTH, LINE_CROSSINGS, SCENE_EVENTS, TRACK_SEGMENTS, ZONE_VISITS

__all__ = [
    "ALERTS",
    "ALL_TABLES",
    "AUDIT_CHECKPOINTS",
    "AUDIT_LOG",
    "CAMERA_HEALTH",
    "COUNT_ANOMALIES",
    "DEAD_LETTERS",
    "DETECTIONS_RAW",
    "FACT_KINDS",
    "LINE_CROSSINGS",
    "MODEL_DETECTIONS",
    "MODEL_FIGURES",
    "MODEL_ROLLOUTS",
    "MODEL_STATUS",
    "NODE_STATUS",
    "OBJECT_COUNTS",
    "SCENE_EVENTS",
    "TRACKER_FACTS",
    "TRACK_SEGMENTS",
    "ZONE_VISITS",
    "Column",
    "Layer",
    "Table",
]

ALL_TABLES: tuple[Table, ...] = (
    DETECTIONS_RAW,
    TRACKER_FACTS,
    TRACK_SEGMENTS,
    LINE_CROSSINGS,
    ZONE_VISITS,
    SCENE_EVENTS,
    CAMERA_HEALTH,
    OBJECT_COUNTS,
    COUNT_ANOMALIES,
    ALERTS,
    NODE_STATUS,
    MODEL_STATUS,
    MODEL_FIGURES,
    MODEL_DETECTIONS,
    MODEL_ROLLOUTS,
    AUDIT_LOG,
    AUDIT_CHECKPOINTS,
    DEAD_LETTERS,
)
