"""As much of Kubernetes' API as Spark's scheduler talks to, on loopback: pods that it asks for start as processes here.

It stands in for a cluster, which a test machine has not: it keeps what it is given, starts each executor's pod as the image's
entry point would, and tells nobody of changes: Spark has to ask.
"""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Document = dict[str, Any]
READY = {"phase": "Running", "podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}


class Api:
    """What was asked for, and the processes of pods."""

    def __init__(self, entrypoint: Path, log: Path, above: dict[str, str]) -> None:
        self.pods: list[Document] = []
        self.asked: list[str] = []
        self._entrypoint = entrypoint
        self._log = log
        self._above = above
        self._running: list[subprocess.Popen[bytes]] = []

    def create(self, document: Document) -> Document:
        """Take a document; start it if it is an executor."""
        metadata = document["metadata"]
        metadata |= {"uid": f"uid-{len(self.asked)}", "creationTimestamp": "2026-11-24T00:00:00Z", "resourceVersion": "1"}
        if document["kind"] == "Pod":
            self.pods.append(document)
            (container,) = document["spec"]["containers"]
            own = {entry["name"]: entry.get("value") or self._told(entry, metadata) for entry in container["env"]}
            with self._log.open("ab") as log:
                command = [self._entrypoint, *container["args"]]
                process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | own | self._above)
            self._running.append(process)
            return document | {"status": READY}
        return document

    @staticmethod
    def _told(entry: Document, metadata: Document) -> str:
        path = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        return {"status.podIP": "127.0.0.1", "metadata.name": metadata["name"]}.get(path, "")

    def stop(self) -> None:
        """End all pods."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(30)


@contextmanager
def kubernetes_api(entrypoint: Path, log: Path, above: dict[str, str]) -> Iterator[tuple[str, Api]]:
    """A running API: its address, and what it was asked for. ``above`` stands above the environment that pods ask for."""
    api = Api(entrypoint, log, above)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self, document: Document, code: int = 200) -> None:
            body = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _note(self) -> Document:
            api.asked.append(f"{self.command} {self.path}")
            length = int(self.headers.get("Content-Length") or 0)
            return dict(json.loads(self.rfile.read(length) or b"{}"))

        def do_GET(self) -> None:
            self._note()
            place = self.path.partition("?")[0]
            name = place.rsplit("/", 1)[-1]
            if name in ("pods", "configmaps", "persistentvolumeclaims", "services"):
                items = [pod | {"status": READY} for pod in api.pods] if name == "pods" else []
                self._answer({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
            else:
                metadata = {"name": name, "namespace": place.split("/")[4], "uid": "uid-driver", "resourceVersion": "1"}
                self._answer({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "status": READY})

        def do_POST(self) -> None:
            self._answer(api.create(self._note()), 201)

        def do_PATCH(self) -> None:
            self._note()
            self._answer({"kind": "Status", "apiVersion": "v1", "status": "Success"})

        def do_DELETE(self) -> None:
            self.do_PATCH()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", api
    finally:
        api.stop()
        server.shutdown()
        server.server_close()
        thread.join()
