"""A small disk of a test's own, whose power can be cut and which can be full: an ext4 file system in a file (root mounts it).

What a program has not had synchronised is in the kernel's cache and not in the file: a copy of the file is the disk as a power
cut at that moment would leave it.
"""

import contextlib
import os
import random
import struct
import subprocess
from pathlib import Path

import pytest

_HEADER, _FRAME_HEADER = 32, 24
_NOISE_BYTES = 20_000


class WeakDisk:
    """Mounted at ``folder`` until ``close``."""

    def __init__(self, home: Path, megabytes: int) -> None:
        """Skips the test where a file system cannot be mounted."""
        self.folder = home / "disk"
        self.folder.mkdir(parents=True)
        self._images = [home / "image-0"]
        with self._images[0].open("wb") as image:
            image.truncate(megabytes * 1024**2)
        try:
            subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", self._images[0]], check=True, capture_output=True)
            self._mount()
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"a file system in a file cannot be mounted here, root with loop devices may do so: {error}")

    def keep_what_is_synchronised(self) -> None:
        """Copy what a power cut now would leave, for ``cut_power``. Whoever writes has to be stopped (SIGSTOP)."""
        subprocess.run(["cp", "--sparse=always", self._images[-1], self._next], check=True)

    def cut_power(self, chance: random.Random) -> None:
        """Go back to what was kept, with noise over the end of SQLite's logs. Whoever wrote must be dead by now."""
        self._unmount()
        self._images.append(self._next)
        self._mount()
        for log in self.folder.rglob("*-wal"):
            tear(log, chance)

    def fill(self) -> None:
        """Let nothing more fit."""
        with (self.folder / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while ballast.write(bytes(4096)) == 4096:
                pass

    def make_room(self) -> None:
        """Take back what ``fill`` took."""
        (self.folder / "ballast").unlink()
        folder = os.open(self.folder, os.O_RDONLY)
        os.fsync(folder)  # a power cut would bring the file back
        os.close(folder)

    def close(self) -> None:
        """Unmount."""
        self._unmount()

    @property
    def _next(self) -> Path:
        return self._images[0].with_name(f"image-{len(self._images)}")

    def _mount(self) -> None:
        # The journal is written when somebody synchronises, not every five seconds: more is lost by a cut.
        subprocess.run(["mount", "-o", "loop,commit=300", self._images[-1], self.folder], check=True, capture_output=True)

    def _unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True)


def tear(log: Path, chance: random.Random) -> None:
    """Overwrite a write-ahead log behind its last commit with noise: a write that the power cut interrupted.

    The format is https://sqlite.org/fileformat2.html#walformat: frames behind a header, valid while they bear its salts.
    """
    content = bytearray(log.read_bytes())
    if len(content) < _HEADER:
        return
    page_bytes, salts, end = struct.unpack_from(">I", content, 8)[0], content[16:24], _HEADER
    for frame in range(_HEADER, len(content) - _FRAME_HEADER, _FRAME_HEADER + page_bytes):
        _, pages_after_commit = struct.unpack_from(">II", content, frame)
        if content[frame + 8 : frame + 16] != salts:
            break
        if pages_after_commit:
            end = frame + _FRAME_HEADER + page_bytes
    # Some frames of the interrupted commit may have come whole: the salts are right, the rest is anything.
    noise = chance.randbytes(8) + bytes(salts) + chance.randbytes(_NOISE_BYTES)
    content[end : end + len(noise)] = noise
    log.write_bytes(content)
