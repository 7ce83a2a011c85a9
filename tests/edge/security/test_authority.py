"""The authority: what it signs, what it keeps, what it refuses."""

import contextlib
import json
import ssl
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from sightline_contract.errors import ConfigError
from sightline_edge.security import authority
from sightline_edge.security.authority import Authority, init, read_record

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    init(tmp_path / "pki", None, NOW)
    return tmp_path / "pki"


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def usages(issued: x509.Certificate) -> set[x509.ObjectIdentifier]:
    return set(issued.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_authority_may_sign_nodes_and_no_other_authority(folder: Path) -> None:
    made = certificate(folder / "ca.pem")
    constraints = made.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert made.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert made.not_valid_after_utc - NOW == timedelta(days=3652.5)


def test_private_keys_are_their_owners_alone(folder: Path, tmp_path: Path) -> None:
    made = Authority(folder, None).issue("gate", tmp_path, NOW, hosts=["10.0.0.5"])
    secrets = [folder, folder / "ca.key", folder / "issued.jsonl", made, made / "node.key", made / "keystore.pem"]
    assert [mode(path) & 0o077 for path in secrets] == [0] * len(secrets)


def test_a_second_authority_does_not_overwrite_the_first(folder: Path) -> None:
    before = (folder / "ca.key").read_bytes()
    with pytest.raises(ConfigError, match="is not overwritten"):
        init(folder, None, NOW)
    assert (folder / "ca.key").read_bytes() == before


def test_a_nodes_certificate_names_it_and_is_for_clients_only(folder: Path, tmp_path: Path) -> None:
    made = Authority(folder, None).issue("gate-1", tmp_path, NOW)
    issued = certificate(made / "node.pem")
    issued.verify_directly_issued_by(certificate(folder / "ca.pem"))
    assert issued.subject.rfc4514_string() == "CN=gate-1"
    assert usages(issued) == {ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not issued.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert issued.not_valid_after_utc == NOW + timedelta(days=397)
    key = load_pem_private_key((made / "node.key").read_bytes(), None)
    assert key.public_key() == issued.public_key()
    assert sorted(path.name for path in made.iterdir()) == ["ca.pem", "node.key", "node.pem"]


def test_a_brokers_certificate_names_the_hosts_that_are_dialled(folder: Path, tmp_path: Path) -> None:
    made = Authority(folder, None).issue("kafka", tmp_path, NOW, hosts=["kafka.site.example", "10.0.0.5", "::1"])
    issued = certificate(made / "node.pem")
    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["kafka.site.example"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.5", "::1"]
    assert usages(issued) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}


def test_a_name_is_given_out_once(folder: Path, tmp_path: Path) -> None:
    signer = Authority(folder, None)
    signer.issue("gate-1", tmp_path, NOW)
    with pytest.raises(ConfigError, match="give --renew"):
        signer.issue("gate-1", tmp_path / "elsewhere", NOW)
    assert len(read_record(folder)) == 1


def test_a_folder_that_is_there_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "gate-1").mkdir()
    (tmp_path / "gate-1" / "node.key").write_text("of somebody else")
    with pytest.raises(ConfigError, match="is not overwritten"):
        Authority(folder, None).issue("gate-1", tmp_path, NOW)
    assert (tmp_path / "gate-1" / "node.key").read_text() == "of somebody else"


def test_a_renewal_has_a_new_key_and_serial_and_keeps_the_hosts(folder: Path, tmp_path: Path) -> None:
    signer = Authority(folder, None)
    old = certificate(signer.issue("kafka", tmp_path, NOW, hosts=["10.0.0.5"]) / "node.pem")
    new = certificate(signer.issue("kafka", tmp_path, NOW + timedelta(days=300), renew=True) / "node.pem")
    assert old.serial_number != new.serial_number
    assert old.public_key() != new.public_key()
    assert ExtendedKeyUsageOID.SERVER_AUTH in usages(new)
    assert [entry.hosts for entry in read_record(folder)] == [("10.0.0.5",)] * 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["", "../gate", "gate/1", "gate,O=x", "gate+", "#", "gate 1", "ANONYMOUS", "g" * 65, "gate\n"])
