"""Parts over real HTTP, HTTPS and files, from servers that misbehave; only the clock is ours."""

import hashlib
import random
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from part_server import Shop, part_server
from weak_disk import WeakDisk

from sightline_contract.errors import DownloadError, SightlineError, StorageError, TrustError
from sightline_contract.manifest import Part
from sightline_edge.config import Tls
from sightline_edge.rollout.download import PIECE_BYTES, Fetcher, TokenBucket
from sightline_edge.security.authority import Authority, init
from sightline_edge.security.commands import files_in

CONTENT = random.Random(7).randbytes(3 * PIECE_BYTES + 1000)
PART = Part(digest=f"sha256:{hashlib.sha256(CONTENT).hexdigest()}", bytes=len(CONTENT))


class Node:
    """A fetcher with its folders, driven on a clock that stands still but for the waits it is told."""

    def __init__(self, folder: Path, bytes_per_s: float = 1e9, tls: Tls | None = None) -> None:
        self.parts, self.partial = folder / "parts", folder / "partial"
        for each in (self.parts, self.partial):
            each.mkdir(parents=True, exist_ok=True)
        self.now_us = 0
        self.fetcher = Fetcher(self.parts, self.partial, bytes_per_s, tls, lambda: self.now_us)

    def pieces(self, *sources: str, part: Part = PART) -> Iterator[int]:
        self.result = yield from self.fetcher.fetch(part, sources)

    def fetch(self, *sources: str, part: Part = PART) -> bytes:
        for wait_us in self.pieces(*sources, part=part):
            self.now_us += wait_us
        self.fetcher.close()
        return self.result.read_bytes()

    @property
    def left(self) -> list[Path]:
        return [*self.parts.iterdir(), *self.partial.iterdir()]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "node")


@pytest.fixture
def shop() -> Iterator[Shop]:
    with part_server(Shop(CONTENT)) as running:
        yield running


def source_of(folder: Path, content: bytes) -> str:
    (folder / "sha256").mkdir(parents=True)
    (folder / "sha256" / PART.digest.removeprefix("sha256:")).write_bytes(content)
    return str(folder)


@pytest.mark.parametrize("form", ["path", "file address", "http"])
def test_a_part_comes_from_a_path_an_address_or_a_server(node: Node, shop: Shop, tmp_path: Path, form: str) -> None:
    path = source_of(tmp_path / "a store", CONTENT)
    source = {"path": path, "file address": Path(path).as_uri(), "http": shop.address}[form]
    assert node.fetch(source) == CONTENT
    assert [file.name for file in node.left] == [PART.digest.removeprefix("sha256:")]


def test_the_first_source_that_has_it_gives_it(node: Node, shop: Shop, tmp_path: Path) -> None:
    wrong = source_of(tmp_path / "wrong", CONTENT[:-1] + b"\0")
    assert node.fetch(str(tmp_path / "nowhere"), "http://127.0.0.1:1", wrong, shop.address) == CONTENT


def test_a_connection_that_breaks_is_taken_up_where_it_broke_even_by_another_process(
    node: Node, shop: Shop, tmp_path: Path
) -> None:
    shop.cut_after = PIECE_BYTES
    with pytest.raises(DownloadError, match="could not be fetched"):
        node.fetch(shop.address)
    kept = next(file for file in node.partial.iterdir() if file.suffix == "")
    assert kept.read_bytes() == CONTENT[:PIECE_BYTES]
    shop.cut_after = None
    assert Node(tmp_path / "node").fetch(shop.address) == CONTENT
    assert shop.asked == [None, f"bytes={PIECE_BYTES}-"]


def test_a_server_that_has_another_representation_now_or_knows_no_ranges_gives_all_of_it(node: Node, shop: Shop) -> None:
    for _ in range(2):
        shop.cut_after = PIECE_BYTES
        with pytest.raises(DownloadError):
            node.fetch(shop.address)
        shop.tag, shop.ranges = '"two"', shop.tag == '"one"'
    shop.cut_after = None
    assert node.fetch(shop.address) == CONTENT


