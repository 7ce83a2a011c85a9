"""A web server on the loopback interface that gives out parts, with ranges and entity tags as RFC 9110 has them, and faults."""

import http.server
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Shop:
    """What the server has and how it behaves; ``asked`` are the Range headers of the requests."""

    content: bytes
    tag: str = '"one"'
    cut_after: int | None = None  # hangs up after so many bytes of an answer
    ranges: bool = True
    status: int | None = None
    says_length: bool = True
    asked: list[str | None] = field(default_factory=list)
    address: str = ""


@contextmanager
def part_server(shop: Shop, tls: ssl.SSLContext | None = None) -> Iterator[Shop]:
    """Serve ``shop`` under ``shop.address`` until the block ends; every path is the one part."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            shop.asked.append(asked)
            if shop.status is not None:
                self.send_response(shop.status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            first = 0
            if asked and shop.ranges and self.headers.get("If-Range", shop.tag) == shop.tag:
                first = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1))
                if first >= len(shop.content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{len(shop.content) - 1}/{len(shop.content)}")
            else:
                self.send_response(200)
            body = shop.content[first:]
            self.send_header("ETag", shop.tag)
            if shop.says_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if shop.cut_after is None else body[: shop.cut_after])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        shop.address = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}/models"
        try:
            yield shop
        finally:
            server.shutdown()
            thread.join()