def test_a_name_that_a_broker_could_misread_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no name of a node"):
        Authority(folder, None).issue(name, tmp_path / "out", NOW)
    assert read_record(folder) == []


def test_no_certificate_outlives_its_authority(tmp_path: Path) -> None:
    init(tmp_path / "pki", None, NOW, years=1)
    with pytest.raises(ConfigError, match="the authority ends in 365 days"):
        Authority(tmp_path / "pki", None).issue("gate-1", tmp_path, NOW)


def test_the_record_knows_every_certificate_and_its_end(folder: Path, tmp_path: Path) -> None:
    signer = Authority(folder, None)
    made = [certificate(signer.issue(name, tmp_path, NOW, days=10) / "node.pem") for name in ("a", "b")]
    entries = read_record(folder)
    assert [(entry.name, int(entry.serial, 16)) for entry in entries] == [
        (name, each.serial_number) for name, each in zip(("a", "b"), made, strict=True)
    ]
    assert entries[0].days_left(NOW + timedelta(days=8)) == pytest.approx(2)


def test_a_damaged_record_is_told_and_nothing_is_signed(folder: Path, tmp_path: Path) -> None:
    (folder / "issued.jsonl").write_text('{"serial": "1"}\n')
    with pytest.raises(ConfigError, match=r"issued\.jsonl, line 1"):
        Authority(folder, None).issue("gate-1", tmp_path, NOW)
    assert not (tmp_path / "gate-1").exists()


def test_nothing_half_written_is_left_when_the_disk_is_full(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = Authority(folder, None)
    signer.issue("gate-1", tmp_path, NOW)
    before = {path.name: path.read_bytes() for path in (tmp_path / "gate-1").iterdir()}
    write = authority.write_file

    def full(path: Path, content: bytes, permissions: int) -> None:
        if path.name == "node.key":
            raise OSError(28, "No space left on device", str(path))
        write(path, content, permissions)

    monkeypatch.setattr(authority, "write_file", full)
    with pytest.raises(OSError, match="No space"):
        signer.issue("gate-1", tmp_path, NOW, renew=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "gate-1").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gate-1", "pki"]


def test_two_signers_at_once_lose_no_entry(folder: Path, tmp_path: Path) -> None:
    names = [f"gate-{number}" for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: Authority(folder, None).issue(name, tmp_path, NOW), names))
    assert sorted(entry.name for entry in read_record(folder)) == sorted(names)


def test_a_locked_key_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    init(tmp_path / "pki", "open sesame", NOW)
    assert b"ENCRYPTED" in (tmp_path / "pki" / "ca.key").read_bytes()
    with pytest.raises(ConfigError, match="set SIGHTLINE_CA_PASSPHRASE"):
        Authority(tmp_path / "pki", None)
    with pytest.raises(ConfigError, match="cannot be opened") as refused:
        Authority(tmp_path / "pki", "open barley")
    assert "barley" not in str(refused.value)
    assert Authority(tmp_path / "pki", "open sesame").issue("gate-1", tmp_path, NOW).exists()


def test_a_signers_certificate_is_for_signing_models_alone(folder: Path, tmp_path: Path) -> None:
    made = Authority(folder, None).issue("release", tmp_path, NOW, signer=True, passphrase="open sesame")
    issued = certificate(made / "signer.pem")
    assert usages(issued) == {ExtendedKeyUsageOID.CODE_SIGNING}
    assert issued.not_valid_after_utc == NOW + timedelta(days=90)
    assert sorted(path.name for path in made.iterdir()) == ["ca.pem", "signer.key", "signer.pem"]
    assert b"ENCRYPTED" in (made / "signer.key").read_bytes()
    assert mode(made / "signer.key") & 0o077 == 0
    assert [entry.kind for entry in read_record(folder)] == [authority.Kind.SIGNER]


