"""A node's process with secrets, against cameras and brokers that fail in different ways: nobody gets to see one."""

import base64
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import cv2
import numpy as np
import pytest
import yaml
from confluent_kafka.admin import AdminClient
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sightline.ports import free_port
from sightline.topic_content import read_topic

if TYPE_CHECKING:
    from sightline.broker import Broker

pytestmark = pytest.mark.slow

# Each has a piece that stands nowhere else, so that not even a piece of it may show.
SECRETS = {
    "CAMERA_PASSWORD": "beg1nning@8f3a9c41%7Eend1ng",
    "KAFKA_PASSWORD": 'beg1nning"5d21b7f0\\end1ng',
    "KEY_PASSPHRASE": "beg1nning 77b0c2e5 end1ng",
}
PIECES = ("beg1nning", "8f3a9c41", "5d21b7f0", "77b0c2e5", "end1ng")
DEADLINE_S = 60
JPEG = cv2.imencode(".jpg", np.full((48, 64, 3), (0, 0, 255), np.uint8))[1].tobytes()


class Cameras(http.server.BaseHTTPRequestHandler):
    """One that refuses the password, one that sends no video, and one that works until it hangs up."""

    def do_GET(self) -> None:
        self.server.seen.add(self.headers.get("Authorization", "").removeprefix("Basic "))  # type: ignore[attr-defined]
        if "refuses" in self.path or "Authorization" not in self.headers:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        if "garbage" in self.path:
            self.wfile.write(os.urandom(100_000))
            return
        for _ in range(3):
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(JPEG))
            self.wfile.write(JPEG + b"\r\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def cameras() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cameras) as server:
        server.seen = set()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def node_file(
    tmp_path: Path, make_model: Callable[..., Path], make_camera: Callable[..., Path], cameras: http.server.ThreadingHTTPServer
) -> Callable[..., Path]:
    def write(log_format: str, **kafka: object) -> Path:
        user = "viewer:${CAMERA_PASSWORD}@127.0.0.1"
        sources = {
            "refused": f"http://{user}:1/stream",
            "rtsp": f"rtsp://{user}:1/stream",
            "unauthorised": f"http://{user}:{cameras.server_port}/refuses?token=${{CAMERA_PASSWORD}}",
            "garbage": f"http://{user}:{cameras.server_port}/garbage",
            "works": f"http://{user}:{cameras.server_port}/works",
        }
        entries = {
            "node_id": "secretive",
            "kafka": {"send_timeout_s": 3, **kafka},
            "model": str(make_model()),
            "cameras": [{"source": source, "camera": str(make_camera(f"secret-{name}"))} for name, source in sources.items()],
            "state": str(tmp_path / "state"),
            "metrics": {"port": free_port()},
            "log": {"format": log_format, "level": "debug"},
            "max_frames": 5,
            "source_timeout_s": 0.5,
            "heartbeat_s": 0.5,
        }
        path = tmp_path / "node.yaml"
        path.write_text(yaml.safe_dump(entries))
        return path

    return write


def shown_by(config: Path, *, debug: bool) -> str:
    """All that a node's process shows of itself until it ends: both outputs, its command line, its page of figures."""
    words = ["edge", "run", "--config", str(config), *(["--debug"] if debug else [])]
    command = [sys.executable, "-c", "from sightline.cli import main; main()", *words]
    page = f"http://127.0.0.1:{yaml.safe_load(config.read_text())['metrics']['port']}/metrics"
    shown: set[str] = set()
    out = config.with_name("out")
    with out.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | SECRETS)
        deadline_s = time.monotonic() + DEADLINE_S
        while process.poll() is None:
            shown.add(Path(f"/proc/{process.pid}/cmdline").read_text())
            try:
                with urllib.request.urlopen(page, timeout=5) as answer:
                    shown.add(answer.read().decode())
            except (urllib.error.URLError, ConnectionError):
                pass  # not listening yet, or not any more
            if time.monotonic() > deadline_s:
                process.send_signal(signal.SIGTERM)
                process.wait(DEADLINE_S)
            time.sleep(0.2)
    return "\n".join([out.read_text(), *shown])


def kept_by(bootstrap: str) -> str:
    """All messages of the broker, keys and headers included."""
    names = [name for name in AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics if name[0] != "_"]
    read = [message for name in names for message in read_topic(bootstrap, name)]
    return "\n".join(f"{m.key()!r} {m.headers()} {(m.value() or b'').decode('latin-1')}" for m in read)


