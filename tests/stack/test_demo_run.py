"""The whole path on a clip whose truth is known: real detector runtime, real Kafka, real Spark, real tables."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from blob_detector import write_blob_detector
from deltalake import DeltaTable

from sightline.demo.layout import fresh_layout
from sightline.ports import free_port, is_free

pytestmark = [pytest.mark.slow, pytest.mark.spark, pytest.mark.kafka]

SIGHTLINE = Path(sys.executable).with_name("sightline")
WIDTH, HEIGHT, RATE, FRAMES = 320, 240, 10, 60


def write_clip(path: Path) -> Path:
    """Six seconds: a square goes to the right in the upper half, another to the left in the lower."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 2_000_000
        for number in range(FRAMES):
            picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            for left, top in ((20 + 4 * number, 50), (280 - 4 * number, 170)):
                picture[top : top + 30, left : left + 30] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def run_demo(folder: Path, ports: tuple[int, int], *words: str | Path) -> subprocess.CompletedProcess[str]:
    where = ["--out", folder / "out", "--port", str(ports[0]), "--sql-port", str(ports[1])]
    command: list[str | Path] = [SIGHTLINE, "demo", *where]
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=500, check=False)


def processes_about(folder: Path) -> list[int]:
    """Processes whose command line names the folder; one that has ended has none."""
    return [p.pid for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or ())]


def rows(tables: Path, name: str) -> list[dict[str, object]]:
    return DeltaTable(tables / name).to_pyarrow_table().to_pylist()


def test_the_demo_finds_what_is_on_the_clip_and_leaves_nothing_running(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    model = write_blob_detector(tmp_path / "blobs.onnx")
    ports = free_port(), free_port()

    done = run_demo(tmp_path, ports, "--video", clip, "--model", model)

    assert done.returncode == 0, done.stderr + done.stdout
    out = tmp_path / "out"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["frames"] == {"read": 60, "analysed": 60, "expected": 60, "received": 60, "completeness": 1.0}
    assert summary["detections"] == 2 * FRAMES
    assert summary["tracks"] == {"total": 2, "by_class": {"person": 2}}
    assert summary["dead_letters"] == 0
    crossings = {(row["line"], row["direction"]) for row in rows(out / "tables", "silver/line_crossings")}
    assert crossings == {("middle", "rightwards"), ("middle", "leftwards")}
    assert len(rows(out / "tables", "silver/line_crossings")) == 2
    counts = [row for row in rows(out / "tables", "gold/object_counts") if row["class_name"] == "person"]
    assert {row["objects"] for row in counts} == {2}
    assert sum(row["detections"] for row in counts) == 2 * FRAMES  # type: ignore[misc]
    assert all(row["completeness"] == 1.0 for row in counts)
    assert summary["alerts"]["total"] == summary["rows"]["gold.alerts"]
    assert any(name.startswith("marts.") for name in summary["rows"])
    with av.open(str(out / "demo.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == FRAMES
    assert "<html" in (out / "report.html").read_text()[:200]
    assert all(is_free(port) for port in ports)
    assert processes_about(out) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--video", "nothing.mp4"], "nothing.mp4: does not exist"),
        (["--video", __file__], "is not a video"),
        (["--video", "{folder}/clip.mp4", "--camera-config", "{folder}/bad.yaml"], "bad.yaml: frame_rate"),
        (["--model", __file__], "ONNX"),
    ],
)
def test_bad_input_ends_in_one_line_before_anything_starts(tmp_path: Path, words: list[str], complaint: str) -> None:
    write_clip(tmp_path / "clip.mp4")
    (tmp_path / "bad.yaml").write_text("{camera_id: a, frame_size: [320, 240], frame_rate: fast}")
    model = [] if "--model" in words else ["--model", write_blob_detector(tmp_path / "blobs.onnx")]
    done = run_demo(tmp_path, (free_port(), free_port()), *model, *(word.format(folder=tmp_path) for word in words))
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert complaint in errors[0]
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "out" / "work" / "broker").exists()


def test_a_port_in_use_is_named_and_the_last_run_is_kept(tmp_path: Path) -> None:
    fresh_layout(tmp_path / "out").summary.write_text("of a stack that is still up")
    clip = write_clip(tmp_path / "clip.mp4")
    model = write_blob_detector(tmp_path / "blobs.onnx")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_demo(tmp_path, (free_port(), port), "--video", clip, "--model", model)
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert (tmp_path / "out" / "summary.json").read_text() == "of a stack that is still up"
    assert processes_about(tmp_path) == []
