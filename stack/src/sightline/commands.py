"""The commands of the local stack (up, down, status, doctor, jars) and those for a cluster (topics, rescale)."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from sightline import services
from sightline.broker import DEFAULT_PORT, create_topics
from sightline.bundle_service import DEFAULT_BUNDLE_PORT
from sightline.cache import jars_dir
from sightline.doctor import State, examine
from sightline.driver_process import DEFAULT_CONNECT_PORT
from sightline.jars import GROUPS, fetch_jars, missing_jars
from sightline.java import find_java
from sightline.ports import LOOPBACK
from sightline.registry_service import DEFAULT_REGISTRY_PORT
from sightline_contract.topics import ALL_TOPICS, DETECTIONS
from sightline_streaming.config import load_job_config

HomeOption = Annotated[
    Path | None,
    typer.Option(help="Folder of the stack's data, logs and process records.", envvar="SIGHTLINE_HOME", show_default=False),
]
PortOption = Annotated[int, typer.Option(min=1, max=65535, help="Port of the broker on the loopback interface.")]

_MIB = 1024 * 1024
_SECONDS_BY_UNIT = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


CamerasOption = Annotated[
    Path | None,
    typer.Option(help="A camera file or a folder of them: starts the jobs and the SQL endpoint too.", show_default=False),
]
ConfigOption = Annotated[Path, typer.Option(help="Job configuration (YAML).", show_default=False)]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE, stands above the file; repeatable.", show_default=False)
]
ModelsOption = Annotated[
    bool, typer.Option("--registry/--no-registry", help="Start the model registry and the server of model bundles, too.")
]
RegistryPortOption = Annotated[int, typer.Option(min=1, max=65535, help="Port of the model registry (MLflow) there.")]
BundlePortOption = Annotated[int, typer.Option(min=1, max=65535, help="Port of the server of model bundles there.")]
JudgeOption = Annotated[bool, typer.Option("--judge", help="Start the judge of model rollouts, too.")]
SqlPortOption = Annotated[int, typer.Option(min=1, max=65535, help="Port of the SQL endpoint (Spark Connect) there.")]


def up_command(
    home: HomeOption = None,
    port: PortOption = DEFAULT_PORT,
    cameras: CamerasOption = None,
    sql_port: SqlPortOption = DEFAULT_CONNECT_PORT,
    models: ModelsOption = True,
    registry_port: RegistryPortOption = DEFAULT_REGISTRY_PORT,
    bundle_port: BundlePortOption = DEFAULT_BUNDLE_PORT,
    judge: JudgeOption = False,
) -> None:
    """Start the local stack in the background and return when it serves."""
    console = Console()
    folder = (home or services.default_home()).absolute()
    wanted = services.local_services(folder, port, cameras, sql_port)
    if models:
        wanted += services.model_services(folder, registry_port, bundle_port)
    if judge:
        wanted += (_judge(folder, port, registry_port),)
    _fetch_all(console)
    with console.status("starting the stack"):
        started = services.up(folder, wanted)
    for record in started:
        where = f", 127.0.0.1:{record.port}" if record.port else ""
        console.print(f"{record.name} started (pid {record.pid}{where})")
    if not started:
        console.print("everything runs already")


def down_command(home: HomeOption = None) -> None:
    """Stop the local stack; its data stays."""
    console = Console()
    with console.status("stopping the stack"):
        stopped = services.down(home or services.default_home())
    for record in stopped:
        console.print(f"{record.name} stopped")
    if not stopped:
        console.print("nothing was running")


def status_command(home: HomeOption = None) -> None:
    """Show the services of the local stack; exit code 1 unless all of them run."""
    folder = home or services.default_home()
    found = {record.name: record for record in services.records(folder)}
    names = list(dict.fromkeys([*(service.name for service in services.local_services(folder, DEFAULT_PORT)), *found]))
    table = Table("service", "state", "pid", "port", "up for", "memory", "log")
    for name in names:
        table.add_row(name, *_status_cells(found.get(name)))
    Console().print(table)
    if not all(name in found and found[name].process() for name in names):
        raise typer.Exit(1)


def doctor_command(port: PortOption = DEFAULT_PORT) -> None:
    """Show what this machine has, what it lacks and how to get it; exit code 1 if something required is missing."""
    colours = {State.PRESENT: "green", State.LATER: "yellow", State.NOTE: "yellow", State.MISSING: "red"}
    table = Table("what", "state", Column("found", overflow="fold"))
    findings = examine(port)
    for finding in findings:
        table.add_row(finding.what, f"[{colours[finding.state]}]{finding.state.value}", finding.found)
    Console().print(table)
    for finding in findings:
        if finding.remedy:
            typer.echo(f"{finding.what}: {finding.remedy}")
    if any(finding.state is State.MISSING for finding in findings):
        raise typer.Exit(1)


def jars_command() -> None:
    """Fetch the pinned jars of Kafka and of Spark's connectors into the cache, unless they are there."""
    console = Console()
    _fetch_all(console)
    console.print(f"{sum(len(fetch_jars(group)) for group in GROUPS)} jars in {jars_dir()}")