def test_a_beginning_that_is_wrong_is_no_fault_of_the_source(node: Node, shop: Shop) -> None:
    (node.partial / PART.digest.removeprefix("sha256:")).write_bytes(b"\0" * PIECE_BYTES)
    assert node.fetch(shop.address) == CONTENT
    assert shop.asked == [f"bytes={PIECE_BYTES}-", None]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (CONTENT[:-1] + b"\0", "another content"),
        (CONTENT[:-1], "bytes long"),
        (CONTENT + b"\0", "bytes long"),
        (b"", "bytes long"),
    ],
)
@pytest.mark.parametrize("says_length", [True, False])
def test_wrong_content_is_refused_and_nothing_of_it_stays(
    node: Node, shop: Shop, content: bytes, reason: str, says_length: bool
) -> None:
    shop.content, shop.says_length = content, says_length
    expected = TrustError if says_length or len(content) >= len(CONTENT) else DownloadError
    if len(content) > len(CONTENT) and not says_length:
        assert node.fetch(shop.address) == CONTENT  # it begins right, and no more than the manifest says is read
        return
    with pytest.raises(expected) as told:
        node.fetch(shop.address)
    assert "\n" not in str(told.value)
    if expected is TrustError:
        assert reason in str(told.value)
        assert node.left == []


@pytest.mark.parametrize(("status", "error"), [(404, "answers 404"), (500, "answers 500"), (302, "answers 302")])
def test_a_source_that_may_have_it_another_time_is_no_reason_to_refuse(node: Node, shop: Shop, status: int, error: str) -> None:
    shop.status = status
    with pytest.raises(DownloadError, match=error):
        node.fetch(shop.address)


def test_it_comes_no_faster_than_allowed(tmp_path: Path, shop: Shop) -> None:
    slow = Node(tmp_path / "slow", bytes_per_s=PIECE_BYTES / 10)
    assert slow.fetch(shop.address) == CONTENT
    # The bucket begins full with a piece.
    assert slow.now_us == pytest.approx((len(CONTENT) - PIECE_BYTES) / (PIECE_BYTES / 10) * 1e6, rel=0.01)


def test_the_buckets_clock_may_step_back() -> None:
    bucket = TokenBucket(1000.0)
    assert bucket.wait_us(PIECE_BYTES, 10_000_000) == 0
    wait_us = bucket.wait_us(1000, 5_000_000)
    assert wait_us == pytest.approx(1e6)
    assert bucket.wait_us(1000, 5_000_000 + wait_us) == 0


def test_https_takes_the_sites_certificates_and_no_others(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    sides: list[tuple[Tls, Tls]] = []
    for name in ("ours", "theirs"):
        init(tmp_path / name, None, now)
        authority = Authority(tmp_path / name, None)
        server, client = (
            files_in(authority.issue(who, tmp_path / f"{name}-pki", now, hosts=hosts))
            for who, hosts in (("store", ("127.0.0.1",)), ("node", ()))
        )
        sides.append((server, client))
    (server, ours), (_, theirs) = sides
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    context.load_verify_locations(server.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    with part_server(Shop(CONTENT), context) as shop:
        assert Node(tmp_path / "a", tls=ours).fetch(shop.address) == CONTENT
        for tls in (theirs, None):
            with pytest.raises(DownloadError):
                Node(tmp_path / f"b-{tls is None}", tls=tls).fetch(shop.address)


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    disk = WeakDisk(tmp_path, 64)
    try:
        node = Node(disk.folder)
        source = source_of(tmp_path / "store", CONTENT)
        pieces = node.pieces(source)
        next(pieces)
        disk.fill()
        with pytest.raises(StorageError, match="the disk is full") as told:
            list(pieces)
        assert "\n" not in str(told.value)
        assert node.left == []
        with pytest.raises(StorageError, match="no room"):
            node.fetch(source)
        disk.make_room()
        assert node.fetch(source) == CONTENT
    finally:
        disk.close()


def test_what_is_there_is_not_fetched_again(node: Node, shop: Shop) -> None:
    assert node.fetch(shop.address) == node.fetch("http://127.0.0.1:1") == CONTENT
    with pytest.raises(SightlineError, match="no source"):
        node.fetch(part=Part(digest=f"sha256:{'0' * 64}", bytes=1))