def forms(secret: str) -> set[str]:
    plain = {secret, unquote(secret), repr(secret)[1:-1]}
    basic = {base64.b64encode(f"viewer:{text}".encode()).decode().rstrip("=") for text in plain}
    return plain | basic | {quote(text, safe="") for text in plain}


def assert_none_shows(text: str) -> None:
    for form in (*PIECES, *(form for secret in SECRETS.values() for form in forms(secret))):
        assert form not in text, f"{form} shows in: …{text[max(0, text.index(form) - 200) :][:400]}…"


@pytest.mark.kafka
@pytest.mark.parametrize("debug", [False, True], ids=["short", "debug"])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_shows_when_cameras_fail(
    log_format: str,
    debug: bool,
    broker: "Broker",
    node_file: Callable[..., Path],
    cameras: http.server.ThreadingHTTPServer,
) -> None:
    options = {"sasl.password": "${KAFKA_PASSWORD}", "ssl.key.password": "${KEY_PASSPHRASE}"}
    text = shown_by(node_file(log_format, bootstrap_servers=broker.bootstrap, options=options), debug=debug)
    messages = kept_by(broker.bootstrap)
    # It was there to be shown: the camera was given it, and the node spoke of cameras, in traces too.
    assert forms(SECRETS["CAMERA_PASSWORD"]) & {seen.rstrip("=") for seen in cameras.seen}  # type: ignore[attr-defined]
    assert "viewer:***@" in text
    assert ("Traceback" in text) == debug
    assert "sightline_edge_up" in text
    assert "secret-works" in messages
    assert_none_shows(text)
    assert_none_shows(messages)


@pytest.mark.parametrize("way", ["password", "passphrase"])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_shows_when_the_broker_cannot_be_reached_or_the_key_not_opened(
    way: str, log_format: str, tmp_path: Path, node_file: Callable[..., Path]
) -> None:
    options = {"sasl.mechanism": "PLAIN", "sasl.username": "node", "sasl.password": "${KAFKA_PASSWORD}"}
    options["security.protocol"] = "sasl_plaintext"
    if way == "passphrase":
        encrypted = serialization.BestAvailableEncryption(b"another passphrase")
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encrypted
        )
        (tmp_path / "node.key").write_bytes(pem)
        options |= {"security.protocol": "sasl_ssl", "ssl.key.location": str(tmp_path / "node.key")}
        options["ssl.key.password"] = "${KEY_PASSPHRASE}"
    text = shown_by(node_file(log_format, bootstrap_servers="127.0.0.1:1", options=options), debug=True)
    assert "Traceback" in text
    assert_none_shows(text)


@pytest.mark.parametrize("debug", [False, True], ids=["short", "debug"])
def test_no_secret_shows_when_the_file_itself_is_wrong(debug: bool, tmp_path: Path) -> None:
    """The YAML parser quotes the line that it does not understand, and cuts it."""
    (tmp_path / "node.yaml").write_text('cameras: [{source: "rtsp://viewer:beg1nning-and-much-more-of-it@10.0.0.17/1"}}]')
    ended = sightline("edge", "run", "--config", str(tmp_path / "node.yaml"), *(["--debug"] if debug else []))
    assert ended.returncode == 1
    assert "is not valid YAML" in ended.stderr
    assert ("Traceback" in ended.stderr) == debug
    assert_none_shows(ended.stdout + ended.stderr)


@pytest.mark.parametrize("debug", [False, True], ids=["short", "debug"])
def test_no_secret_shows_when_another_command_fails_at_a_camera(debug: bool, tmp_path: Path) -> None:
    video = "http://viewer:${CAMERA_PASSWORD}@127.0.0.1:1/stream"
    ports = ["--port", str(free_port()), "--sql-port", str(free_port())]
    ended = sightline("demo", "--video", video, "--out", str(tmp_path / "demo"), *ports, *(["--debug"] if debug else []))
    assert ended.returncode == 1
    assert "http://viewer:***@127.0.0.1:1/stream: does not answer" in ended.stderr
    assert ("ConnectionRefusedError" in ended.stderr) == debug
    assert_none_shows(ended.stdout + ended.stderr)


def sightline(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from sightline.cli import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False, env=os.environ | SECRETS)
