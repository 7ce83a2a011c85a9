"""``sightline edge``: the node as a process. Results go to standard output, messages to standard error."""

import json
import signal
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from sightline_edge.config import load_node_config
from sightline_edge.health.logs import configure
from sightline_edge.node import Node, Progress, Summary

edge_app = typer.Typer(no_args_is_help=True)


# Without a callback typer would make an app of one command that command itself, and 'run' would be no word.
@edge_app.callback()
def edge() -> None:
    """The edge node: capture, detect, publish."""


@edge_app.command()
def run(
    config: Annotated[Path, typer.Option("--config", help="The node's YAML file; edge/configs/node.yaml explains it.")],
    progress_json: Annotated[
        bool, typer.Option("--progress-json", help="One JSON line a second, for a parent process.")
    ] = False,
) -> None:
    """Read cameras, find objects, send detections and events to Kafka, until the sources end or Ctrl-C."""
    settings = load_node_config(config)
    configure(settings.log, settings.node_id)
    node = Node(settings)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        node.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    summary = node.run(_print_json if progress_json else _print_line)
    typer.echo(json.dumps({"summary": summary_fields(summary)}) if progress_json else _in_words(summary))


def summary_fields(summary: Summary) -> dict[str, object]:
    """The summary as it is printed for machines: totals over the cameras, and each camera."""
    totals = {
        key: sum(getattr(camera, key) for camera in summary.cameras)
        for key in ("frames", "frames_skipped", "detections", "detections_withheld", "batches", "events")
    }
    return {**totals, **asdict(summary), "frames_per_s": round(summary.frames_per_s, 2)}


def _print_json(progress: Progress) -> None:
    print(json.dumps(asdict(progress)), flush=True)


def _print_line(progress: Progress) -> None:
    of = f" of {progress.of}" if progress.of else ""
    typer.echo(f"frames {progress.frames}{of}, detections {progress.detections}, events {progress.events}", err=True)


def _in_words(summary: Summary) -> str:
    lines = [
        f"camera {c.camera_id}: {c.frames} frames ({c.frames_skipped} skipped), {c.detections} detections, "
        f"{c.batches} batches, {c.events} events"
        for c in summary.cameras
    ]
    inference = f"{summary.inference_ms_p50:.0f} ms (95 %: {summary.inference_ms_p95:.0f} ms)"
    return "\n".join([*lines, f"{summary.seconds:.1f} s, {summary.frames_per_s:.1f} frames/s, inference {inference}"])
