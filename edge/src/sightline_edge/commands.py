"""``sightline edge``: the node as a process. Results go to standard output, messages to standard error."""

import json
import signal
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from sightline_contract.errors import ConfigError
from sightline_contract.events import AuditRecord
from sightline_edge.clips.clock import read_clock
from sightline_edge.clips.export import Request, export_clip
from sightline_edge.clips.ledger import LEDGER_FILE, Ledger
from sightline_edge.clips.ring import clips_folder
from sightline_edge.clips.segment import iso_time
from sightline_edge.config import NodeConfig, load_node_config
from sightline_edge.delivery.delivery import SPOOL_FILE
from sightline_edge.delivery.records import of_audit
from sightline_edge.delivery.spool import Spool
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


@edge_app.command()
def clips(
    config: Annotated[Path, typer.Option("--config", help="The node's YAML file.")],
    deletions: Annotated[int, typer.Option(min=0, help="How many of the newest deletions are shown.")] = 20,
) -> None:
    """List the audit clips on this node's disk, and what was deleted, when and why."""
    folder = clips_folder(load_node_config(config))
    if not (folder / LEDGER_FILE).exists():
        typer.echo(f"{folder}: no clips, and none were ever kept there")
        return
    ledger, now = Ledger(folder), read_clock()
    held, gone = ledger.segments(), ledger.deletions(deletions)
    ledger.close()
    oldest_s = max((segment.age_us(now) for segment in held), default=0) / 1e6
    size = sum(segment.bytes or 0 for segment in held)
    typer.echo(f"{len(held)} segments, {size / 1e6:.1f} MB, oldest frame {oldest_s / 3600:.2f} h")
    for kept in held:
        ends = (
            "still being written" if kept.last_us is None else f"{iso_time(kept.last_us)}, {kept.frames} frames, {kept.bytes} B"
        )
        blurred = f", blurred: {kept.blur}" if kept.blur else ""
        typer.echo(f"  {kept.file}: {iso_time(kept.first_us)} to {ends}{blurred}")
    typer.echo(f"deleted, the newest {len(gone)}:")
    for entry in gone:
        times = " to ".join("?" if at_us is None else iso_time(at_us) for at_us in (entry.first_us, entry.last_us))
        typer.echo(f"  {iso_time(entry.deleted_us)} {entry.reason}: {entry.file}: {times}, {entry.bytes or 0} B")


@edge_app.command()
def export(
    config: Annotated[Path, typer.Option("--config", help="The node's YAML file.")],
    camera: Annotated[str, typer.Option(help="The camera's id.")],
    start: Annotated[str, typer.Option("--from", help="Capture time, such as 2026-01-31T08:00:00Z.")],
    end: Annotated[str, typer.Option("--to", help="Capture time.")],
    out: Annotated[Path, typer.Option(help="The clip to make: .mp4 or .mkv.")],
    reason: Annotated[str, typer.Option(help="Why the clip leaves the node. Required; the audit topic keeps it.")] = "",
) -> None:
    """Take a clip out of the node's ring: it is recorded for the audit topic first, with who, what and why."""
    node = load_node_config(config)
    if node.clips is None:
        raise ConfigError(f"{config}: has no section 'clips', so the node keeps no frames: nothing can be exported")
    request = Request(node.node_id, camera, _time_us("--from", start), _time_us("--to", end), reason, out)
    made = export_clip(clips_folder(node), node.clips, request, partial(_record_audit, node), read_clock())
    times = f"{iso_time(made.first_us)} to {iso_time(made.last_us)}"
    typer.echo(f"{out}: {made.frames} frames, {times}, {made.bytes} B, sha256 {made.sha256}")


def _record_audit(config: NodeConfig, record: AuditRecord) -> None:
    """Into the node's spool: the node forwards it now, or when it runs again and the centre can be reached."""
    spool = Spool(config.state / SPOOL_FILE, config.spool, owner=False)
    try:
        spool.append([of_audit(record)])
    finally:
        spool.close()


def _time_us(option: str, text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text}: is not a time: write it as 2026-01-31T08:00:00Z") from error
    if at.tzinfo is None:
        raise ConfigError(f"{option} {text}: has no time zone: write it as 2026-01-31T08:00:00Z")
    return round(at.timestamp() * 1e6)


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
