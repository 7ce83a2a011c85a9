"""``sightline simulate``."""

import time
from pathlib import Path
from typing import Annotated

import typer


def simulate_command(
    out: Annotated[Path, typer.Option(help="Folder for camera files, truth, and messages where no broker takes them.")],
    cameras: Annotated[int, typer.Option(min=1, max=5000, help="How many cameras.")] = 10,
    minutes: Annotated[float, typer.Option(min=0.5, max=1440, help="How long.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes, for the same start.")] = 1,
    traffic: Annotated[str, typer.Option(help="light, dense or mixed.")] = "mixed",
    scene: Annotated[str, typer.Option(help="all, road, walkway, shelf, or one layout such as road-along.")] = "all",
    faults: Annotated[str, typer.Option(help="none, some (every fifth camera), all, or one kind.")] = "some",
    frame_rate: Annotated[int | None, typer.Option(help="Of all cameras: 5, 10, 15, 25 or 30.", show_default=False)] = None,
    bootstrap_servers: Annotated[
        str | None, typer.Option(help="Send to this broker, such as 127.0.0.1:9092; else to a file.", show_default=False)
    ] = None,
    speed: Annotated[float, typer.Option(min=0, help="Simulated seconds in one; 1 is real time, 0 as fast as it goes.")] = 0.0,
    start: Annotated[
        int | None,
        typer.Option(help="Time of the first frame, UTC seconds; default: so that the end is now.", show_default=False),
    ] = None,
) -> None:
    """Simulate cameras with known truth: camera files, messages, and what really happened."""
    from sightline.demo.settings import write_camera
    from sightline.simulate.city import City, city_plans
    from sightline.simulate.publish import paced, publish, write_messages
    from sightline.simulate.truth_files import write_truth

    seconds = round(minutes * 60)
    plans = city_plans(cameras, traffic, scene, faults, frame_rate)
    begin_s = start if start is not None else int(time.time()) - (0 if speed else seconds)
    city = City(plans, seconds, seed, begin_s * 1_000_000)
    for config in city.configs:
        write_camera(config, out / "cameras")
    messages = paced(city.messages(), speed) if speed else city.messages()
    count = publish(messages, bootstrap_servers) if bootstrap_servers else write_messages(messages, out / "messages.parquet")
    truth = city.truth()
    write_truth(truth, out / "truth")
    frames = sum(tally.frames_sent for tallies in truth.tallies for tally in tallies)
    detections = sum(tally.detections for tallies in truth.tallies for tally in tallies)
    where = bootstrap_servers or out / "messages.parquet"
    typer.echo(f"{count} messages, {frames} frames, {detections} detections to {where}; cameras and truth in {out}")
