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


@bench_app.command("tracking")
def tracking_command(
    data: Annotated[
        Path, typer.Option(help="Folder of SEQUENCE/{det/det.txt,gt/gt.txt,seqinfo.ini}, perhaps with baselines.json.")
    ],
    json: Annotated[Path | None, typer.Option(help="Write all numbers here, too.", show_default=False)] = None,
    results: Annotated[Path | None, typer.Option(help="Keep the tracks here, a file a sequence.", show_default=False)] = None,
    only: Annotated[list[str] | None, typer.Option(help="Sequences, such as 'MOT17-*'.", show_default=False)] = None,
    fixed: Annotated[list[str] | None, typer.Option(help="Sequences of cameras that stand still.", show_default=False)] = None,
    moving: Annotated[list[str] | None, typer.Option(help="Sequences of cameras that move.", show_default=False)] = None,
    ablations: Annotated[bool, typer.Option("--ablations", help="Score the tracker with one idea taken out each.")] = False,
    repeats: Annotated[int, typer.Option(min=0, help="Repetitions of each timing; 0 times nothing.")] = 5,
) -> None:
    """Score and time the tracker on sequences with ground truth, beside the reference trackers.

    KITTI-* is scored by KITTI's rules, MOT16-*, MOT17-* and MOT20-* by theirs, all others by those of MOT15. Which cameras
    move is told by --fixed and --moving, else by 'scene=fixed' or 'scene=moving' in seqinfo.ini, else by the name. The
    references' scores are those of baselines.json in the folder where it has just these sequences, else they are measured.
    """
    from sightline.cli import naming_missing_packages

    with naming_missing_packages("bench tracking", "bench"):
        from sightline.bench.tracking import Choice, bench_tracking

        bench_tracking(data, Choice(only or ["*"], fixed or [], moving or []), json, results, ablations, repeats)


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


@bench_app.command("wire")
def wire_command(
    cameras: Annotated[int, typer.Option(min=1, max=5000, help="Simulated cameras.")] = 200,
    seconds: Annotated[int, typer.Option(min=1, max=3600, help="Simulated seconds.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same city.")] = 1,
    data: Annotated[
        Path | None, typer.Option(help="Folder of SEQUENCE/{det/det.txt,gt/gt.txt,seqinfo.ini}.", show_default=False)
    ] = None,
    kafka: Annotated[bool, typer.Option(help="Send all to a broker of its own and read its files.")] = True,
    repeats: Annotated[int, typer.Option(min=0, help="Repetitions of each timing; 0 times nothing.")] = 5,
    json: Annotated[Path | None, typer.Option(help="Write all numbers here, too.", show_default=False)] = None,
) -> None:
    """Bytes per detection, plain, with zstd and in Kafka's files, beside JSON and MessagePack of the same content.

    A message is compressed alone, with those of a node's 20 cameras, and with as many of a city's as a producer takes. With
    --data the tracker's scores tell what the contract's rounding of boxes does.
    """
    from sightline.cli import naming_missing_packages

    with naming_missing_packages("bench wire", "bench,stack"):
        from sightline.bench.wire import WireChoice, bench_wire

        bench_wire(WireChoice(cameras, seconds, seed, kafka, repeats), data, json)


@bench_app.command("city")
def city_command(
    cameras: Annotated[int, typer.Option(min=1, help="How many cameras.")] = 5000,
    fps: Annotated[int, typer.Option(min=1, max=120, help="Frames a second of each.")] = 30,
    objects: Annotated[int, typer.Option(min=1, max=500, help="Objects in every frame.")] = 6,
    seconds: Annotated[int, typer.Option(min=5, help="Seconds of the city.")] = 120,
    backlog: Annotated[bool, typer.Option("--backlog", help="Fill the topic first; otherwise the city is live.")] = False,
    batch_seconds: Annotated[int, typer.Option(min=1, help="Of a backlog: seconds of the city in a micro-batch.")] = 15,
    jobs: Annotated[str, typer.Option(help="Which jobs run: tracking, or tracking,facts.")] = "tracking,facts",
    shards: Annotated[int, typer.Option(min=1, help="Shards of the state.")] = 4,
    partitions: Annotated[int, typer.Option(min=1, help="Shuffle partitions.")] = 2,
    repeats: Annotated[int, typer.Option(min=1, help="Runs, one after another.")] = 1,
    peers: Annotated[int, typer.Option(min=0, help="Repetitions of the race with reference trackers; 0: none.")] = 5,
    json: Annotated[Path | None, typer.Option(help="Write all numbers here, too.", show_default=False)] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw a live run over time here (PNG or SVG).", show_default=False)] = None,
    work: Annotated[Path | None, typer.Option(help="Keep broker, tables and logs in this folder.", show_default=False)] = None,
) -> None:
    """Run a whole city through the real jobs on this machine: how many frames a second, and how fresh."""
    from sightline.cli import naming_missing_packages

    with naming_missing_packages("bench city", "bench"):
        from sightline.bench.city import Output, bench_city
        from sightline.bench.city_run import Plan

        plan = Plan(
            cameras, fps, objects, seconds, live=not backlog, jobs=tuple(jobs.split(",")), shards=shards, partitions=partitions,
            batch_s=batch_seconds,
        )  # fmt: skip
        bench_city(plan, repeats, peers, Output(json, plot, work))


