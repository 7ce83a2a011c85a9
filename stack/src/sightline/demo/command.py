"""``sightline demo``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sightline.broker import DEFAULT_PORT
from sightline.demo.conductor import Demo, DemoOptions
from sightline.demo.drones import DronesDemo, DronesOptions
from sightline.demo.rollout import RolloutDemo, RolloutOptions
from sightline.driver_process import DEFAULT_CONNECT_PORT
from sightline.results.terminal import plain_console, print_summary
from sightline_contract.errors import ConfigError

_DEFAULT_SECONDS = 40.0
_WHOLE_CLIP_SECONDS = 79.0


class Scenario(StrEnum):
    """What the demo shows."""

    STREET = "street"
    DRONES = "drones"
    ROLLOUT = "rollout"


def demo_command(
    scenario: Annotated[
        Scenario,
        typer.Option(
            help="street: the whole path on one camera. drones: two nodes warn each other, the centre gone. "
            "rollout: a fleet is given a good model, and one that is taken back."
        ),
    ] = Scenario.STREET,
    video: Annotated[
        str | None, typer.Option(help="A video file, a folder of images, or an RTSP/HTTP address; the sample clip without it.")
    ] = None,
    camera_config: Annotated[
        Path | None,
        typer.Option(help="The camera's YAML file; without it, a line and a zone in the middle."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of what it leaves.  [default: build/demo, or build/SCENARIO]", show_default=False),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="The whole recording, not its first 40 s.")] = False,
    model: Annotated[str, typer.Option(help="Detector: a name of 'sightline models list', or an ONNX file.")] = "centernet",
    keep_running: Annotated[
        bool, typer.Option("--keep-running", help="Leave broker and SQL endpoint up; 'sightline down' ends them.")
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the broker on the loopback interface.")] = DEFAULT_PORT,
    sql_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the SQL endpoint there.")] = DEFAULT_CONNECT_PORT,
) -> None:
    """Run the whole path on a video and show what it found."""
    if scenario is Scenario.DRONES:
        if video or camera_config or keep_running:
            raise ConfigError("--scenario drones has clips and cameras of its own, and ends: leave the other options out")
        seconds = _WHOLE_CLIP_SECONDS if full else _DEFAULT_SECONDS
        DronesDemo(DronesOptions(out or Path("build/drones"), seconds, model, port), plain_console()).run()
        return
    if scenario is Scenario.ROLLOUT:
        if video or camera_config or keep_running or full:
            raise ConfigError("--scenario rollout has a simulated fleet of its own, and ends: leave the other options out")
        RolloutDemo(RolloutOptions(out or Path("build/rollout"), port), plain_console()).run()
        return
    options = DemoOptions(
        video=video,
        camera_config=camera_config,
        out=out or Path("build/demo"),
        seconds=None if full else _DEFAULT_SECONDS,
        model=model,
        keep_running=keep_running,
        broker_port=port,
        sql_port=sql_port,
    )
    console = Console()
    result = Demo(options, console).run()
    print_summary(result.summary, result.places, console)
