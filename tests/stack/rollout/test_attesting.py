"""A rollout that asks for statements about the boot takes good ones alone."""

from pathlib import Path

import pytest
import yaml
from bundles import NOW_US, SiteOfModels, make_site

from sightline.rollout.attesting import attester
from sightline_contract.errors import ConfigError
from sightline_contract.rollout import ModelRef, ModelStatus
from sightline_edge.config import Tls
from sightline_edge.rollout.attestation import NodeIdentity, SoftwareAttestor

KEY = "a key"


@pytest.fixture
def site(tmp_path: Path) -> SiteOfModels:
    return make_site(tmp_path)


def status(site: SiteOfModels, nonce: str, public_key: str | None = KEY, revision: int = 11) -> ModelStatus:
    folder = site.folder / "gate"
    tls = Tls(ca=folder / "ca.pem", certificate=folder / "node.pem", key=folder / "node.key")
    return ModelStatus(
        node_id="gate",
        site="north",
        hardware="x",
        targets=("x",),
        from_us=NOW_US,
        reported_us=NOW_US,
        rollout_id="r" if revision else "",
        revision=revision,
        live=ModelRef(model_name="street", model_version="1"),
        attestation=SoftwareAttestor(NodeIdentity("gate", tls, public_key=KEY)).statement(nonce, NOW_US),
        public_key=public_key,
    )


def policy(site: SiteOfModels, **more: object) -> Path:
    path = site.folder / "policy.yaml"
    path.write_text(yaml.safe_dump({"attestors": ["software"], **more}))
    return path


def test_a_good_statement_passes_before_a_first_rollout_and_in_one(site: SiteOfModels) -> None:
    attested = attester(policy(site), site.folder / "pki" / "ca.pem")
    assert attested(status(site, "r/11")) == ""
    assert attested(status(site, "", revision=0)) == ""


def test_an_old_statement_another_key_and_a_claim_that_is_not_listed_are_told(site: SiteOfModels) -> None:
    trust = site.folder / "pki" / "ca.pem"
    attested = attester(policy(site), trust)
    assert "answers 'r/3' and not 'r/11'" in attested(status(site, "r/3"))
    assert "the sealing key that it announced is not the one that it states" in attested(status(site, "r/11", "another"))
    strict = attester(policy(site, claims={"secure_boot": ["on"]}), trust)
    assert "secure_boot is 'nothing'" in strict(status(site, "r/11"))


def test_without_a_policy_no_statement_is_good_enough(site: SiteOfModels) -> None:
    assert "has no policy" in attester(None, None)(status(site, "r/11"))
    with pytest.raises(ConfigError, match="give both"):
        attester(policy(site), None)