@bench_app.command("growth")
def growth_command(
    what: Annotated[str, typer.Option(help="workers, partitions, objects, cameras, day; several with commas.")] = (
        "workers,partitions,objects,cameras,day"
    ),
    cameras: Annotated[int, typer.Option(min=1, help="Cameras where not they grow.")] = 5000,
    seconds: Annotated[int, typer.Option(min=9, help="Seconds of the city in the topic.")] = 36,
    batch_seconds: Annotated[int, typer.Option(min=1, help="Seconds of the city in a micro-batch.")] = 6,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each point.")] = 1,
    json: Annotated[Path | None, typer.Option(help="Write all numbers here, too.", show_default=False)] = None,
    plots: Annotated[Path | None, typer.Option(help="Draw a plot each into this folder.", show_default=False)] = None,
) -> None:
    """Run the tracking job on backlogs of growing size: what grows how."""
    from sightline.cli import naming_missing_packages

    with naming_missing_packages("bench growth", "bench"):
        from sightline.bench.city_run import Plan
        from sightline.bench.growth import bench_growth

        plan = Plan(cameras=cameras, seconds=seconds, jobs=("tracking",), batch_s=batch_seconds)
        bench_growth(what.split(","), plan, repeats, json, plots)


@bench_app.command("edge")
def edge_command(
    cameras: Annotated[int | None, typer.Option(min=1, help="Cameras: 100, of a soak 5.", show_default=False)] = None,
    hours: Annotated[float, typer.Option(min=0.01, help="How long the centre is away.")] = 1.0,
    speed: Annotated[
        float | None, typer.Option(min=1, help="Seconds that pass in one: 60, of a soak 1500.", show_default=False)
    ] = None,
    kills: Annotated[int, typer.Option(min=0, help="How often the carrying process is killed meanwhile.")] = 6,
    soak: Annotated[bool, typer.Option("--soak", help="Days of messages, an outage each: what grows.")] = False,
    days: Annotated[float, typer.Option(min=0.01, help="Of the soak.")] = 7.0,
    path: Annotated[bool, typer.Option("--path", help="Messages a second, and an event's way in ms.")] = False,
    parts: Annotated[bool, typer.Option("--parts", help="What a clip's frame, figures and masking cost.")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Of --path.")] = 3,
    out: Annotated[Path, typer.Option(help="Folder of JSON and plot.")] = Path("build/bench"),
) -> None:
    """An hour without the centre: what the node's spool loses, and a plain Mosquitto bridge, both killed on the way."""
    from sightline.cli import naming_missing_packages

    with naming_missing_packages("bench edge", "stack"):
        from sightline.bench.edge import bench_outage, bench_parts, bench_path, bench_soak
        from sightline.bench.edge_outage import OutagePlan

        if path:
            bench_path(repeats, out)
        elif parts:
            bench_parts(out)
        elif soak:
            bench_soak(days, cameras or 5, speed or 1500.0, out)
        else:
            bench_outage(OutagePlan(cameras or 100, round(hours * 3600), speed or 60.0, kills), out)


@bench_app.command("models")
def models_command(
    models: Annotated[list[Path], typer.Argument(help="Model folders.")],
    clip: Annotated[Path, typer.Option(help="A video of what they will see.")],
    repeats: Annotated[int, typer.Option(min=1, help="Turns of all contestants.")] = 7,
    json: Annotated[Path | None, typer.Option(help="Write all numbers here, too.", show_default=False)] = None,
) -> None:
    """Compile models for every CPU target and time them, on one core, beside ONNX Runtime at full precision."""
    from sightline.cli import naming_missing_packages

    with naming_missing_packages("bench models", "stack"):
        from sightline.bench.models import ModelsChoice, bench_models

        bench_models(ModelsChoice(tuple(models), clip, repeats), json)


@bench_app.command("fleet")
def fleet_command(
    nodes: Annotated[int, typer.Option(min=20, help="Simulated nodes.")] = 500,
    out: Annotated[Path, typer.Option(help="Folder of JSON and picture.")] = Path("build/bench"),
) -> None:
    """Give a fleet good and bad model versions, while nodes lose links and power: who is touched, how soon it is undone."""
    from sightline.cli import naming_missing_packages

    with naming_missing_packages("bench fleet", "stack"):
        from sightline.bench.fleet import bench_fleet

        bench_fleet(nodes, out)