def topics_command(
    config: ConfigOption,
    replication_factor: Annotated[int, typer.Option(min=1, help="Copies of each message, on as many brokers.")] = 3,
    partitions: Annotated[int, typer.Option(min=1, help="Of the topic of detections.")] = DETECTIONS.partitions,
    assign: SetOption = None,
) -> None:
    """Create the topics that a Kafka cluster lacks; those that it has stay as they are."""
    kafka = load_job_config(config, os.environ, assign or ()).kafka
    topics = [replace(topic, partitions=partitions) if topic is DETECTIONS else topic for topic in ALL_TOPICS]
    create_topics(kafka.bootstrap_servers, topics, replication_factor=replication_factor, options=kafka.librdkafka_options())
    typer.echo(f"{len(topics)} topics at {kafka.bootstrap_servers}")


def rescale_command(
    config: ConfigOption,
    shards: Annotated[int | None, typer.Option(min=1, help="Default: the configuration's.", show_default=False)] = None,
    shuffle_partitions: Annotated[
        int | None, typer.Option(min=1, help="State partitions. Default: the configuration's.", show_default=False)
    ] = None,
    assign: SetOption = None,
) -> None:
    """Take the stopped tracking job's state and place in Kafka to other numbers of shards and state partitions."""
    from sightline_streaming.rescale import run

    os.environ["JAVA_HOME"] = str(find_java().home)
    typer.echo(run(config, assign or (), shards, shuffle_partitions, master="local[2]", jars=fetch_jars("spark")))


def _judge(folder: Path, port: int, registry_port: int) -> services.Service:
    from sightline.rollout.installation import judge_config
    from sightline.rollout.judge_service import JudgeService

    return JudgeService(judge_config(folder, port, f"http://{LOOPBACK}:{registry_port}"))


def _fetch_all(console: Console) -> None:
    missing = sum(len(missing_jars(group)) for group in GROUPS)
    columns = (TextColumn("fetching jars"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not missing) as bar:
        task = bar.add_task("", total=missing)
        for group in GROUPS:
            fetch_jars(group, progress=lambda _done, _total: bar.advance(task))


def _status_cells(record: services.Record | None) -> tuple[str, ...]:
    if record is None:
        return ("stopped", "", "", "", "", "")
    process = record.process()
    if process is None:
        return ("[red]ended", str(record.pid), "", "", "", record.log)
    return (
        "[green]running",
        str(record.pid),
        str(record.port or ""),
        _duration(time.time() - record.started_s),
        f"{process.memory_info().rss / _MIB:.0f} MiB",
        record.log,
    )


def _duration(seconds: float) -> str:
    """The two largest units, such as ``3 min 12 s``."""
    parts: list[str] = []
    rest = int(seconds)
    for unit, size in _SECONDS_BY_UNIT:
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
