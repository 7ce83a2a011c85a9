"""``sightline bench``: how good and how fast the product is, measured by one command each.

Commands load what they need when they are called, so that ``--help`` needs no extra.
"""

from pathlib import Path
from typing import Annotated

import typer

bench_app = typer.Typer(help="Measure the product.", no_args_is_help=True, add_completion=False)


@bench_app.callback()
def _bench() -> None:
    """Measure the product."""


@bench_app.command("accuracy")
def accuracy_command(
    cameras: Annotated[int, typer.Option(min=1, max=5000, help="Simulated cameras.")] = 200,
    minutes: Annotated[float, typer.Option(min=0.5, max=1440, help="Simulated minutes.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same city.")] = 1,
    traffic: Annotated[str, typer.Option(help="light, dense or mixed.")] = "mixed",
    scene: Annotated[str, typer.Option(help="all, road, walkway, shelf, or one layout such as road-along.")] = "all",
    faults: Annotated[str, typer.Option(help="none, some (every fifth camera), all, or one kind.")] = "some",
    core: Annotated[bool, typer.Option("--core", help="The streaming core alone, without Kafka and Spark.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write all numbers here, too.", show_default=False)] = None,
    examples: Annotated[int, typer.Option(min=0, help="Show so many missed and false crossings.")] = 0,
    work: Annotated[Path | None, typer.Option(help="Keep broker, tables and logs in this folder.", show_default=False)] = None,
) -> None:
    """Run the real jobs on a simulated city and compare what they counted with what really happened."""
    from sightline.bench.accuracy import Choice, bench_accuracy

    bench_accuracy(Choice(cameras, minutes, seed, traffic, scene, faults, core, examples), json, work)