def test_a_name_never_changes_between_signing_and_connecting(folder: Path, tmp_path: Path) -> None:
    opened = Authority(folder, None)
    opened.issue("gate-1", tmp_path, NOW)
    opened.issue("release", tmp_path, NOW, signer=True)
    with pytest.raises(ConfigError, match="gate-1: is a node's name"):
        opened.issue("gate-1", tmp_path, NOW, signer=True, renew=True)
    with pytest.raises(ConfigError, match="release: is a signer's name"):
        opened.issue("release", tmp_path, NOW, renew=True)
    with pytest.raises(ConfigError, match="give one of the two"):
        opened.issue("kafka", tmp_path, NOW, signer=True, hosts=["10.0.0.5"])
    assert opened.issue("release", tmp_path, NOW, signer=True, renew=True).exists()


def test_a_record_from_before_there_were_signers_is_read(folder: Path, tmp_path: Path) -> None:
    opened = Authority(folder, None)
    opened.issue("gate-1", tmp_path, NOW)
    opened.issue("kafka", tmp_path, NOW, hosts=["10.0.0.5"])
    lines = [json.loads(line) for line in (folder / "issued.jsonl").read_text().splitlines()]
    assert [line.pop("kind") for line in lines] == ["node", "broker"]
    (folder / "issued.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [entry.kind for entry in read_record(folder)] == [authority.Kind.NODE, authority.Kind.BROKER]


@pytest.mark.parametrize(("name", "let_in"), [("gate-1", True), ("release", False)])
def test_a_signers_certificate_opens_no_connection(tmp_path: Path, name: str, let_in: bool) -> None:
    now = datetime.now(UTC)  # OpenSSL has the machine's clock
    init(tmp_path / "pki", None, now)
    opened = Authority(tmp_path / "pki", None)
    broker = opened.issue("kafka", tmp_path, now, hosts=["127.0.0.1"])
    shown = opened.issue(name, tmp_path, now, signer=not let_in)
    stem = "node" if let_in else "signer"
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(broker / "ca.pem"))
    served.verify_mode = ssl.CERT_REQUIRED
    served.load_cert_chain(broker / "node.pem", broker / "node.key")
    dialled = ssl.create_default_context(cafile=str(broker / "ca.pem"))
    dialled.load_cert_chain(shown / f"{stem}.pem", shown / f"{stem}.key")
    if let_in:
        shake_hands(served, dialled)
    else:
        with pytest.raises(
            ssl.SSLCertVerificationError, match=r"unsuitable certificate purpose|unsupported certificate purpose"
        ):
            shake_hands(served, dialled)


def shake_hands(served: ssl.SSLContext, dialled: ssl.SSLContext) -> None:
    """A whole handshake in memory; raises what the server's side raises."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = served.wrap_bio(up, down, server_side=True)
    client = dialled.wrap_bio(down, up, server_hostname="127.0.0.1")
    for side in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert server.getpeercert()


def pki(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    command = [sys.executable, "-m", "sightline", "pki", *words]
    return subprocess.run(
        command, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_line_makes_shows_and_refuses(tmp_path: Path) -> None:
    made = pki(tmp_path, "init", SIGHTLINE_CA_PASSPHRASE="open sesame")
    assert (made.returncode, made.stderr) == (0, "")
    assert "sesame" not in made.stdout
    assert pki(tmp_path, "issue", "gate-1", SIGHTLINE_CA_PASSPHRASE="open sesame").returncode == 0
    assert "gate-1  node" in pki(tmp_path, "show").stdout
    refused = pki(tmp_path, "issue", "gate-1", SIGHTLINE_CA_PASSPHRASE="open sesame")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "error: gate-1: has a certificate of this authority: give --renew for a new one\n"
    rules = json.loads(pki(tmp_path, "acls", "gate-1", "--format", "json").stdout)
    assert {rule["principal"] for rule in rules} == {"User:gate-1"}


@pytest.mark.parametrize(
    "words", [("show",), ("issue", "gate-1"), ("acls", "gate-1", "--apply", "127.0.0.1:1"), ("acls", "a", "--take", "b=c")]
)
def test_a_folder_that_is_not_there_is_told_in_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    refused = pki(tmp_path, *words)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ")
    assert len(refused.stderr.splitlines()) == 1
