"""The model registry: every model that may ever run somewhere, as a version of a registered model in MLflow.

A version is a model folder (the very bytes of ``model.onnx``, its card, MLflow's signature) with what was found out about
it: its evaluation, its engines, their parity. Invariants:

- A digest is registered once, whatever the name. MLflow cannot promise that, so a registration makes its version first, with
  the digest as a tag of the same transaction, and looks for others after: it gives way to a lower version of its name and to
  any version of another name. Of two that race, the one that was made later always sees the other, so never do both stay;
  under one name the lower one does, under two names both may give way.
- A version that was promoted is ``champion``, and the one before it ``previous``.
- Aliases are read from the registered model: what MLflow's searches say of them may be empty.

Who may promote, and when, is decided elsewhere.
"""

import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from sightline_contract.errors import ModelError, RegistryError
from sightline_contract.events import AuditKind, AuditRecord
from sightline_contract.model_card import CARD_FILE, MODEL_FILE, ModelCard, load_card
from sightline_models.evaluation import Evaluation
from sightline_models.fetch import sha256_of
from sightline_models.mlflow_access import connect, experiment_id, explained, shown

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel
    from mlflow.tracking import MlflowClient

# Tags of a version.
DIGEST_TAG: Final = "digest"
LICENCE_TAG: Final = "licence"
EVALUATED_TAG: Final = "evaluated"
SET_TAG: Final = "evaluation_set"
MAP_TAG: Final = "mAP"
MAP50_TAG: Final = "mAP50"
# Of a registered model: how often an alias was moved.
MOVES_TAG: Final = "moves"

# Artifacts of a version's run.
MODEL_ARTIFACTS: Final = "model"
EVALUATION_ARTIFACT: Final = "evaluation.json"

AUDIT_NODE: Final = "registry"  # stands for a node in audit records

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PAGE = 200


class Alias(StrEnum):
    """Where a version is in its life."""

    CANDIDATE = "candidate"
    CANARY = "canary"
    CHAMPION = "champion"
    PREVIOUS = "previous"


@dataclass(frozen=True)
class Version:
    """A registered version."""

    name: str
    number: int
    digest: str
    run_id: str
    created_us: int  # UTC, the registry's clock
    aliases: tuple[str, ...]
    tags: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.name} version {self.number}"


