"""The server of bundles, by real requests."""

import hashlib
import http.client
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil
import pytest

from sightline.bundle_service import BundleService
from sightline.ports import LOOPBACK, free_port
from sightline.processes import Child
from sightline_contract.errors import PortInUseError

CONTENT = Random(7).randbytes(300_000)  # the names of tests tell it: every process of a run has the same
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PART = f"/sha256/{DIGEST}"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Running:
    service: BundleService
    child: Child

    def ask(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection(LOOPBACK, self.service.port, timeout=30)
        try:
            connection.request(method, path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("served")
    (root / "secret").write_text("beside the store")
    service = BundleService(root / "bundles", free_port())
    with service.launch(tied=True) as child:
        (root / "bundles/sha256").mkdir()
        (root / "bundles/sha256" / DIGEST).write_bytes(CONTENT)
        (root / "bundles/sha256" / f"{DIGEST}.new").write_bytes(b"not beside it: " + DIGEST.encode())
        service.wait_until_ready(child)
        yield Running(service, child)


def test_a_part_comes_whole_with_its_digest_as_its_tag(server: Running) -> None:
    answer = server.ask(PART)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["etag"] == f'"{DIGEST}"'
    assert answer.headers["accept-ranges"] == "bytes"
    head = server.ask(PART, "HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(CONTENT)))


def test_a_download_that_was_cut_off_goes_on_where_it_ended(server: Running) -> None:
    rest = server.ask(PART, headers={"Range": "bytes=123456-", "If-Range": f'"{DIGEST}"'})
    assert (rest.status, rest.body) == (206, CONTENT[123_456:])
    assert rest.headers["content-range"] == f"bytes 123456-{len(CONTENT) - 1}/{len(CONTENT)}"
    middle = server.ask(PART, headers={"Range": "bytes=5-9"})
    assert (middle.status, middle.body) == (206, CONTENT[5:10])


def test_it_goes_on_from_another_copy_of_the_store(server: Running) -> None:
    """The tag tells content, not a file: a copy with other times continues what the first one began."""
    os.utime(server.service.folder / "sha256" / DIGEST, (1, 1))
    rest = server.ask(PART, headers={"Range": "bytes=299990-", "If-Range": f'"{DIGEST}"'})
    assert (rest.status, rest.body) == (206, CONTENT[299_990:])


def test_a_range_of_something_else_starts_anew(server: Running) -> None:
    answer = server.ask(PART, headers={"Range": "bytes=5-", "If-Range": '"another"'})
    assert (answer.status, answer.body) == (200, CONTENT)


def test_a_range_beyond_the_end_is_refused_with_the_size(server: Running) -> None:
    answer = server.ask(PART, headers={"Range": f"bytes={len(CONTENT)}-"})
    assert answer.status == 416
    assert answer.headers["content-range"].endswith(f"*/{len(CONTENT)}")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/sha256",
        "/sha256/",
        f"/sha256/{'0' * 64}",
        f"/sha256/{DIGEST.upper()}",
        f"/sha256/{DIGEST}.new",
        "/server.log",
        "/sha256/../server.log",
        "/sha256/..%2Fserver.log",
        "/sha256/%2e%2e%2f%2e%2e%2fsecret",
        "/../secret",
    ],
)
def test_nothing_else_can_be_read_and_nothing_is_listed(server: Running, path: str) -> None:
    answer = server.ask(path)
    assert answer.status == 404
    assert DIGEST.encode() not in answer.body
    assert b"beside" not in answer.body


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH"])
def test_nothing_can_be_written(server: Running, method: str) -> None:
    assert server.ask(PART, method).status == 405
    assert server.ask(PART).body == CONTENT


def test_it_listens_on_loopback_only(server: Running) -> None:
    listening = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN and each.laddr]
    assert {each.laddr.ip for each in listening if each.laddr.port == server.service.port} == {LOOPBACK}


def test_a_taken_port_is_named_with_the_option_that_changes_it(server: Running, tmp_path: Path) -> None:
    with pytest.raises(PortInUseError, match=r"the bundle server needs, is in use .*--bundle-port"):
        BundleService(tmp_path, server.service.port).launch(tied=True)
