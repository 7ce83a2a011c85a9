"""Aliases and tags that a rollout sets in the model registry."""

from sightline_contract.errors import RegistryError
from sightline_contract.events import AuditRecord
from sightline_contract.topics import AUDIT
from sightline_models.registry import Alias as AliasName
from sightline_models.registry import Registry
from sightline_models.rollout.steps import Alias, Tag
from sightline_streaming.config import KafkaConfig
from sightline_streaming.publisher import publish

ACTOR = "judge"


class RegistryDoor:
    """The registry at ``uri``, as the judge's journal uses it; moves of aliases are told to the topic audit."""

    def __init__(self, uri: str, kafka: KafkaConfig) -> None:
        self._registry = Registry(uri, announce=lambda record: announce(record, kafka))

    def carry_out(self, action: Alias | Tag) -> None:
        """Set the alias or tag; raises RegistryError."""
        if isinstance(action, Tag):
            version = self._registry.version(action.model_name, number_of(action.version))
            self._registry.set_tag(version, action.key, action.value)
        elif action.version is None:
            self._registry.drop_alias(action.model_name, action.alias, ACTOR)
        elif action.alias == AliasName.CHAMPION:
            self._registry.promote(action.model_name, number_of(action.version), ACTOR)
        else:
            self._registry.set_alias(action.model_name, action.alias, number_of(action.version), ACTOR)


def announce(record: AuditRecord, kafka: KafkaConfig) -> None:
    """Tell the audit log; raises BrokerError."""
    publish([(record.node_id, record.model_dump_json().encode(), [])], AUDIT, kafka)


def number_of(version: str) -> int:
    """The registry's number of a model version; raises RegistryError."""
    if not version.isdigit():
        raise RegistryError(f"{version!r} is no version of the registry: its versions are numbers, such as 7")
    return int(version)
