"""``sightline demo``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sightline.broker import DEFAULT_PORT
from sightline.demo.conductor import Demo, DemoOptions
from sightline.driver_process import DEFAULT_CONNECT_PORT
from sightline.results.terminal import print_summary

_DEFAULT_SECONDS = 40.0


def demo_command(
    video: Annotated[
        str | None, typer.Option(help="A video file, a folder of images, or an RTSP/HTTP address; the sample clip without it.")
    ] = None,
    camera_config: Annotated[
        Path | None,
        typer.Option(help="The camera's YAML file; without it, a line and a zone in the middle."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for video, report, figures and tables.")] = Path("build/demo"),
    full: Annotated[bool, typer.Option("--full", help="The whole recording, not its first 40 s.")] = False,
    model: Annotated[str, typer.Option(help="Detector: a name of 'sightline models list', or an ONNX file.")] = "centernet",
    keep_running: Annotated[
        bool, typer.Option("--keep-running", help="Leave broker and SQL endpoint up; 'sightline down' ends them.")
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the broker on the loopback interface.")] = DEFAULT_PORT,
    sql_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the SQL endpoint there.")] = DEFAULT_CONNECT_PORT,
) -> None:
    """Run the whole path on a video and show what it found."""
    options = DemoOptions(
        video=video,
        camera_config=camera_config,
        out=out,
        seconds=None if full else _DEFAULT_SECONDS,
        model=model,
        keep_running=keep_running,
        broker_port=port,
        sql_port=sql_port,
    )
    console = Console()
    result = Demo(options, console).run()
    print_summary(result.summary, result.places, console)
