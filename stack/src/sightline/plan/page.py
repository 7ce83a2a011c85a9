"""Plans as a table, and the part of a page between two marks that is made of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sightline.plan.costs import Cost, Costs, Curve, Kind
from sightline.plan.limits import Limit
from sightline.plan.model import CellPlan, Plan
from sightline_contract.errors import ConfigError

BEGIN, END = "<!-- made by sightline plan: begin -->", "<!-- made by sightline plan: end -->"

Row = tuple[str, list[str]]
Cells = Callable[[CellPlan], str]


def notice(costs: Costs) -> str:
    """What kind of figures these are."""
    kinds = [cost.kind for _, cost in each_cost(costs)]
    measured = sum(kind is Kind.MEASURED for kind in kinds)
    return (
        f"Projection from {len(kinds)} unit costs, {measured} of them measured on two cores and {len(kinds) - measured} "
        "estimated. Nothing was measured at this size."
    )


def rows(plans: Sequence[Plan]) -> Iterator[Row]:
    """The table: a row's name, and a value for each plan."""

    def every(name: str, value: Callable[[Plan], str]) -> Row:
        return name, [value(plan) for plan in plans]

    def cell(name: str, value: Cells) -> Row:
        return every(name, lambda plan: value(plan.first))

    yield every("cells", lambda plan: f"{plan.cell_count}")
    yield every("messages/s", lambda plan: _count(sum(n * c.load.messages for n, c in plan.cells)))
    yield every("frames/s", lambda plan: _count(sum(n * c.load.frames for n, c in plan.cells)))
    yield every("detections/s", lambda plan: _count(sum(n * c.load.detections for n, c in plan.cells)))
    yield every("uplink of a camera, kbit/s", lambda plan: f"{plan.first.load.wire_bytes * 8e-3 / plan.first.load.cameras:.1f}")
    yield every("**jobs: cores**", lambda plan: _count(plan.job_cores))
    yield every("jobs: memory, GB", lambda plan: _count(plan.job_memory_gb))
    yield every("jobs: executors", lambda plan: _count(plan.executors))
    yield every("**brokers**", lambda plan: _count(plan.brokers))
    yield every("brokers: cores, memory GB", lambda plan: f"{_count(plan.broker_cores)}, {_count(plan.broker_memory_gb)}")
    yield every("brokers: in, out, Gbit/s", lambda plan: ", ".join(f"{gbit:.2f}" for gbit in plan.kafka_gbit_s))
    yield every("**brokers: disk, TB**", lambda plan: f"{plan.kafka_disk_tb:.1f}")
    yield every("**tables: TB a day**", lambda plan: f"{plan.tables_tb_per_day:.2f}")
    yield every("tables: TB with every retention full", lambda plan: _count(plan.tables_tb))
    yield cell("a cell: cameras", lambda c: _count(c.load.cameras))
    for place, job in enumerate(plans[0].first.jobs):
        yield cell(f"a cell: {job.name}, busy cores", lambda c, place=place: f"{c.jobs[place].busy_cores:.1f}")  # type: ignore[misc]
        yield cell(f"a cell: {job.name}, executors × cores, GB each", lambda c, place=place: _executors(c, place))  # type: ignore[misc]
        yield cell(f"a cell: {job.name}, driver cores, GB", lambda c, place=place: _driver(c, place))  # type: ignore[misc]
    yield cell("a cell: `shuffle_partitions`, partitions of `detections`", lambda c: f"{c.shuffle_partitions}")
    yield cell("a cell: `shards`", lambda c: f"{c.shards}")
    yield cell("a cell: tracking state, MB", lambda c: f"{c.state_gb * 1000:.0f}")
    yield cell("a cell: brokers", lambda c: f"{c.kafka.brokers}")
    yield cell("a cell: facts at most so old, s", lambda c: f"{c.tracking_lag_s:.1f}")
    yield cell("a cell: silver and gold at most so old, s", lambda c: f"{c.facts_lag_s:.1f}")
    yield cell("a cell: facts driver, share of its core", lambda c: f"{c.facts_driver_share:.0%}")
    yield cell("a cell: files a day in the fact log", lambda c: _count(c.tables.log_files_per_day))


def markdown(plans: Sequence[Plan], found: Sequence[Limit], costs: Costs) -> str:
    """The tables of a page: what is needed, what breaks first, the unit costs."""
    demand = plans[0].demand
    about = (
        f"{demand.fps:g} frames/s, {demand.objects:g} objects a frame, {demand.messages_per_s:g} message/s a camera; "
        f"{demand.headroom:.0%} of every core, link and broker's disk stay free; replication {demand.replication}; kept: in "
        f"Kafka {demand.kafka_days:g} days, raw messages {demand.raw_days:g}, fact log {demand.log_days:g}, tables "
        f"{demand.table_days:g}."
    )
    head = ["cameras", *(_count(plan.demand.cameras) for plan in plans)]
    needed = _table(head, ([name, *values] for name, values in rows(plans)))
    tight = _table(
        ["what", "cameras in a cell", "then"], ([limit.what, _count(limit.cameras), limit.remedy] for limit in found)
    )
    unit = _table(
        ["unit cost", "value", "", "from"],
        ([f"`{name}`", _value(cost), cost.kind.value, cost.source] for name, cost in each_cost(costs)),
    )
    parts = (notice(costs), about, needed, "### What breaks first", tight, "### Unit costs", unit)
    return "\n\n".join(parts)


def replace_part(page: Path, made: str) -> None:
    """Put ``made`` between the marks of ``page``; raises ConfigError where it has none."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ConfigError(f"{page}: has no lines '{BEGIN}' and '{END}': add them where the tables shall stand")
    page.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")


def document(plans: Sequence[Plan], found: Sequence[Limit], costs: Costs) -> dict[str, Any]:
    """Everything, for machines."""
    return {
        "notice": notice(costs),
        "plans": [_plan_document(plan) for plan in plans],
        "limits": [asdict(limit) for limit in found],
        "costs": costs.model_dump(mode="json"),
    }


def each_cost(costs: Costs) -> Iterator[tuple[str, Cost | Curve]]:
    """Unit costs by name."""
    for name in type(costs).model_fields:
        yield name, getattr(costs, name)


def _plan_document(plan: Plan) -> dict[str, Any]:
    demand = {name: value for name, value in asdict(plan.demand).items() if name != "trigger_s"}
    totals = (
        "cell_count", "job_cores", "job_memory_gb", "executors", "brokers", "broker_cores", "broker_memory_gb", "kafka_disk_tb",
        "kafka_gbit_s", "tables_tb_per_day", "tables_tb",
    )  # fmt: skip
    return {
        "demand": demand | {"trigger_s": plan.demand.trigger_s.model_dump()},
        "total": {name: getattr(plan, name) for name in totals},
        "cells": [{"count": count} | asdict(cell) for count, cell in plan.cells],
    }


def _executors(cell: CellPlan, place: int) -> str:
    job = cell.jobs[place]
    return f"{job.executors} × {job.executor_cores}, {job.executor_memory_gb:.1f}"


def _driver(cell: CellPlan, place: int) -> str:
    job = cell.jobs[place]
    return f"{job.driver_cores}, {job.driver_memory_gb:.1f}"


def _value(cost: Cost | Curve) -> str:
    if isinstance(cost, Cost):
        return f"{cost.value:g}"
    return ", ".join(f"{value:g} at {objects:g}" for objects, value in cost.value.items())


def _table(head: Sequence[str], lines: Iterator[list[str]] | Any) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))


def _count(number: float) -> str:
    return f"{round(number):,}"
