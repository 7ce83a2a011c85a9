"""The demo's output folder: what a run leaves for people, and the working files behind it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from sightline_contract.errors import ConfigError, StorageError

_MARKER = ".sightline-demo"


@dataclass(frozen=True)
class Layout:
    """Files and folders below ``--out``."""

    out: Path

    @property
    def video(self) -> Path:
        """The annotated video."""
        return self.out / "demo.mp4"

    @property
    def report(self) -> Path:
        """The report."""
        return self.out / "report.html"

    @property
    def summary(self) -> Path:
        """The figures."""
        return self.out / "summary.json"

    @property
    def tables(self) -> Path:
        """Root of the Delta tables."""
        return self.out / "tables"

    @property
    def work(self) -> Path:
        """Configurations, checkpoints, broker data, logs."""
        return self.out / "work"


def fresh_layout(out: Path) -> Layout:
    """An empty output folder; the last run's is cleared, anybody else's files are not.

    Raises ConfigError where the folder holds something that no demo wrote, StorageError where it cannot be written.
    """
    out = out.expanduser().absolute()
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file: choose a folder with --out")
    try:
        if out.exists() and any(out.iterdir()) and not (out / _MARKER).exists():
            raise ConfigError(f"{out}: is not empty and not from a demo: choose another folder with --out")
        layout = Layout(out)
        for path in (layout.video, layout.report, layout.summary):
            path.unlink(missing_ok=True)
        for folder in (layout.tables, layout.work):
            if folder.exists():
                shutil.rmtree(folder)
        layout.work.mkdir(parents=True)
        (out / _MARKER).touch()
    except OSError as error:
        raise StorageError(
            f"{out}: cannot be written ({error.strerror}): free space or choose another folder with --out"
        ) from error
    return layout
