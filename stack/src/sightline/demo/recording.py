"""Recording a network camera to a file, packets as they come: nothing is decoded, so nothing is lost or slow."""

import time
from pathlib import Path

import av

from sightline.demo.stages import Stages
from sightline_contract.errors import SourceError
from sightline_edge.health.masking import mask_password

_CONNECT_TIMEOUT_S = 10.0


def record(address: str, seconds: float | None, folder: Path, stages: Stages) -> Path:
    """Record ``seconds`` of ``address`` (None: until it ends) as ``folder/recording.mkv``; raises SourceError."""
    name = mask_password(address)
    out = folder / "recording.mkv"
    options = {"rtsp_transport": "tcp"} if address.startswith("rtsp") else {}
    try:
        with stages.stage("record", seconds) as stage, av.open(address, options=options, timeout=_CONNECT_TIMEOUT_S) as camera:
            if not camera.streams.video:
                raise SourceError(f"{name}: has no video: check the address")
            stream = camera.streams.video[0]
            with av.open(str(out), "w", format="matroska") as file:
                copy = file.add_stream_from_template(stream)
                started_s = time.monotonic()
                for packet in camera.demux(stream):
                    if not packet.size:  # the last one, which flushes the decoder
                        continue
                    if packet.dts is None:  # RTP carries presentation times only
                        packet.dts = packet.pts
                    packet.stream = copy
                    file.mux(packet)
                    passed_s = time.monotonic() - started_s
                    stage.advance_to(passed_s)
                    if seconds is not None and passed_s >= seconds:
                        break
    except (av.error.FFmpegError, OSError) as error:
        out.unlink(missing_ok=True)
        raise SourceError(f"{name}: does not answer ({error.strerror}): check address, user and password") from error
    return out
