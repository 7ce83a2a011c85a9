"""Alerts: critical detections that a camera's rules match, from Kafka to Kafka in milliseconds.

Spark's real-time mode runs this query: stateless, built-in expressions only, one task slot per partition of ``events`` for
as long as it runs. A rule is a zone drawn as grid cells, so that matching is a broadcast equi-join on (camera_id, cell) and
a few predicates. Delivery is at least once: after a restart the events since the last batch (``trigger_s.alerts_batch``)
are read again and give the same ``alert_id``.

An event that is not JSON, or lacks a field, matches no rule and is passed over here, since nothing may hold this query up;
the archive job reads the topic too and dead-letters it.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark's users know
from pyspark.sql.streaming.query import StreamingQuery

from sightline_contract.camera import CameraConfig
from sightline_contract.events import Alert, DetectionEvent
from sightline_contract.grid import cells_in
from sightline_contract.rules import minutes_of
from sightline_contract.topics import ALERTS, EVENTS
from sightline_streaming.job import Job, JobContext, interval
from sightline_streaming.kafka import read_topics, sink_options

_MINUTES_A_DAY = 24 * 60
_US_A_MINUTE = 60 * 1_000_000

RULE_SCHEMA = (
    "camera_id string, cell int, zone string, rule_id string, classes array<string>, min_score double, "
    "from_minute int, to_minute int, severity string"
)


def rule_rows(cameras: Iterable[CameraConfig]) -> Iterator[tuple[Any, ...]]:
    """One row of RULE_SCHEMA for every cell of every zone that has a rule."""
    for camera in cameras:
        width, height = camera.frame_size
        for zone in camera.zones:
            if zone.alert is None:
                continue
            rule = zone.alert
            span = minutes_of(rule.hours)
            about = (zone.name, f"{camera.camera_id}/{zone.name}", list(rule.classes), rule.min_score, *span, rule.severity)
            for cell in cells_in([(x / width, y / height) for x, y in zone.polygon]):
                yield camera.camera_id, cell, *about


def event_schema() -> str:
    """Spark SQL schema text of the fields of DetectionEvent that an alert is made of."""
    types: dict[object, str] = {int: "bigint", float: "double"}
    needed = [*(name for name in Alert.model_fields if name in DetectionEvent.model_fields), "zone"]
    fields = ((name, DetectionEvent.model_fields[name].annotation) for name in dict.fromkeys(needed))
    return ", ".join(f"`{name}` {types.get(annotation, 'string')}" for name, annotation in fields)


def match(events: DataFrame, rules: DataFrame) -> DataFrame:
    """Rows (key, value) of the alerts topic for rows of the events topic."""
    parsed = events.select(F.from_json(F.col("value").cast("string"), event_schema()).alias("event"))
    event = parsed.select("event.*").alias("event")
    joined = event.join(
        F.broadcast(rules.alias("rule")),
        (F.col("event.camera_id") == F.col("rule.camera_id")) & (F.col("event.cell") == F.col("rule.cell")),
    ).where(_rule_holds())
    alert = F.struct(*(_alert_field(name).alias(name) for name in Alert.model_fields))
    return joined.select(F.col("event.camera_id").alias("key"), F.to_json(alert).alias("value"))


def _rule_holds() -> Column:
    minute = F.expr(f"pmod(event.captured_us div {_US_A_MINUTE}, {_MINUTES_A_DAY})")
    after, before = minute >= F.col("rule.from_minute"), minute < F.col("rule.to_minute")
    over_midnight = F.col("rule.to_minute") <= F.col("rule.from_minute")
    # An event of one zone is not an alert of another that overlaps it.
    same_zone = F.col("event.zone").isNull() | (F.col("event.zone") == F.col("rule.zone"))
    return (
        F.expr("array_contains(rule.classes, event.class_name)")
        & (F.col("event.score") >= F.col("rule.min_score"))
        & F.when(over_midnight, after | before).otherwise(after & before)
        & same_zone
        & F.col("event.event_id").isNotNull()
    )


def _alert_field(name: str) -> Column:
    if name == "alert_id":
        return F.concat_ws("/", "rule.rule_id", "event.event_id")
    if name in ("rule_id", "severity", "zone"):
        return F.col(f"rule.{name}")
    return F.col(f"event.{name}")


def start(context: JobContext) -> tuple[StreamingQuery, ...]:
    """Start the query ``alerts``."""
    config = context.config
    # Waiting for a fetch to fill would be latency; so would a producer that waits for company.
    events = read_topics(context.spark, config, [EVENTS], **{"kafka.fetch.max.wait.ms": "10"})
    rules = context.spark.createDataFrame(list(rule_rows(context.cameras)), RULE_SCHEMA)
    writer = match(events, rules).writeStream.format("kafka").options(**sink_options(config, ALERTS))
    writer = writer.option("checkpointLocation", context.checkpoints.claim("alerts")).queryName("alerts")
    # PySpark 4.2 takes realTime and leaves it out of the method's type hints.
    writer = writer.outputMode("update").trigger(realTime=interval(config.trigger_s.alerts_batch))  # type: ignore[call-overload]
    return (writer.start(),)


JOB = Job("alerts", topics=(EVENTS, ALERTS), tables=(), start=start, drains=False)
