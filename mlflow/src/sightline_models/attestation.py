"""What the centre makes of a node's statement about its boot: a policy's words, compared.

A statement is worth what its maker is. Of the example that nodes bring ('software') a good verdict means that nobody changed
the device by mistake; it does not mean that nobody broke in. A policy that trusts hardware names that hardware's attestor
alone.
"""

from collections.abc import Sequence
from typing import Annotated

from cryptography import x509
from pydantic import Field

from sightline_contract.attestation import STATEMENT_TYPE, Statement, read_statement
from sightline_contract.errors import TrustError
from sightline_contract.manifest import payload_of, read_envelope
from sightline_contract.settings import Settings
from sightline_models.certificates import IS_A_NODE, signer_name


class Policy(Settings):
    """What a statement must say: who may make it, how old it may be, and the good values of each claim that counts."""

    attestors: Annotated[tuple[str, ...], Field(min_length=1)]
    max_age_s: Annotated[float, Field(gt=0)] = 3600.0
    claims: dict[str, tuple[str, ...]] = Field(default_factory=dict)


def check_statement(
    envelope_text: str | None,
    authorities: Sequence[x509.Certificate],
    policy: Policy,
    *,
    node_id: str,
    nonce: str,
    now_us: int,
) -> Statement:
    """The statement of ``node_id``, if it is good; raises TrustError that names the first rule which it breaks.

    ``nonce`` is what the node was asked with. Order: form, signature of that very node, nonce, age, attestor, claims.
    """
    if envelope_text is None:
        raise TrustError(f"{node_id}: attestation: makes no statement, which the policy asks for: set models.attestation")
    envelope = read_envelope(envelope_text)
    payload = payload_of(envelope, STATEMENT_TYPE)
    name = signer_name(envelope, payload, authorities, now_us, IS_A_NODE)
    statement = read_statement(payload)
    if not name == statement.node_id == node_id:
        raise TrustError(f"{node_id}: attestation: is about {statement.node_id!r}, signed by {name!r}")
    if statement.nonce != nonce:
        raise TrustError(f"{node_id}: attestation: answers {statement.nonce!r} and not {nonce!r}: it is an old one")
    age_s = abs(now_us - statement.stated_us) / 1e6
    if age_s > policy.max_age_s:
        raise TrustError(f"{node_id}: attestation: is {age_s:.0f} s from now, more than {policy.max_age_s:g}: check its clock")
    if statement.attestor not in policy.attestors:
        raise TrustError(
            f"{node_id}: attestation: is by {statement.attestor!r}, the policy takes {', '.join(policy.attestors)}"
        )
    for claim, good in policy.claims.items():
        if (found := statement.claims.get(claim, "nothing")) not in good:
            raise TrustError(f"{node_id}: attestation: {claim} is {found!r}, which the policy does not list")
    return statement
