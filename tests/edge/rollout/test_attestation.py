"""The hook for statements about the boot state: what a node says, and what the centre's policy makes of it."""

import hashlib
from pathlib import Path

import pytest
from bundles import CPU, NOW_US, SiteOfModels, make_site

from sightline_contract.attestation import STATEMENT_TYPE
from sightline_contract.errors import ConfigError, TrustError
from sightline_contract.manifest import PAYLOAD_TYPE, Envelope
from sightline_edge.config import Tls
from sightline_edge.rollout.attestation import NodeIdentity, SoftwareAttestor, load_attestor
from sightline_edge.rollout.trusted import Trusted
from sightline_models.attestation import Policy, check_statement
from sightline_models.certificates import read_authorities

NONCE = "night-roll:7"


@pytest.fixture
def site(tmp_path: Path) -> SiteOfModels:
    return make_site(tmp_path)


def identity(site: SiteOfModels, name: str = "gate", stated_name: str | None = None) -> NodeIdentity:
    folder = site.folder / name
    tls = Tls(ca=folder / "ca.pem", certificate=folder / "node.pem", key=folder / "node.key")
    return NodeIdentity(stated_name or name, tls, public_key="a key")


def checked(site: SiteOfModels, text: str | None, policy: Policy | None = None, now_us: int = NOW_US) -> dict[str, str]:
    authorities = read_authorities(site.folder / "pki" / "ca.pem")
    policy = policy or Policy(attestors=("software",))
    return check_statement(text, authorities, policy, node_id="gate", nonce=NONCE, now_us=now_us).claims


def test_a_statement_tells_boot_kernel_options_code_and_sealing_key(site: SiteOfModels) -> None:
    claims = checked(site, SoftwareAttestor(identity(site)).statement(NONCE, NOW_US))
    assert claims["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert claims["command_line"] == f"sha256:{hashlib.sha256(Path('/proc/cmdline').read_bytes().strip()).hexdigest()}"
    assert claims["sealing_key"] == f"sha256:{hashlib.sha256(b'a key').hexdigest()}"
    assert {"kernel", "package"} <= claims.keys()


def test_a_policy_refuses_what_it_does_not_list(site: SiteOfModels) -> None:
    text = SoftwareAttestor(identity(site)).statement(NONCE, NOW_US)
    package = checked(site, text)["package"]
    assert checked(site, text, Policy(attestors=("software",), claims={"package": ("other", package)}))
    with pytest.raises(TrustError, match=r"gate: attestation: package is 'sha256:.*', which the policy does not list"):
        checked(site, text, Policy(attestors=("software",), claims={"package": ("other",)}))
    with pytest.raises(TrustError, match="secure_boot is 'nothing'"):
        checked(site, text, Policy(attestors=("software",), claims={"secure_boot": ("on",)}))
    with pytest.raises(TrustError, match="is by 'software', the policy takes tpm"):
        checked(site, text, Policy(attestors=("tpm",)))


def test_a_site_that_requires_a_statement_takes_no_silence(site: SiteOfModels) -> None:
    with pytest.raises(TrustError, match="makes no statement, which the policy asks for"):
        checked(site, None)


def test_an_old_statement_is_refused(site: SiteOfModels) -> None:
    before = SoftwareAttestor(identity(site)).statement("night-roll:6", NOW_US)
    with pytest.raises(TrustError, match="answers 'night-roll:6' and not 'night-roll:7': it is an old one"):
        checked(site, before)
    now = SoftwareAttestor(identity(site)).statement(NONCE, NOW_US)
    with pytest.raises(TrustError, match="is 7200 s from now, more than 3600"):
        checked(site, now, now_us=NOW_US + 7200 * 1_000_000)


def test_a_node_speaks_for_itself_alone(site: SiteOfModels) -> None:
    site.issue("tower")
    lie = SoftwareAttestor(identity(site, "tower", "gate")).statement(NONCE, NOW_US)
    with pytest.raises(TrustError, match="is about 'gate', signed by 'tower'"):
        checked(site, lie)
    about_itself = SoftwareAttestor(identity(site, "tower")).statement(NONCE, NOW_US)
    with pytest.raises(TrustError, match="is about 'tower', signed by 'tower'"):
        checked(site, about_itself)


def test_a_changed_or_foreign_statement_is_refused(site: SiteOfModels, tmp_path: Path) -> None:
    text = SoftwareAttestor(identity(site)).statement(NONCE, NOW_US)
    envelope = Envelope.model_validate_json(text)
    other = SoftwareAttestor(identity(site)).statement("other", NOW_US)
    mixed = envelope.model_copy(update={"payload": Envelope.model_validate_json(other).payload})
    with pytest.raises(TrustError, match="is not over this content"):
        checked(site, mixed.model_dump_json())
    foreign = make_site(tmp_path / "foreign")
    with pytest.raises(TrustError, match="is not to be believed"):
        checked(site, SoftwareAttestor(identity(foreign)).statement(NONCE, NOW_US))
    payload = b"{}"
    with pytest.raises(TrustError, match=r"is not to be believed: .*something else"):
        checked(site, site.signer().sign_payload(STATEMENT_TYPE, payload).model_dump_json())


def test_a_statement_is_no_manifest_and_a_manifest_no_statement(site: SiteOfModels) -> None:
    statement = SoftwareAttestor(identity(site)).statement(NONCE, NOW_US)
    with pytest.raises(TrustError, match=r"form: the envelope holds 'application/vnd\.sightline\.attestation"):
        Trusted(site.trust_pem, (CPU,)).accept(statement, NOW_US)
    relabelled = Envelope.model_validate_json(statement).model_copy(update={"payloadType": PAYLOAD_TYPE})
    with pytest.raises(TrustError, match="for clientAuth and not for codeSigning alone"):
        Trusted(site.trust_pem, (CPU,)).accept(relabelled.model_dump_json(), NOW_US)
    with pytest.raises(TrustError, match="form: the envelope holds"):
        checked(site, site.signed(site.bundle(1)))


def test_a_site_brings_an_attestor_of_its_own(site: SiteOfModels, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.folder / "our_tpm.py").write_text(
        "class Quote:\n    def __init__(self, identity): self.name = identity.node_id\n"
        "    def statement(self, nonce, now_us): return f'{self.name} {nonce} {now_us}'\n"
    )
    monkeypatch.syspath_prepend(site.folder)
    assert load_attestor("our_tpm:Quote", identity(site)).statement("n", 1) == "gate n 1"
    assert isinstance(load_attestor("software", identity(site)), SoftwareAttestor)


@pytest.mark.parametrize("name", ["", "hardware", "no_such_module:Quote", "os:Quote", ":Quote", "os:"])
def test_an_attestor_that_is_not_there_is_told(site: SiteOfModels, name: str) -> None:
    with pytest.raises(ConfigError, match=r"models\.attestation"):
        load_attestor(name, identity(site))


def test_a_node_without_a_certificate_states_nothing(site: SiteOfModels) -> None:
    (site.folder / "gate" / "node.key").unlink()
    with pytest.raises(ConfigError, match="see 'sightline pki issue'"):
        SoftwareAttestor(identity(site))
