"""Serves the parts of bundles by their digests, on loopback only: ``GET /sha256/<64 hex digits>``.

A part is what its name says, for ever: its ETag is its digest, and a download that was cut off goes on with ``Range`` and
``If-Range`` (RFC 9110, sections 13.1.5 and 14) whenever and from whichever copy of the store. Nothing is listed, nothing
else below the folder can be named, nothing can be written. Whether a part is the right one is for its reader to verify.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.ports import LOOPBACK, answers, require_free
from sightline.processes import Child, start

if TYPE_CHECKING:
    from starlette.applications import Starlette

DEFAULT_BUNDLE_PORT = 8780
PARTS_FOLDER = "sha256"

_READY_TIMEOUT_S = 60
_STOP_GRACE_S = 3  # for downloads under way: their readers resume them
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class BundleService:
    """The server of the store in ``folder``, which need not exist yet."""

    folder: Path
    port: int = DEFAULT_BUNDLE_PORT
    name: str = "bundles"

    @property
    def source(self) -> str:
        """What an assignment names as a source of parts."""
        return f"http://{LOOPBACK}:{self.port}"

    def launch(self, *, tied: bool) -> Child:
        """Start the server; raises PortInUseError."""
        require_free(self.port, "the bundle server", "stop it, or choose another port with --bundle-port")
        self.folder.mkdir(parents=True, exist_ok=True)
        command: list[str | Path] = [sys.executable, "-m", "sightline.bundle_service", self.folder.absolute(), str(self.port)]
        return start(self.name, command, self.folder / "server.log", tied=tied, working_dir=self.folder)

    def wait_until_ready(self, child: Child) -> None:
        """Wait until it listens; raises StageError."""
        child.wait_until(lambda: answers(self.port), _READY_TIMEOUT_S, f"port {self.port} is open")


def build_app(folder: Path) -> "Starlette":
    """The web application that serves the store in ``folder``."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import FileResponse
    from starlette.routing import Route

    def part(request: Request) -> FileResponse:
        digest = request.path_params["digest"]
        path = folder / PARTS_FOLDER / digest
        if not _DIGEST.fullmatch(digest) or not path.is_file():
            raise HTTPException(404)
        headers = {"etag": f'"{digest}"', "cache-control": "public, max-age=31536000, immutable"}
        return FileResponse(path, headers=headers, media_type="application/octet-stream")

    return Starlette(routes=[Route(f"/{PARTS_FOLDER}/{{digest}}", part, methods=["GET"])])  # HEAD comes with GET


def main() -> None:
    """Serve until a signal ends it."""
    import uvicorn

    parser = argparse.ArgumentParser(prog="sightline.bundle_service", description="Serve the parts of bundles.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    uvicorn.run(
        build_app(options.folder),
        host=LOOPBACK,
        port=options.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_STOP_GRACE_S,
    )


if __name__ == "__main__":
    main()
