"""What a node states about how it booted, and how the centre reads it: a statement in a DSSE envelope of its own type.

The statement answers a nonce that the centre chose (a node is asked by ``DesiredModels``: its rollout and revision), so that
an old one cannot be shown again. Its claims are words of whoever makes it; what they are worth depends on that alone.
"""

import json
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, ValidationError

from sightline_contract.errors import TrustError
from sightline_contract.settings import Settings, explain

STATEMENT_TYPE: Final = "application/vnd.sightline.attestation+json"

_Line = Annotated[str, StringConstraints(max_length=512)]


class Statement(Settings):
    """What a node states. ``attestor`` is the part that made it; claims are by name, such as ``kernel``."""

    format: Literal[1] = 1
    node_id: _Line
    nonce: _Line
    stated_us: int  # node's clock
    attestor: _Line
    claims: Annotated[dict[_Line, _Line], Field(max_length=64)]


def write_statement(statement: Statement) -> bytes:
    """The bytes that are signed."""
    return json.dumps(statement.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()


def read_statement(payload: bytes) -> Statement:
    """The statement in an envelope's payload; raises TrustError."""
    try:
        return Statement.model_validate_json(payload)
    except ValidationError as error:
        raise TrustError(f"form: is no statement of a node: {explain(error)}") from error
