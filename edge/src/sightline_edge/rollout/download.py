"""Fetching parts of bundles by their digest, however bad the way: resumed, slowed down, bounded, and believed last.

Invariants
- Nothing gets its name (``parts/<hex>``) before its whole content has that digest and is on the disk.
- What was fetched survives a restart or a kill: ``partial/<hex>`` grows, and the next attempt asks for the rest (RFC 9110,
  Range with If-Range). What it joins is judged by the digest alone.
- No more is read than the manifest promises, and no faster than the bucket allows.
- A disk that gets full costs the half-written file, never the node's own: some room is always left.

A fetch is a generator: each ``next`` does one bounded piece and gives the microseconds until the next one is of use. So it
needs no thread, and a simulated clock can drive it.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol
from urllib.parse import unquote, urlsplit

import urllib3

from sightline_contract.errors import ConfigError, DownloadError, StorageError, TrustError
from sightline_edge.config import Tls
from sightline_edge.disk import sync_folder
from sightline_edge.health.masking import mask_password
from sightline_edge.security.tls import ssl_context

PIECE_BYTES: Final = 128 * 1024
# Left free on the disk whatever is fetched: the spool and the clips live there, too.
ROOM_LEFT_BYTES: Final = 32 * 1024**2
# A bucket holds so many seconds of its rate, and at least a piece.
BURST_S: Final = 1.0
_TIMEOUT: Final = urllib3.Timeout(connect=5.0, read=10.0)
_FOUND, _PARTIAL, _UNSATISFIABLE = 200, 206, 416
_ABSENT: Final = frozenset({403, 404, 410})

Wait = int  # us until the next piece is of use; 0: at once


class Content(Protocol):
    """What a file has to be: ``sha256:<hex>``, and its size in bytes."""

    @property
    def digest(self) -> str:
        """Of the content."""

    @property
    def bytes(self) -> int:
        """Size of the content."""


class TokenBucket:
    """So many bytes a second, on a clock that is handed in and may step back."""

    def __init__(self, bytes_per_s: float) -> None:
        self._rate = bytes_per_s
        self._most = max(bytes_per_s * BURST_S, PIECE_BYTES)
        self._left = self._most
        self._at_us: int | None = None

    def wait_us(self, size: int, now_us: int) -> Wait:
        """0 and ``size`` bytes are taken, or the time after which they can be; ``size`` is at most a piece."""
        passed_us = 0 if self._at_us is None else max(0, now_us - self._at_us)
        self._at_us = now_us
        self._left = min(self._most, self._left + passed_us * self._rate / 1e6)
        if self._left >= size:
            self._left -= size
            return 0
        return max(1, round((size - self._left) / self._rate * 1e6))


class _UnreachableError(Exception):
    """The source does not answer, or breaks off: it is worth another try."""


class _AbsentError(_UnreachableError):
    """The source answers, and has no such part."""


class _WrongError(Exception):
    """The source gave something else than the part."""


@dataclass
class _Partial:
    """What is there of a part: a file that grows, and beside it the entity tag of what it is the start of."""

    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def tag(self) -> str | None:
        return self._tag_path.read_text("ascii") if self._tag_path.exists() else None

    @tag.setter
    def tag(self, tag: str | None) -> None:
        # Only a strong tag says that the bytes are the same (RFC 9110, 13.1.5).
        if tag and tag.isascii() and not tag.startswith("W/"):
            self._tag_path.write_text(tag, "ascii")
        else:
            self._tag_path.unlink(missing_ok=True)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._tag_path.unlink(missing_ok=True)

    @property
    def _tag_path(self) -> Path:
        return self.path.with_suffix(".tag")


class Fetcher:
    """Fetches into ``parts``, by way of ``partial``; both are folders of one file system. One fetch at a time."""

    def __init__(self, parts: Path, partial: Path, bytes_per_s: float, tls: Tls | None, now_us: Callable[[], int]) -> None:
        """``tls`` is the node's, for sources at https; without it the system's authorities are believed there."""
        self._parts = parts
        self._partial = partial
        self._bucket = TokenBucket(bytes_per_s)
        self._tls = tls
        self._now_us = now_us
        self._pool: urllib3.PoolManager | None = None

    def fetch(self, content: Content, sources: Sequence[str]) -> Generator[Wait, None, Path]:
        """Have ``content`` in ``parts``, from the first of ``sources`` that gives it; returns its path there.

        Raises TrustError where all that answer give something else, DownloadError where it may be there another time, and
        StorageError where the disk takes no more.
        """
        name = content.digest.removeprefix("sha256:")
        final = self._parts / name
        if final.exists():
            return final
        self._check_room(content)
        part = _Partial(self._partial / name)
        told: list[Exception] = []
        for source in sources:
            try:
                yield from self._from_source(f"{source.rstrip('/')}/sha256/{name}", content, part)
            except (_UnreachableError, _WrongError) as error:
                told.append(error)
                continue
            except OSError as error:
                part.remove()
                raise _refused(self._partial, error) from error
            self._keep(part, final)
            return final
        raise self._failed(name, told)

    def close(self) -> None:
        """Let go of connections."""
        if self._pool is not None:
            self._pool.clear()

    def _failed(self, name: str, told: Sequence[Exception]) -> Exception:
        if not told:
            return DownloadError(f"part {name[:12]}: no source is given: name one when the rollout starts")
        where = "; ".join(str(error) for error in told)
        wrong = [isinstance(error, _WrongError) for error in told]
        absent = [isinstance(error, _AbsentError) for error in told]
        if any(wrong) and sum(wrong) + sum(absent) == len(told):
            return TrustError(f"part {name[:12]}: no source gives what the manifest says ({where}): publish the bundle again")
        return DownloadError(f"part {name[:12]}: could not be fetched ({where}); it is tried again")

    def _check_room(self, content: Content) -> None:
        missing = content.bytes + ROOM_LEFT_BYTES - shutil.disk_usage(self._partial).free
        if missing > 0:
            raise StorageError(
                f"{self._parts.parent}: no room for a part of {content.bytes} bytes: free {missing} bytes on this disk"
            )

    def _from_source(self, address: str, content: Content, part: _Partial) -> Iterator[Wait]:
        """Complete ``part`` from one source. What an earlier attempt left may be the fault: then once more from the start."""
        resumed = part.size > 0
        if part.size > content.bytes:
            part.remove()
        try:
            yield from self._transfer(address, content, part)
            yield 0
            self._judge(address, content, part)
        except _WrongError:
            part.remove()
            if not resumed:
                raise
            yield 0
            yield from self._from_source(address, content, part)

    def _transfer(self, address: str, content: Content, part: _Partial) -> Iterator[Wait]:
        if part.size == content.bytes and part.path.exists():
            return
        scheme = urlsplit(address).scheme
        if scheme in ("http", "https"):
            yield from self._over_http(address, content, part)
        elif scheme in ("", "file"):
            yield from self._from_file(Path(unquote(urlsplit(address).path)), content, part)
        else:
            raise _UnreachableError(f"{mask_password(address)}: is neither file, http nor https")

    def _judge(self, address: str, content: Content, part: _Partial) -> None:
        with part.path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if f"sha256:{found}" != content.digest:
            raise _WrongError(f"{mask_password(address)}: has another content")

    def _from_file(self, path: Path, content: Content, part: _Partial) -> Iterator[Wait]:
        try:
            given = path.open("rb")
        except FileNotFoundError:
            raise _AbsentError(f"{path}: is not there") from None
        except OSError as error:
            raise _UnreachableError(f"{path}: cannot be read ({error.strerror})") from error
        with given:
            if os.fstat(given.fileno()).st_size != content.bytes:
                raise _WrongError(f"{path}: is not {content.bytes} bytes long")
            given.seek(part.size)
            yield from self._pour(given.read, path, content, part)

    def _over_http(self, address: str, content: Content, part: _Partial) -> Iterator[Wait]:
        """Ask for what is missing; raises _UnreachableError where the answer breaks off, with what came kept."""
        where = mask_password(address)
        with closing(self._asked(address, where, part)) as answer:
            if answer.status == _UNSATISFIABLE and part.size:
                part.remove()  # another representation, shorter than what is here
                raise _UnreachableError(f"{where}: has no such range")
            if answer.status in _ABSENT:
                raise _AbsentError(f"{where}: answers {answer.status}")
            if answer.status == _PARTIAL:
                if not answer.headers.get("Content-Range", "").startswith(f"bytes {part.size}-"):
                    raise _UnreachableError(f"{where}: answers with another range")
            elif answer.status == _FOUND:
                part.remove()
                part.tag = answer.headers.get("ETag")
            else:
                raise _UnreachableError(f"{where}: answers {answer.status}")
            length = answer.headers.get("Content-Length")
            if length is not None and length.isdigit() and int(length) != content.bytes - part.size:
                raise _WrongError(f"{where}: is not {content.bytes} bytes long")
            yield from self._pour(answer.read, where, content, part)

    def _asked(self, address: str, where: str, part: _Partial) -> urllib3.BaseHTTPResponse:
        headers = {"Accept-Encoding": "identity"}
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
            if part.tag:
                headers["If-Range"] = part.tag
        try:
            return self._connections().request(
                "GET", address, headers=headers, preload_content=False, retries=False, redirect=False, timeout=_TIMEOUT
            )
        except (urllib3.exceptions.HTTPError, ConfigError) as error:
            raise _UnreachableError(f"{where}: {_short(error)}") from error

    def _pour(self, read: Callable[[int], bytes], where: object, content: Content, part: _Partial) -> Iterator[Wait]:
        with part.path.open("ab") as into:
            while (missing := content.bytes - part.size) > 0:
                size = min(missing, PIECE_BYTES)
                while wait_us := self._bucket.wait_us(size, self._now_us()):
                    yield wait_us
                try:
                    piece = read(size)
                except (urllib3.exceptions.HTTPError, OSError) as error:
                    raise _UnreachableError(f"{where}: {_short(error)}") from error
                if not piece:
                    break
                _write(into, piece)
                yield 0
        if missing := content.bytes - part.size:
            raise _UnreachableError(f"{where}: ended {missing} bytes early")

    def _connections(self) -> urllib3.PoolManager:
        if self._pool is None:
            context = ssl_context(self._tls) if self._tls is not None else None
            self._pool = urllib3.PoolManager(num_pools=2, maxsize=1, ssl_context=context)
        return self._pool

    def _keep(self, part: _Partial, final: Path) -> None:
        try:
            with part.path.open("rb") as file:
                os.fsync(file.fileno())
            part.path.rename(final)
            part.remove()
            sync_folder(final.parent)
        except OSError as error:
            raise _refused(final.parent, error) from error


def _write(into: IO[bytes], piece: bytes) -> None:
    into.write(piece)
    into.flush()


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__


def _refused(folder: Path, error: OSError) -> StorageError:
    what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
    return StorageError(f"{folder}: a part could not be written ({what}): make room or mend the disk; it is tried again")
