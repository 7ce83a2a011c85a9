"""Building a bundle: every part goes into a store by the digest of what is stored, and the manifest names them.

A store is a plain folder, which any HTTP server can give out: ``STORE/sha256/<64 hex digits>``. A part's file appears whole
and synced, or not at all; one that is there with its right content is left alone, so bundles share what they have in common.
Nothing is ever overwritten with other content, and nothing in a store is secret or trusted: nodes compare digests with a
signed manifest.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import yaml
from pydantic import ValidationError

from sightline_contract.errors import ModelError, StorageError
from sightline_contract.manifest import (
    CARD_PART,
    ENGINE_PART,
    GOLDEN_PART,
    MODEL_PART,
    THRESHOLDS_PART,
    Manifest,
    Part,
    Sealed,
    Thresholds,
)
from sightline_contract.model_card import ModelCard, load_card
from sightline_contract.sealing import SEALED_PARTS
from sightline_contract.settings import explain
from sightline_contract.targets import Target
from sightline_models.fetch import sha256_of
from sightline_models.sealing import seal


def build_bundle(
    model_folder: Path,
    *,
    target: Target,
    golden: Path,
    thresholds: Thresholds,
    store: Path,
    number: int,
    issued_us: int,
    expires_us: int,
    engine: Path | None = None,
    content_key: bytes | None = None,
) -> Manifest:
    """Put the parts of a model into ``store``, and return the manifest to sign. Times are UTC us.

    ``model_folder`` has the model and its card, whose name and version are the manifest's; ``golden`` is the golden clip's
    file, ``engine`` the compiled one where the target's runtime needs it. With ``content_key`` (32 bytes) the parts of
    ``sealing.SEALED_PARTS`` are stored encrypted. Raises ModelError for a model that does not fit its card or a part that is
    missing, StorageError where the store refuses.
    """
    card = load_card(model_folder)
    files = {MODEL_PART: model_folder / MODEL_PART, CARD_PART: model_folder / CARD_PART, GOLDEN_PART: golden}
    if engine is not None:
        files[ENGINE_PART] = engine
    for path in files.values():
        if not path.is_file():
            raise ModelError(f"{path}: is not there, and the bundle needs it: check the path")
    _check_card(model_folder, card)
    try:
        parts = {
            name: _put_part(store, path, content_key if name in SEALED_PARTS else None) for name, path in sorted(files.items())
        }
        parts[THRESHOLDS_PART] = _put_bytes(store, yaml.safe_dump(thresholds.model_dump(mode="json")).encode())
    except OSError as error:
        raise StorageError(f"{store}: the store refuses a part ({error.strerror}): check its room and permissions") from error
    try:
        return Manifest(
            model_name=card.name,
            model_version=card.version,
            number=number,
            issued_us=issued_us,
            expires_us=expires_us,
            target=target,
            parts=parts,
        )
    except ValidationError as error:
        raise ModelError(f"{model_folder}: makes no bundle for {target}: {explain(error)}") from error


def part_path(store: Path, digest: str) -> Path:
    """Where the part of a digest lies below ``store``."""
    return store / "sha256" / digest.removeprefix("sha256:")


def _check_card(model_folder: Path, card: ModelCard) -> None:
    if (found := sha256_of(model_folder / MODEL_PART)) != card.digest:
        raise ModelError(f"{model_folder}: its model has {found} and not the card's {card.digest}: pull or export it again")


def _put_part(store: Path, source: Path, content_key: bytes | None) -> Part:
    digest, size = sha256_of(source), source.stat().st_size
    with source.open("rb") as file:
        if content_key is None:
            found, stored_bytes = _put(store, lambda target: shutil.copyfileobj(file, target))
            if found != digest:
                raise ModelError(f"{source}: was changed while it was read: build the bundle again")
            return Part(digest=digest, bytes=stored_bytes)
        key = content_key
        sealed_digest, sealed_bytes = _put(store, lambda target: seal(file, target, key, digest))
    if sha256_of(source) != digest:
        raise ModelError(f"{source}: was changed while it was read: build the bundle again")
    return Part(digest=digest, bytes=size, sealed=Sealed(digest=sealed_digest, bytes=sealed_bytes))


def _put_bytes(store: Path, content: bytes) -> Part:
    digest, size = _put(store, lambda target: target.write(content))
    return Part(digest=digest, bytes=size)


def _put(store: Path, write: Callable[[IO[bytes]], object]) -> tuple[str, int]:
    """Store what ``write`` writes; its digest and size in bytes."""
    folder = store / "sha256"
    folder.mkdir(parents=True, exist_ok=True)
    with _aside(folder) as aside:
        with aside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        digest = sha256_of(aside)
        path = part_path(store, digest)
        # One that is there and damaged is mended; one that is whole keeps its place and its date.
        if not (path.is_file() and path.stat().st_size == size and sha256_of(path) == digest):
            aside.chmod(0o644)
            aside.replace(path)
            _sync_folder(folder)
    return digest, size


@contextlib.contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(prefix=".part.", dir=folder)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
