"""Nodes' reports on their models as rows: one of gold.model_status each, and one of gold.model_figures for each model.

Python values in, Arrow out, no Spark. A report that breaks the contract, or whose counts have other bins than the contract's,
is a dead letter with the reason.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from sightline_contract.rollout import LATENCY_EDGES_MS, SCORE_BINS, Figures, ModelRef, ModelStatus
from sightline_contract.settings import explain
from sightline_lakehouse.arrow import arrow_schema
from sightline_lakehouse.tables import DEAD_LETTERS, MODEL_FIGURES, MODEL_STATUS, Table
from sightline_streaming.archived import Received, Row, at, dead_letter

LATENCY_BINS = len(LATENCY_EDGES_MS) + 1


@dataclass(frozen=True)
class Reports:
    """What a micro-batch of model_status messages says: the reports that can be used, and rows by table."""

    statuses: tuple[ModelStatus, ...]
    rows: dict[Table, pa.Table]


def sort_reports(messages: Iterable[Received]) -> Reports:
    """The reports of ``messages``; one that Kafka gave twice counts once."""
    found: dict[tuple[str, int], ModelStatus] = {}
    rows: dict[Table, list[Row]] = {MODEL_STATUS: [], MODEL_FIGURES: [], DEAD_LETTERS: []}
    for received in messages:
        status, refused = _read(received)
        if status is None:
            rows[DEAD_LETTERS].append(dead_letter(received, f"not ModelStatus: {refused}"))
            continue
        key = status.node_id, status.reported_us
        if key not in found:
            found[key] = status
            rows[MODEL_STATUS].append(_status_row(status))
            rows[MODEL_FIGURES] += [_figures_row(status, figures) for figures in status.figures]
    tables = {table: pa.Table.from_pylist(some, arrow_schema(table)) for table, some in rows.items() if some}
    return Reports(tuple(found.values()), tables)


def _read(received: Received) -> tuple[ModelStatus | None, str]:
    """The report, or why it is none."""
    try:
        status = ModelStatus.model_validate_json(received.value or b"")
        at(status.from_us)
        at(status.reported_us)
    except ValidationError as error:
        return None, explain(error)
    except OverflowError:
        return None, "a time is out of range"
    if status.from_us > status.reported_us:
        return None, "it ends before it begins"
    for figures in status.figures:
        if len(figures.score_counts) != SCORE_BINS or len(figures.latency_counts) != LATENCY_BINS:
            bins = f"{len(figures.score_counts)} and {len(figures.latency_counts)}"
            return None, f"figures.{figures.slot}: {bins} bins of scores and times, not {SCORE_BINS} and {LATENCY_BINS}"
    return status, ""


def _times(status: ModelStatus) -> Row:
    return {
        "from_at": at(status.from_us),
        "reported_at": at(status.reported_us),
        "event_date": at(status.reported_us).date(),
    }


def _status_row(status: ModelStatus) -> Row:
    columns: dict[str, Any] = status.model_dump(include={c.name for c in MODEL_STATUS.columns}, mode="json")
    return columns | _times(status) | _model("live", status.live) | _model("shadow", status.shadow)


def _model(slot: str, model: ModelRef | None) -> Row:
    columns = {"name": "model_name", "version": "model_version", "number": "number", "digest": "digest"}
    return {f"{slot}_{column}": getattr(model, name) if model else None for column, name in columns.items()}


def status_of(row: Row) -> ModelStatus:
    """The report behind a row of gold.model_status, without its figures."""
    return ModelStatus(
        **{name: row[name] for name in _SAME},
        from_us=_us(row["from_at"]),
        reported_us=_us(row["reported_at"]),
        live=_model_ref(row, "live") or _NOTHING,
        shadow=_model_ref(row, "shadow"),
    )


_SAME = tuple(column.name for column in MODEL_STATUS.columns if column.name in ModelStatus.model_fields)
_NOTHING = ModelRef(model_name="", model_version="")


def _model_ref(row: Row, slot: str) -> ModelRef | None:
    name = row[f"{slot}_name"]
    if name is None:
        return None
    told = {part: row[f"{slot}_{part}"] for part in ("number", "digest")}
    return ModelRef(model_name=name, model_version=row[f"{slot}_version"], **told)


def _us(time: datetime) -> int:
    return (time - at(0)) // timedelta(microseconds=1)


def _figures_row(status: ModelStatus, figures: Figures) -> Row:
    columns: dict[str, Any] = figures.model_dump(include={c.name for c in MODEL_FIGURES.columns}, mode="json")
    classes = sorted(figures.class_counts)
    return (
        columns
        | _times(status)
        | {"node_id": status.node_id, "site": status.site, "hardware": status.hardware}
        | {"class_names": classes, "class_counts": [figures.class_counts[name] for name in classes]}
    )
