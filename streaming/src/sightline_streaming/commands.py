"""Commands of the front door that are about tracking alone."""

from pathlib import Path
from typing import Annotated

import typer

from sightline_contract.camera import Scene
from sightline_contract.errors import ConfigError

Threshold = Annotated[float | None, typer.Option(help="Default: the scene's.", show_default=False)]


def _frame_size(text: str) -> tuple[int, int]:
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdigit() and height.isdigit()):
        raise ConfigError(f"frame size {text!r} is not understood: give WIDTHxHEIGHT in pixels, such as 1920x1080")
    return int(width), int(height)


def track_command(
    det: Annotated[Path, typer.Argument(help="MOTChallenge detections: frame,id,left,top,width,height[,score[,class]]")],
    out: Annotated[Path, typer.Option(help="Where the MOTChallenge results go.")],
    frame_rate: Annotated[float, typer.Option(help="Frames per second.")],
    frame_size: Annotated[str, typer.Option(help="WIDTHxHEIGHT in pixels.")],
    scene: Annotated[Scene, typer.Option(help="Whether the camera stands still.")] = Scene.FIXED,
    min_score: Threshold = None,
    high_score: Threshold = None,
    new_score: Threshold = None,
    first_overlap: Threshold = None,
    second_overlap: Threshold = None,
    surprise_limit: Threshold = None,
    surprise_cost: Threshold = None,
    confirm_evidence: Threshold = None,
    confirm_hits: Threshold = None,
    lost_s: Threshold = None,
    fill_s: Threshold = None,
    duplicate_overlap: Threshold = None,
    accelerate: Threshold = None,
    first_speed: Threshold = None,
    first_reach: Threshold = None,
    way_overlap: Threshold = None,
    most_grown: Threshold = None,
) -> None:
    """Track the objects of a MOTChallenge detections file, with the tracker of the streaming job."""
    from sightline_streaming.motchallenge import track_file

    summary = track_file(
        det,
        out,
        frame_rate,
        _frame_size(frame_size),
        scene,
        min_score=min_score,
        high_score=high_score,
        new_score=new_score,
        first_overlap=first_overlap,
        second_overlap=second_overlap,
        surprise_limit=surprise_limit,
        surprise_cost=surprise_cost,
        confirm_evidence=confirm_evidence,
        confirm_hits=confirm_hits,
        lost_s=lost_s,
        fill_s=fill_s,
        duplicate_overlap=duplicate_overlap,
        accelerate=accelerate,
        first_speed=first_speed,
        first_reach=first_reach,
        way_overlap=way_overlap,
        most_grown=most_grown,
    )
    typer.echo(
        f"{summary.detections} detections in {summary.frames} frames: {summary.tracks} tracks, {summary.boxes} boxes in {out}"
    )