class Registry:
    """The registry at ``uri``: an MLflow server's address, or ``sqlite:///PATH`` of a database that no server serves.

    Everything raises RegistryError where it cannot be reached or is damaged. ``announce`` takes a record of every
    registration and move of an alias.
    """

    def __init__(
        self,
        uri: str,
        announce: Callable[[AuditRecord], None] = lambda _record: None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.uri = uri
        self._announce = announce
        self._now_us = now_us

    @cached_property
    def client(self) -> "MlflowClient":
        """MLflow's own client."""
        return connect(self.uri)

    def register(
        self,
        folder: Path,
        actor: str,
        *,
        name: str | None = None,
        evaluation: Evaluation | None = None,
        alias: str = Alias.CANDIDATE,
    ) -> Version:
        """Make a version of the model folder, under the card's name unless another is given, and give it the alias.

        Raises ModelError where the folder is not whole or its digest is registered already.
        """
        card = load_card(folder)
        if (found := sha256_of(folder / MODEL_FILE)) != card.digest:
            raise ModelError(f"{folder / MODEL_FILE}: has digest {found} and not {card.digest} as its card says: pull it again")
        name = self._checked_name(name or card.name)
        self.require_new(card.digest)
        version = self._create(name, folder, card, evaluation)
        details = {"model": name, "version": version.number, "digest": card.digest, "alias": alias}
        details |= {SET_TAG: evaluation.set_name} if evaluation else {}
        self._tell(AuditKind.MODEL_REGISTERED, actor, "", details, record_id=uuid.uuid5(uuid.NAMESPACE_OID, version.run_id).hex)
        with self._talking():
            self.client.set_registered_model_alias(name, alias, str(version.number))
        return self.version(name, version.number)

    def require_new(self, digest: str) -> None:
        """Raise ModelError that names the version which the digest already is."""
        if found := self.by_digest(digest):
            raise ModelError(f"{digest} is registered already: it is {found}: use that one")

    def versions(self, name: str | None = None) -> list[Version]:
        """All versions, or those of one model, by name and number; none of a model that is not there."""
        if name is not None and not _NAME.fullmatch(name):
            return []
        return self._search(f"name='{name}'" if name else None)

    def version(self, name: str, number: int) -> Version:
        """A version; raises RegistryError where there is none."""
        self._checked_name(name)
        with self._talking():
            return _version(self.client.get_model_version(name, str(number)), self._aliases(name))

    def by_alias(self, name: str, alias: str) -> Version | None:
        """The version that has the alias."""
        number = self._aliases(name).get(alias)
        return None if number is None else self.version(name, number)

    def by_digest(self, digest: str) -> Version | None:
        """The version that the digest is; of duplicates that a crash left, the first."""
        found = self._search(f"tags.{DIGEST_TAG}='{digest}'")
        return min(found, key=lambda version: (version.created_us, version.number), default=None)

    def set_alias(self, name: str, alias: str, number: int, actor: str, reason: str = "") -> Version:
        """Give a version the alias, which whichever had it loses; ``champion`` is given by ``promote``."""
        version = self.version(name, number)
        self._move(name, alias, number, actor, reason)
        return self.version(name, version.number)

    def drop_alias(self, name: str, alias: str, actor: str, reason: str = "") -> None:
        """Take the alias away from whichever version has it; nothing happens where none has."""
        self._move(name, alias, None, actor, reason)

    def promote(self, name: str, number: int, actor: str, reason: str = "") -> Version:
        """Make a version champion and the one before it previous; it is no longer candidate or canary. Safe to repeat."""
        self.version(name, number)
        aliases = self._aliases(name)
        # The old champion's new alias first: a promotion that was cut off in between is finished by its repetition.
        if (champion := aliases.get(Alias.CHAMPION)) not in (None, number):
            self._move(name, Alias.PREVIOUS, champion, actor, reason)
        elif aliases.get(Alias.PREVIOUS) == number:
            self._move(name, Alias.PREVIOUS, None, actor, reason)
        self._move(name, Alias.CHAMPION, number, actor, reason)
        for alias in (Alias.CANDIDATE, Alias.CANARY):
            if aliases.get(alias) == number:
                self._move(name, alias, None, actor, reason)
        return self.version(name, number)

    def set_tag(self, version: Version, key: str, value: str) -> None:
        """Set a tag of the version."""
        with self._talking():
            self.client.set_model_version_tag(version.name, str(version.number), key, value)

    def evaluation(self, version: Version) -> Evaluation | None:
        """Its evaluation, if it was evaluated."""
        if version.tags.get(EVALUATED_TAG) != "true":
            return None
        with tempfile.TemporaryDirectory() as scratch:
            text = self.fetch(version, EVALUATION_ARTIFACT, Path(scratch)).read_text(encoding="utf-8")
        return Evaluation.model_validate_json(text)

    def card(self, version: Version) -> ModelCard:
        """Its card; name and version are the registry's, since those are what a fleet tells its models apart by."""
        with tempfile.TemporaryDirectory() as scratch:
            path = self.fetch(version, f"{MODEL_ARTIFACTS}/{CARD_FILE}", Path(scratch))
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return ModelCard.model_validate(content | {"name": version.name, "version": str(version.number)})

    def download(self, version: Version, into: Path) -> Path:
        """The version as a model folder below ``into``, named ``NAME-NUMBER``; whole or not there.

        Raises RegistryError where the file is not the one that was registered.
        """
        folder = into / f"{version.name}-{version.number}"
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=into) as scratch:
            made = Path(scratch) / "model"
            made.mkdir()
            shutil.move(self.fetch(version, f"{MODEL_ARTIFACTS}/{MODEL_FILE}", Path(scratch)), made / MODEL_FILE)
            if (found := sha256_of(made / MODEL_FILE)) != version.digest:
                raise RegistryError(
                    f"registry {shown(self.uri)}: {version} has digest {found} and not {version.digest} "
                    "as was registered: restore its files from a copy"
                )
            card = self.card(version).model_dump(mode="json")
            (made / CARD_FILE).write_text(yaml.safe_dump(card, sort_keys=False, allow_unicode=True), encoding="utf-8")
            if folder.exists():
                folder.rename(Path(scratch) / "replaced")
            made.rename(folder)
        return folder

    def fetch(self, version: Version, artifact: str, into: Path) -> Path:
        """One artifact of the version's run, a file or a folder, below ``into``."""
        with self._talking():
            return Path(self.client.download_artifacts(version.run_id, artifact, str(into)))

    @contextmanager
    def _talking(self) -> Iterator[None]:
        _ = self.client  # before MLflow's errors are loaded: that nobody answers is told at once
        with explained(self.uri):
            yield

    def _create(self, name: str, folder: Path, card: ModelCard, evaluation: Evaluation | None) -> Version:
        from sightline_models.registry_run import log_run, tags_of

        with self._talking():
            self._make_model(name)
            run_id = log_run(self.client, experiment_id(self.client, self.uri), name, folder, card, evaluation)
            made = self.client.create_model_version(
                name, f"runs:/{run_id}/{MODEL_ARTIFACTS}", run_id, tags=tags_of(card, evaluation), description=card.source
            )
        version = _version(made, {})
        rivals = [each for each in self._search(f"tags.{DIGEST_TAG}='{card.digest}'") if _gives_way(version, each)]
        if rivals:
            with self._talking():
                self.client.delete_model_version(name, str(version.number))
                self.client.delete_run(run_id)
            raise ModelError(f"{card.digest} is registered already: it is {rivals[0]}: use that one")
        return version

    def _make_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _search(self, where: str | None) -> list[Version]:
        with self._talking():
            found: list[ModelVersion] = []
            token = None
            while token != "":
                page = self.client.search_model_versions(where, max_results=_PAGE, page_token=token)
                found += page
                token = page.token or ""
        ours = [each for each in found if DIGEST_TAG in each.tags]
        aliases = {name: self._aliases(name) for name in {each.name for each in ours}}
        return sorted((_version(each, aliases[each.name]) for each in ours), key=lambda each: (each.name, each.number))

    def _aliases(self, name: str) -> dict[str, int]:
        """Version by alias; empty where there is no such model."""
        found = self._model(name)
        return {alias: int(number) for alias, number in found.aliases.items()} if found else {}

    def _model(self, name: str) -> "RegisteredModel | None":
        self._checked_name(name)
        with self._talking():
            from mlflow.exceptions import MlflowException

            try:
                return self.client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return None

    def _move(self, name: str, alias: str, number: int | None, actor: str, reason: str) -> None:
        """Tell, move, count: whatever is cut off in between, a repetition is the same record, and the next move another one.

        The count is the registry's, and its model's begin is part of the id: a move back and forth, or in a registry that was
        made anew, is no repetition.
        """
        model = self._model(name)
        before = int(model.aliases.get(alias) or 0) if model else 0
        if before == (number or 0):
            return
        tag = f"{MOVES_TAG}.{alias}"
        moves = int(model.tags.get(tag, "0")) if model else 0
        begun = model.creation_timestamp if model else 0
        named = f"{name}/{begun}/{alias}/{moves}/{before}/{number or 0}"
        moved = {"model": name, "alias": alias, "from_version": before, "to_version": number or 0}
        self._tell(AuditKind.ALIAS_MOVED, actor, reason, moved, record_id=uuid.uuid5(uuid.NAMESPACE_OID, named).hex)
        with self._talking():
            if number is None:
                self.client.delete_registered_model_alias(name, alias)
            else:
                self.client.set_registered_model_alias(name, alias, str(number))
            self.client.set_registered_model_tag(name, tag, str(moves + 1))

    def _tell(self, kind: AuditKind, actor: str, reason: str, details: Mapping[str, Any], record_id: str) -> None:
        self._announce(
            AuditRecord(
                record_id=record_id,
                kind=kind,
                node_id=AUDIT_NODE,
                actor=actor,
                reason=reason,
                at_us=self._now_us(),
                details=dict(details),
            )
        )

    def _checked_name(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise RegistryError(f"{name!r} is no name for a registered model: use up to 64 letters, digits, '.', '_' and '-'")
        return name


def _gives_way(version: Version, other: Version) -> bool:
    return other.name != version.name or other.number < version.number


def _version(found: "ModelVersion", aliases: Mapping[str, int]) -> Version:
    number = int(found.version)
    return Version(
        name=found.name,
        number=number,
        digest=found.tags.get(DIGEST_TAG, ""),
        run_id=found.run_id or "",
        created_us=int(found.creation_timestamp) * 1000,
        aliases=tuple(sorted(alias for alias, at in aliases.items() if at == number)),
        tags=dict(found.tags),
    )
