"""A real, tiny detector and real, tiny videos, made on the spot."""

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

COLOURS_RGB = {"black": (0, 0, 0), "red": (255, 0, 0), "blue": (0, 0, 255)}
WIDTH, HEIGHT, FRAME_RATE = 64, 48, 10
JPEG = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), (0, 0, 255), np.uint8))[1].tobytes()


def colour_model() -> onnx.ModelProto:
    """A detector that sees a person on the left in red pictures and a car on the right in blue ones.

    [n, 16, 16, 3] RGB 0..255 to [n, 2, 6]; a score is the mean of the channel over 255.
    """
    boxes = np.array([[[0.1, 0.2, 0.3, 0.9], [0.6, 0.5, 0.9, 0.9]]], np.float32)
    constants = {
        "red_and_blue": np.array([0, 2], np.int64),
        "full": np.array(255, np.float32),
        "zero": np.array(0, np.float32),
        "boxes": boxes,
        "classes": np.array([[[0], [2]]], np.float32),
        "last": np.array([2], np.int64),
    }
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Gather", ["means", "red_and_blue"], ["two"], axis=1),
        helper.make_node("Div", ["two", "full"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "last"], ["scores"]),
        helper.make_node("Mul", ["scores", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "boxes"], ["all_boxes"]),
        helper.make_node("Add", ["nothing", "classes"], ["all_classes"]),
        helper.make_node("Concat", ["all_boxes", "scores", "all_classes"], ["found"], axis=2),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 16, 16, 3])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, ["n", 2, 6])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model folder; keywords override entries of its card."""

    def make(name: str = "colours", model: onnx.ModelProto | None = None, **card: object) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        content = (model or colour_model()).SerializeToString()
        (folder / "model.onnx").write_bytes(content)
        entries = {
            "name": "colours",
            "version": "1",
            "source": "test",
            "licence": "none",
            "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
            "input": {"name": "image", "size": [16, 16], "layout": "NHWC", "channels": "RGB", "resize": "stretch"},
            "output": {"name": "found", "decode": "boxes_score_class"},
        }
        (folder / "card.yaml").write_text(yaml.safe_dump(entries | card))
        return folder

    return make


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[[str, Sequence[str]], Path]:
    """Encodes one plain picture a colour, at FRAME_RATE."""

    def make(name: str, colours: Sequence[str]) -> Path:
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=FRAME_RATE)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            container.start_encoding()
            for colour in colours:
                picture = np.full((HEIGHT, WIDTH, 3), COLOURS_RGB[colour], np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return tmp_path / name

    return make


@pytest.fixture
def make_camera(tmp_path: Path) -> Callable[..., Path]:
    """Writes a camera file with a zone around where the red picture's person stands."""

    def write(camera_id: str, **overrides: object) -> Path:
        entries = {
            "camera_id": camera_id,
            "frame_size": [WIDTH, HEIGHT],
            "frame_rate": FRAME_RATE,
            "zones": [
                {
                    "name": "gate",
                    "polygon": [[6, 36], [26, 36], [26, 48], [6, 48]],
                    "alert": {"classes": ["person"], "min_score": 0.5, "rearm_s": 1},
                }
            ],
        }
        path = tmp_path / f"{camera_id}.yaml"
        path.write_text(yaml.safe_dump(entries | overrides))
        return path

    return write


class Camera(http.server.BaseHTTPRequestHandler):
    """A network camera that hangs up after three pictures."""

    pictures = 3

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for _ in range(self.pictures):
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(JPEG))
            self.wfile.write(JPEG + b"\r\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def camera_address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://viewer:secret@127.0.0.1:{server.server_port}/stream"
        server.shutdown()
        thread.join()
