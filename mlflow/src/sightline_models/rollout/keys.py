"""Keys of sealed parts: the messages on ``rollout_keys``, compacted by ``rollout_id/node_id``.

They are beside the plan, since for a few thousand nodes they are more than a message may be, and since nodes come later, lose
their device, or make their key anew. Each says for which of a node's keys it was made: so a key that changed is noticed.
Nothing here opens or makes one.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final

from pydantic import Field

from sightline_contract.events import Message
from sightline_contract.rollout import ModelStatus
from sightline_contract.sealing import key_name
from sightline_models.rollout.plan import RolloutPlan

MOST_SERIALS: Final = 1_000_000


class NodeKeys(Message):
    """The content keys of a rollout's two versions, encrypted to one node's public key (base64).

    Of two messages for a node the one with the higher ``serial`` holds, the later of two that have the same.
    """

    rollout_id: str
    node_id: str
    serial: Annotated[int, Field(ge=0, lt=MOST_SERIALS)]  # 0: made as the rollout was begun
    public_key: str  # name of the node's key (sealing.key_name)
    candidate: str
    baseline: str

    @property
    def record_key(self) -> str:
        """Its key on the topic."""
        return f"{self.rollout_id}/{self.node_id}"


def fits(keys: NodeKeys | None, status: ModelStatus) -> bool:
    """Whether they were made for the public key that the node announces."""
    return keys is not None and status.public_key is not None and keys.public_key == key_name(status.public_key)


def waiting(plan: RolloutPlan, statuses: Iterable[ModelStatus], keys: Mapping[str, NodeKeys]) -> list[ModelStatus]:
    """Nodes that could open the plan's sealed parts, had they a key for what they announce; by id. None of an open plan."""
    able = (status for status in statuses if status.public_key and plan.bundles_for(status.targets) is not None)
    found = [status for status in able if plan.sealed and not fits(keys.get(status.node_id), status)]
    return sorted(found, key=lambda status: status.node_id)
