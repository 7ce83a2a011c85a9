"""Giving nodes the keys of sealed parts: made where the content keys are, each for the public key that a node announces.

What is given lies on the topic rollout_keys; the judge, which has no key, passes it on. Every key that is given is an audit
record, which the broker has before the key can be read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sightline.rollout.attesting import Attested
from sightline_contract.errors import ConfigError, TrustError
from sightline_contract.events import AuditKind, AuditRecord
from sightline_contract.rollout import ModelStatus
from sightline_contract.sealing import key_name
from sightline_contract.topics import AUDIT
from sightline_models.rollout.keys import NodeKeys
from sightline_models.rollout.plan import RolloutPlan, SealedWith
from sightline_models.sealing import content_key_digest, content_key_in, read_content_key, wrap_key
from sightline_streaming.config import KafkaConfig
from sightline_streaming.publisher import publish

_FIRST: Final = "the node had none"
_ANEW: Final = "the node announces another public key"


@dataclass(frozen=True)
class ContentKeys:
    """The content keys of a rollout's two versions."""

    candidate: bytes
    baseline: bytes

    @property
    def names(self) -> SealedWith:
        """What the plan says of them."""
        return SealedWith(candidate=content_key_digest(self.candidate), baseline=content_key_digest(self.baseline))


@dataclass(frozen=True)
class Wrapped:
    """Keys for nodes, why each was made, and of the other nodes why they get none."""

    keys: tuple[NodeKeys, ...]
    reasons: Mapping[str, str]
    refused: Mapping[str, str]


def key_path(folder: Path, model_name: str, version: str) -> Path:
    """Where the content key of a version is kept."""
    return folder / f"{model_name}-{version}.key"


def made_content_key(folder: Path, model_name: str, version: str) -> bytes:
    """The content key of a version, made where it is missing; raises ConfigError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return content_key_in(key_path(folder, model_name, version))


def content_keys_of(plan: RolloutPlan, folder: Path) -> ContentKeys:
    """The content keys that the plan's parts are sealed with; raises ConfigError where a file is missing or another's."""
    paths = [key_path(folder, plan.model_name, version) for version in (plan.version, plan.baseline_version)]
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path}: is not there: give the folder that {plan.rollout_id} was started with, --seal FOLDER")
    keys = ContentKeys(*map(read_content_key, paths))
    if (told := plan.sealed_with) is not None:
        pairs = ((told.candidate, keys.names.candidate), (told.baseline, keys.names.baseline))
        for path, (wanted, found) in zip(paths, pairs, strict=True):
            if wanted != found:
                raise ConfigError(
                    f"{path}: is not the key that {plan.rollout_id} is sealed with: give the folder of its --seal"
                )
    return keys


def wrap(
    rollout_id: str,
    content: ContentKeys,
    nodes: Iterable[ModelStatus],
    known: Mapping[str, NodeKeys] | None,
    attested: Attested | None,
) -> Wrapped:
    """Make keys for ``nodes``, which announce a public key; ``known``: what they had, None where the rollout begins.

    ``attested`` says why a node's statement does not vouch for its public key; None: the announcement is believed.
    """
    made, reasons, refused = [], {}, {}
    for status in nodes:
        public = status.public_key or ""
        before = (known or {}).get(status.node_id)
        try:
            if attested is not None and (why := attested(status)):
                raise TrustError(why)
            keys = NodeKeys(
                rollout_id=rollout_id,
                node_id=status.node_id,
                # Above what the rollout began with, even where that can't be read yet.
                serial=0 if known is None else (before.serial if before else 0) + 1,
                public_key=key_name(public),
                candidate=wrap_key(content.candidate, public, status.node_id),
                baseline=wrap_key(content.baseline, public, status.node_id),
            )
        except TrustError as error:
            refused[status.node_id] = str(error)
            continue
        made.append(keys)
        reasons[status.node_id] = _ANEW if before else _FIRST
    return Wrapped(tuple(made), reasons, refused)


def announce_keys(
    plan: RolloutPlan, keys: Sequence[NodeKeys], reasons: Mapping[str, str], actor: str, at_us: int, kafka: KafkaConfig
) -> None:
    """Publish an audit record for each key; raises BrokerError."""
    records = [_record(plan, each, reasons[each.node_id], actor, at_us) for each in keys]
    publish(((record.node_id, record.model_dump_json().encode(), []) for record in records), AUDIT, kafka)


def _record(plan: RolloutPlan, keys: NodeKeys, reason: str, actor: str, at_us: int) -> AuditRecord:
    return AuditRecord(
        record_id=f"{plan.rollout_id}:key:{keys.node_id}:{keys.serial}",
        kind=AuditKind.KEY_GIVEN,
        node_id=keys.node_id,
        actor=actor,
        reason=reason,
        at_us=at_us,
        details={
            "rollout_id": plan.rollout_id,
            "model": f"{plan.model_name} {plan.version}",
            "baseline": plan.baseline_version,
            "public_key": keys.public_key,
        },
    )
