"""The command ``sightline plan``."""

import json as json_format
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sightline.plan.costs import load_costs
from sightline.plan.limits import Limit, limits
from sightline.plan.model import Demand, Plan, make_plan

_DEFAULT = Demand(cameras=1)
Days = Annotated[float | None, typer.Option(help="Days; default: the table's own.", show_default=False)]


def plan_command(
    cameras: Annotated[list[int], typer.Option(help="How many; repeat it to compare.")],
    fps: Annotated[float, typer.Option(help="Analysed frames a second of each camera.")] = _DEFAULT.fps,
    objects: Annotated[float, typer.Option(help="Detections in a frame.")] = _DEFAULT.objects,
    headroom: Annotated[float, typer.Option(help="Share of every core, link and disk that stays free.")] = _DEFAULT.headroom,
    replication: Annotated[int, typer.Option(help="Copies that Kafka keeps.")] = _DEFAULT.replication,
    kafka_days: Annotated[float, typer.Option(help="Retention of the topic detections, days.")] = _DEFAULT.kafka_days,
    retention_days: Annotated[float, typer.Option(help="Retention of silver and gold tables, days.")] = _DEFAULT.table_days,
    raw_days: Annotated[float, typer.Option(help="Retention of the raw messages, days.")] = _DEFAULT.raw_days,
    log_days: Annotated[float, typer.Option(help="Retention of the fact log, days.")] = _DEFAULT.log_days,
    cameras_per_cell: Annotated[int, typer.Option(help="Cameras of one set of jobs.")] = _DEFAULT.cameras_per_cell,
    executor_cores: Annotated[int, typer.Option(help="Cores of an executor.")] = _DEFAULT.executor_cores,
    costs: Annotated[Path | None, typer.Option(help="Unit costs in place of ours (YAML).", show_default=False)] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything here, too.", show_default=False)] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, with the unit costs.")] = False,
    page: Annotated[
        Path | None, typer.Option(help="Put the Markdown between the marks of this page.", show_default=False)
    ] = None,
) -> None:
    """Project cores, memory, brokers and storage for a number of cameras from measured unit costs.

    Figures are a projection: nothing was measured at that size. docs/capacity.md says how they are made.
    """
    from sightline.plan import page as pages

    unit_costs = load_costs(costs)
    demand = Demand(
        cameras=cameras[0],
        fps=fps,
        objects=objects,
        headroom=headroom,
        replication=replication,
        kafka_days=kafka_days,
        table_days=retention_days,
        raw_days=raw_days,
        log_days=log_days,
        cameras_per_cell=cameras_per_cell,
        executor_cores=executor_cores,
    )
    plans = [make_plan(replace(demand, cameras=count), unit_costs) for count in cameras]
    found = limits(demand, unit_costs)
    if json is not None:
        json.write_text(json_format.dumps(pages.document(plans, found, unit_costs), indent=1) + "\n", encoding="utf-8")
    if page is not None:
        pages.replace_part(page, pages.markdown(plans, found, unit_costs))
    elif markdown:
        typer.echo(pages.markdown(plans, found, unit_costs))
    else:
        _show(plans, found)
        typer.echo(pages.notice(unit_costs))


def _show(plans: list[Plan], found: list[Limit]) -> None:
    from rich.console import Console
    from rich.table import Table

    from sightline.plan.page import rows

    console = Console()
    table = Table("cameras", *(f"{plan.demand.cameras:,}" for plan in plans))
    for name, values in rows(plans):
        table.add_row(name.replace("*", "").replace("`", ""), *values)
    console.print(table)
    per_cell = plans[0].demand.cameras_per_cell
    tight = Table("what breaks first as a cell grows", "cameras in it", "then")
    for limit in found:
        mark = "[red]" if limit.cameras < per_cell else ""
        tight.add_row(limit.what.replace("`", ""), f"{mark}{limit.cameras:,}", limit.remedy.replace("`", ""))
    console.print(tight)
