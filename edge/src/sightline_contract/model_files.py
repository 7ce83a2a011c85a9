"""A model's files by name. Mostly they lie in a folder; on a node they may be sealed there, and are opened into memory."""

from pathlib import Path
from typing import Protocol

from sightline_contract.errors import ModelError


class ModelFiles(Protocol):
    """Files of one model, each read as a whole."""

    def has(self, name: str) -> bool:
        """Whether there is such a file."""

    def read(self, name: str) -> bytes:
        """Its content; raises ModelError, or TrustError where it is not what was signed."""

    def where(self, name: str) -> Path:
        """Its place on the disk, for messages: what lies there may be sealed."""


class ModelFolder:
    """A folder with the files as they are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return self.where(name).is_file()

    def read(self, name: str) -> bytes:
        """Its content; raises ModelError where it cannot be read."""
        try:
            return self.where(name).read_bytes()
        except OSError as error:
            raise ModelError(f"{self.where(name)}: cannot be read ({error.strerror}): bring the model here again") from error

    def where(self, name: str) -> Path:
        """Its path."""
        return self._folder / name


def files_of(model: Path | ModelFiles) -> ModelFiles:
    """The files of a model that is given by its folder, or as they are."""
    return ModelFolder(model) if isinstance(model, Path) else model
