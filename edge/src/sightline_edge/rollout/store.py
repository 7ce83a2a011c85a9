"""A node's models on its disk: each whole or not there, and a record of which one serves.

    models/lock            held by the process that uses the folder
    models/state.json      State, replaced as a whole
    models/partial/<hex>   what is fetched of a part
    models/parts/<hex>     parts as they were fetched, by the digest of that: what is sealed stays sealed
    models/<hex>/          a model by its manifest's digest: hard links to its parts, its envelope, a wrapped key

Invariants
- A model's folder appears under its name with everything in it, synchronised; nothing of it is written again but envelope and
  wrapped key, each as a whole.
- No content of a sealed part is here, and the wrapped key is of no use without the node's own.
- ``state.json`` names only models that were made before it was written, so whatever a crash leaves, what it names is there.
- A part lies on the disk once, however many models have it; one that no model has and nobody fetches is removed.

Which model serves, and why, is the agent's. Model 0, of the node's own settings, is not kept here.
"""

import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from sightline_contract.errors import ConfigError, StorageError, TrustError
from sightline_contract.manifest import Manifest, Part, payload_of, read_envelope, read_manifest
from sightline_contract.rollout import DesiredModels
from sightline_contract.settings import Settings
from sightline_edge.disk import lock, replace_file, sync_folder, write_file
from sightline_edge.rollout.unsealing import file_name

logger = logging.getLogger(__name__)

STATE_FILE: Final = "state.json"
ENVELOPE_FILE: Final = "envelope.json"
WRAPPED_KEY_FILE: Final = "wrapped.key"
_NEW: Final = ".new"
OWN: Final = ""  # stands for the model of the node's own settings where a manifest's digest is named
# So many refused manifests are remembered, newest last.
REFUSALS_KEPT: Final = 32


class State(Settings):
    """What a node remembers of its models over a restart. Models are named by their manifest's digest, hex."""

    format: int = 1
    live: str = OWN
    previous: str = OWN  # what serves if ``live`` cannot
    served: Annotated[int, Field(ge=0)] = 0  # highest number that ever served: nothing older is taken into service
    served_digest: str = ""  # of that manifest
    clock_us: int = 0  # the newest time that a trusted signature stated
    desired: DesiredModels | None = None
    # Models on trial: processes that began with one and neither ended in order nor outlived the trial.
    starts: dict[str, int] = Field(default_factory=dict)
    # Manifests that shall not be tried again, and why.
    refused: dict[str, str] = Field(default_factory=dict)

    def changed(self, **changes: object) -> "State":
        """A copy with other values."""
        return self.model_copy(update=changes)

    def refusing(self, digest: str, reason: str) -> "State":
        """A copy that remembers a refusal; the oldest beyond REFUSALS_KEPT are forgotten."""
        refused = [*((known, why) for known, why in self.refused.items() if known != digest), (digest, reason)]
        return self.changed(refused=dict(refused[-REFUSALS_KEPT:]))


