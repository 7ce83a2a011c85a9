"""Whether a node's statement about its boot is good enough for a rollout that asks for one. Without a policy none is."""

from collections.abc import Callable
from pathlib import Path

from sightline_contract.errors import ConfigError, TrustError
from sightline_contract.rollout import ModelStatus
from sightline_contract.sealing import key_name
from sightline_contract.settings import load_settings
from sightline_models.attestation import Policy, check_statement
from sightline_models.certificates import read_authorities

Attested = Callable[[ModelStatus], str]
"""Says in one line why a statement is not good enough, or "" if it is."""


def no_policy(_status: ModelStatus) -> str:
    """What a judge without a policy says: a statement that nobody checks is worth nothing."""
    return "the judge has no policy to check statements by: start it with --attest-policy and --trust"


def attester(policy: Path | None, trust: Path | None, *, key_named: bool = False) -> Attested:
    """Checks statements by the files of a policy (YAML) and of the nodes' authority (PEM); raises ConfigError.

    ``key_named``: a statement that does not name the sealing key is not good enough.
    """
    if policy is None and trust is None:
        return no_policy
    if policy is None or trust is None:
        raise ConfigError("--attest-policy and --trust: one says what is good, the other who may say so: give both")
    rules, authorities = load_settings(policy, Policy), read_authorities(trust)

    def attested(status: ModelStatus) -> str:
        # As the node's agent makes it; before a first rollout it was asked nothing.
        nonce = f"{status.rollout_id}/{status.revision}" if status.revision else ""
        try:
            statement = check_statement(
                status.attestation, authorities, rules, node_id=status.node_id, nonce=nonce, now_us=status.reported_us
            )
        except TrustError as error:
            return str(error)
        stated = statement.claims.get("sealing_key")
        if key_named and not stated:
            return f"{status.node_id}: attestation: does not name its sealing key"
        if stated and status.public_key and stated != key_name(status.public_key):
            # The topic does not keep a node from announcing a key in another's name.
            return f"{status.node_id}: attestation: the sealing key that it announced is not the one that it states"
        return ""

    return attested
