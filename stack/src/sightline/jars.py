"""Fetches the pinned jars, once, into the cache folder.

Invariants: a file in the folder was complete and had the pinned digest when it was moved there; a file whose size or time
has changed since is digested again before it is used; nothing is asked of the network when every jar is there.
The host that serves the jars is jgo's business: no address stands here.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from sightline.cache import jars_dir
from sightline.jar_lock import Jar, read_lock
from sightline_contract.errors import DownloadError, StorageError

GROUPS = ("kafka", "spark")

Progress = Callable[[int, int], None]
"""Called with (jars ready, jars wanted)."""

_PARALLEL_DOWNLOADS = 8
_TIMEOUT_S = 60
_NOTES_FILE = "verified.json"


def jar_paths(group: str, cache: Path | None = None) -> tuple[Path, ...]:
    """Where the jars of ``group`` are once fetched, in a stable order: the class path."""
    return tuple(_folder(cache) / jar.file_name for jar in read_lock()[group])


def missing_jars(group: str, cache: Path | None = None) -> tuple[Jar, ...]:
    """The jars of ``group`` that the cache lacks."""
    return tuple(jar for jar in read_lock()[group] if not (_folder(cache) / jar.file_name).exists())


def fetch_jars(group: str, cache: Path | None = None, progress: Progress | None = None) -> tuple[Path, ...]:
    """Make sure that every jar of ``group`` is in the cache with its pinned digest; returns their paths.

    Raises DownloadError naming the jar that could not be fetched or whose digest is wrong (that file is then gone).
    """
    jars = read_lock()[group]
    folder = _folder(cache)
    notes = _Notes(folder / _NOTES_FILE)
    wanted = []
    for jar in jars:
        path = folder / jar.file_name
        if not path.exists():
            wanted.append(jar)
        elif not notes.hold(path, jar):
            _verify(path, jar)
            notes.add(path, jar)
    if wanted:
        _make_folder(folder)
        _download(wanted, folder, notes, len(jars), progress)
    notes.save()
    return tuple(folder / jar.file_name for jar in jars)


def _folder(cache: Path | None) -> Path:
    return jars_dir() if cache is None else cache / "jars"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be created ({error.strerror}): set SIGHTLINE_CACHE to another folder") from error


def _download(wanted: list[Jar], folder: Path, notes: "_Notes", total: int, progress: Progress | None) -> None:
    done = total - len(wanted)
    # Staged inside the cache folder, so that moving a jar to its place is a rename within one file system.
    with tempfile.TemporaryDirectory(prefix=".incoming-", dir=folder) as staging, _pool() as pool:
        running = {pool.submit(_download_one, jar, Path(staging), folder): jar for jar in wanted}
        for finished in as_completed(running):
            notes.add(finished.result(), running[finished])
            done += 1
            if progress:
                progress(done, total)


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for downloads; an error in one cancels those that have not begun."""
    pool = ThreadPoolExecutor(_PARALLEL_DOWNLOADS, thread_name_prefix="jars")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _download_one(jar: Jar, staging: Path, folder: Path) -> Path:
    import requests
    from jgo.maven import MavenContext

    maven = MavenContext(repo_cache=staging, timeout=_TIMEOUT_S)
    try:
        arrived = maven.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except (requests.RequestException, RuntimeError) as error:
        reason = "not found there" if isinstance(error, RuntimeError) else type(error).__name__
        raise DownloadError(
            f"{jar.coordinate}: could not be fetched from the Maven repository ({reason}): check the network, then run again"
        ) from error
    _verify(arrived, jar)
    final = folder / jar.file_name
    arrived.replace(final)
    return final


def _verify(path: Path, jar: Jar) -> None:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != jar.sha256:
        path.unlink()
        digests = f"SHA-256 is {found[:12]}…, pinned is {jar.sha256[:12]}…"
        raise DownloadError(f"{jar.coordinate}: {digests}: removed {path}, run again to fetch it anew")


class _Notes:
    """Which files were digested, by size and time, so that a jar is read once and not at every start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = False
        try:
            self._notes: dict[str, list[object]] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._notes = {}  # the notes only save time: without them every jar is digested again

    def hold(self, path: Path, jar: Jar) -> bool:
        return self._notes.get(path.name) == _note(path, jar)

    def add(self, path: Path, jar: Jar) -> None:
        self._notes[path.name] = _note(path, jar)
        self._changed = True

    def save(self) -> None:
        if not self._changed:
            return
        with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False, encoding="utf-8") as stream:
            json.dump(self._notes, stream, indent=1)
        Path(stream.name).replace(self._path)


def _note(path: Path, jar: Jar) -> list[object]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, jar.sha256]