class Store:
    """The folder of a node's models, owned by this process until ``close``."""

    def __init__(self, folder: Path) -> None:
        """Open it, and mend what a crash left. Raises ConfigError where another process has it, StorageError for the disk."""
        self.folder = folder
        self.parts = folder / "parts"
        self.partial = folder / "partial"
        try:
            for each in (self.parts, self.partial):
                each.mkdir(parents=True, exist_ok=True)
            taken = lock(folder / "lock")
        except OSError as error:
            raise _refused(folder, error) from error
        if taken is None:
            raise ConfigError(f"{folder}: another node uses this folder: give each node a 'state' of its own")
        self._lock = taken
        try:
            for left in folder.glob(f"*{_NEW}"):
                _remove(left)
            self._remove_opened()
            self.state = self._written = self._read_state()
        except OSError as error:
            raise _refused(folder, error) from error

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock.close()

    def write(self, state: State) -> None:
        """Have ``state`` on the disk, whole or not at all; raises StorageError, and the old one holds."""
        if state != self._written:
            try:
                replace_file(self.folder / STATE_FILE, state.model_dump_json().encode())
            except OSError as error:
                raise _refused(self.folder, error) from error
        self.state = self._written = state

    def remember(self, state: State) -> None:
        """As ``write``, where the node has to go on by ``state`` even if the disk refuses it: the next write has it as well."""
        self.state = state
        self.write(state)

    def model(self, digest: str) -> Path:
        """The folder of a model, whether it is there or not."""
        return self.folder / digest

    def has(self, digest: str) -> bool:
        """Whether the model is there."""
        return bool(digest) and self.model(digest).is_dir()

    def part(self, part: Part) -> Path:
        """Where a part lies as it was fetched, whether it is there or not."""
        return self.parts / hex_of(part.fetched.digest)

    def has_part(self, part: Part) -> bool:
        """Whether a part is there; one that is damaged is not, and goes. Raises StorageError."""
        path = self.part(part)
        try:
            if path.exists() and _wrong(path, part):
                path.unlink()
            return path.exists()
        except OSError as error:
            raise _refused(path, error) from error

    def make(self, digest: str, manifest: Manifest, envelope: str, wrapped_key: str | None = None) -> Path:
        """Make a model of its parts, which are all there; returns its folder. Raises StorageError.

        A model that is there gets the envelope and the wrapped key, where it has other ones.
        """
        beside = {ENVELOPE_FILE: envelope} | ({WRAPPED_KEY_FILE: wrapped_key} if wrapped_key is not None else {})
        final = self.model(digest)
        new = final.with_name(final.name + _NEW)
        try:
            if final.is_dir():
                for name, text in beside.items():
                    if _text(final / name) != text:
                        replace_file(final / name, text.encode(), 0o600)
                return final
            new.mkdir()
            for name, part in manifest.parts.items():
                os.link(self.part(part), new / file_name(name, part))
            for name, text in beside.items():
                write_file(new / name, text.encode(), 0o600)
            sync_folder(new)
            new.rename(final)
            sync_folder(self.folder)
        except OSError as error:
            _remove(new)
            raise _refused(self.folder, error) from error
        return final

    def envelope(self, digest: str) -> str | None:
        """The signed envelope of a model; None where it is not there."""
        return _text(self.model(digest) / ENVELOPE_FILE)

    def wrapped_key(self, digest: str) -> str | None:
        """The key of a model's sealed parts, wrapped to this node's; None where it is not there."""
        return _text(self.model(digest) / WRAPPED_KEY_FILE)

    def damage(self, digest: str, manifest: Manifest) -> str | None:
        """What is wrong with the files of a model that is there: a disk's fault, or somebody's; None where all are right."""
        for name, part in manifest.parts.items():
            if wrong := _wrong(self.model(digest) / file_name(name, part), part):
                return f"{name} {wrong}"
        return None

    def discard(self, digest: str) -> None:
        """Remove a damaged model, and its parts with it, so that they are fetched again. Raises StorageError."""
        if not self.has(digest):
            return
        try:
            damaged = {file.stat().st_ino for file in self.model(digest).iterdir()}
            for part in self.parts.iterdir():
                if part.stat().st_ino in damaged:
                    part.unlink()
            self._remove_model(self.model(digest))
        except OSError as error:
            raise _refused(self.folder, error) from error

    def tidy(self, models: Collection[str], fetching: Collection[str]) -> None:
        """Keep only these models, their parts, and the parts (hex digests) that are being fetched."""
        try:
            for each in self.folder.iterdir():
                if each.is_dir() and each not in (self.parts, self.partial) and each.name not in models:
                    self._remove_model(each)
            for part in self.parts.iterdir():
                if part.stat().st_nlink == 1 and part.name not in fetching:
                    part.unlink()
            for left in self.partial.iterdir():
                if left.stem not in fetching:
                    left.unlink()
        except OSError as error:
            raise _refused(self.folder, error) from error

    def _remove_opened(self) -> None:
        """Remove models whose sealed parts an earlier version kept opened, with those parts: they are fetched again, sealed."""
        for left in self.parts.glob(".*.opening"):
            _remove(left)
        for folder in tuple(self.folder.iterdir()):
            try:
                parts = read_manifest(payload_of(read_envelope(self.envelope(folder.name) or ""))).parts
            except TrustError:
                continue  # no model
            if any(part.sealed and (folder / name).exists() for name, part in parts.items()):
                logger.warning("model %s lies opened on the disk, as earlier versions kept it: it is removed", folder.name[:12])
                self.discard(folder.name)

    def _remove_model(self, folder: Path) -> None:
        if folder.is_dir():
            # Under its name it is whole to the end.
            doomed = folder.with_name(folder.name + _NEW)
            folder.rename(doomed)
            _remove(doomed)

    def _read_state(self) -> State:
        """The record; where it cannot be read the node begins with its own model, and takes what is desired again."""
        path = self.folder / STATE_FILE
        try:
            return State.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise _refused(path, error) from error
        except ValidationError:
            path.replace(path.with_name(f"{STATE_FILE}.damaged"))
            return State()


def hex_of(digest: str) -> str:
    """A digest ``sha256:<hex>`` as a file's name."""
    return digest.removeprefix("sha256:")


def _wrong(path: Path, part: Part) -> str | None:
    """What is wrong with a part as it was fetched; None where it is right."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if found == hex_of(part.fetched.digest) else "is damaged"


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _refused(where: Path, error: OSError) -> StorageError:
    what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
    return StorageError(f"{where}: models cannot be kept ({what}): make room or mend the disk")
