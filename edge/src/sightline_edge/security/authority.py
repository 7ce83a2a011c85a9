"""The certificate authority of an installation: who is a node of ours, and who is a broker.

Trust model. One private authority signs every certificate; brokers and nodes trust it and nothing else, no public authority
included. A certificate's common name is the principal that brokers authorise (Kafka ``User:NAME``, MQTT user ``NAME``), so a
name is given out once: to give it again takes ``renew``. A node's certificate is for clients only (EKU clientAuth): whoever
takes a device cannot pose as a broker. A broker's is for both, because a Kafka broker is a client of its controller and its
peers; its name is therefore a Kafka super user's and no node's. A signer's is for signing models alone (EKU codeSigning): it
opens no connection, and what a node or broker signs is no model. Whoever holds ``ca.key`` can become anybody: keep the folder
on a machine that no camera reaches, with a passphrase (``SIGHTLINE_CA_PASSPHRASE``). The key of a node is made here and
carried to the device by the operator, over a channel that they trust.

There is no revocation list: Kafka and librdkafka would not ask for one on their own. A lost device is shut out by taking its
entries from the brokers (``sightline pki acls NODE --remove BOOTSTRAP``), and certificates end after about a year.

Invariants: ``issued.jsonl`` names every certificate before its files appear, and only grows. Files are written whole under
another name, then renamed. Private keys are readable by their owner alone. Nothing is overwritten unless renewal is asked.

Sources: RFC 5280 (serials of at most 20 octets, 4.1.2.2; key usage, 4.2.1.3; basic constraints, 4.2.1.9; EKU, 4.2.1.12),
RFC 8446 (ECDSA P-256 is a signature that every TLS 1.3 peer must know, 9.1).
"""

import fcntl
import ipaddress
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sightline_contract.errors import ConfigError
from sightline_edge.disk import replace_file, sync_folder, write_file

PASSPHRASE_VARIABLE = "SIGHTLINE_CA_PASSPHRASE"  # noqa: S105 - the variable's name, not its value
SIGNER_PASSPHRASE_VARIABLE = "SIGHTLINE_SIGNER_PASSPHRASE"  # noqa: S105
DEFAULT_CA_YEARS = 10
DEFAULT_DAYS = 397  # the longest that public authorities gave a server: a year, and a month to renew in

# Refused serials must reach every node before a stolen key is harmless; its certificate's end needs no one.
DEFAULT_SIGNER_DAYS = 90

_CA_CERTIFICATE, _CA_KEY, _RECORD = "ca.pem", "ca.key", "issued.jsonl"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Kafka calls whoever shows no certificate so: a certificate of this name would blur the two.
_RESERVED = "ANONYMOUS"
# A device without a battery-backed clock may be behind by so much when it first connects.
_CLOCK_SLACK = timedelta(hours=1)


class Kind(StrEnum):
    """What a certificate is for."""

    NODE = "node"
    BROKER = "broker"
    SIGNER = "signer"


_USAGES = {
    Kind.NODE: [ExtendedKeyUsageOID.CLIENT_AUTH],
    Kind.BROKER: [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH],
    Kind.SIGNER: [ExtendedKeyUsageOID.CODE_SIGNING],
}


@dataclass(frozen=True)
class Issued:
    """One certificate of the record. Times are UTC, ISO 8601; ``serial`` is hexadecimal, ``hosts`` are a broker's."""

    serial: str
    name: str
    not_before: str
    not_after: str
    hosts: tuple[str, ...] = ()
    kind: Kind = Kind.NODE

    def days_left(self, now: datetime) -> float:
        """Days until it ends; negative when it has."""
        return (datetime.fromisoformat(self.not_after) - now) / timedelta(days=1)


def init(folder: Path, passphrase: str | None, now: datetime, years: float = DEFAULT_CA_YEARS) -> Path:
    """Make a new authority in ``folder``, which must not exist or be empty; returns its certificate. Raises ConfigError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: is there already and is not overwritten: choose another folder")
    if years <= 0:
        raise ConfigError(f"--years {years:g}: must be more than 0")
    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject(f"Sightline authority {x509.random_serial_number() % 16**8:08x}")
    certificate = (
        _builder(name, name, key.public_key(), x509.random_serial_number(), now, timedelta(days=365.25 * years))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = {
        _CA_CERTIFICATE: (certificate.public_bytes(Encoding.PEM), 0o644),
        _CA_KEY: (_private_bytes(key, passphrase), 0o600),
        _RECORD: (b"", 0o600),
    }
    if folder.exists():
        folder.rmdir()  # it is empty
    _publish_folder(folder, files)
    return folder / _CA_CERTIFICATE


class Authority:
    """An authority's folder, opened to sign."""

    def __init__(self, folder: Path, passphrase: str | None) -> None:
        """Read certificate and key; raises ConfigError."""
        self._folder = folder
        self._ca_pem = _read(folder / _CA_CERTIFICATE, "make it with 'sightline pki init'")
        self._certificate = x509.load_pem_x509_certificate(self._ca_pem)
        self._key = _load_key(folder / _CA_KEY, passphrase)

    def issue(
        self,
        name: str,
        out: Path,
        now: datetime,
        *,
        days: float | None = None,
        hosts: Sequence[str] = (),
        signer: bool = False,
        passphrase: str | None = None,
        renew: bool = False,
    ) -> Path:
        """Write ``out/NAME/{node.pem,node.key,ca.pem}`` and return that folder; raises ConfigError.

        With ``hosts``, names or addresses under which clients reach it, the certificate is a broker's, and ``keystore.pem``
        has key and certificate in one file, as a Kafka broker reads them. A renewal keeps the hosts unless others are given.
        With ``signer`` it is for signing models: ``{signer.pem,signer.key,ca.pem}``, the key locked with ``passphrase``. What a
        name is, it stays. ``days`` are DEFAULT_DAYS or DEFAULT_SIGNER_DAYS where none are given.
        """
        if signer and hosts:
            raise ConfigError(f"{name}: --server is a broker's and --signer signs models: give one of the two")
        days = days if days is not None else DEFAULT_SIGNER_DAYS if signer else DEFAULT_DAYS
        self._check(name, now, days)
        folder = out / name
        with _locked(self._folder):
            record = read_record(self._folder)
            earlier = [entry for entry in record if entry.name == name]
            if not renew and earlier:
                raise ConfigError(f"{name}: has a certificate of this authority: give --renew for a new one")
            if not renew and folder.exists():
                raise ConfigError(f"{folder}: is there already and is not overwritten: choose another --out")
            # A name is a user at the brokers: one that signs models must not become one, nor the other way round.
            if earlier and (earlier[-1].kind is Kind.SIGNER) != signer:
                raise ConfigError(f"{name}: is a {earlier[-1].kind}'s name: renew it as that, or choose another name")
            hosts = hosts or (earlier[-1].hosts if earlier else ())
            kind = Kind.SIGNER if signer else Kind.BROKER if hosts else Kind.NODE
            taken = {entry.serial for entry in record}
            files, entry = self._sign(name, now, days, hosts, taken, kind, passphrase)
            _append(self._folder / _RECORD, entry)
            _publish_folder(folder, files)
        return folder

    def _check(self, name: str, now: datetime, days: float) -> None:
        check_name(name)
        if days <= 0:
            raise ConfigError(f"--days {days:g}: must be more than 0")
        left = (self._certificate.not_valid_after_utc - now) / timedelta(days=1)
        if left < days:
            raise ConfigError(
                f"{self._folder / _CA_CERTIFICATE}: the authority ends in {left:.0f} days: give fewer --days, or make a new one"
            )

    def _sign(
        self,
        name: str,
        now: datetime,
        days: float,
        hosts: Sequence[str],
        taken: set[str],
        kind: Kind,
        passphrase: str | None,
    ) -> tuple[dict[str, tuple[bytes, int]], Issued]:
        """The files of a new certificate with their modes, and its entry for the record."""
        serial = next(number for number in iter(x509.random_serial_number, None) if f"{number:x}" not in taken)
        key = ec.generate_private_key(ec.SECP256R1())
        signer = self._key.public_key()
        builder = (
            _builder(_subject(name), self._certificate.subject, key.public_key(), serial, now, timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_USAGES[kind]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        pem, secret = certificate.public_bytes(Encoding.PEM), _private_bytes(key, passphrase if kind is Kind.SIGNER else None)
        stem = "signer" if kind is Kind.SIGNER else "node"
        files = {f"{stem}.pem": (pem, 0o644), f"{stem}.key": (secret, 0o600), _CA_CERTIFICATE: (self._ca_pem, 0o644)}
        if hosts:
            files["keystore.pem"] = (secret + pem, 0o600)
        validity = (certificate.not_valid_before_utc.isoformat(), certificate.not_valid_after_utc.isoformat())
        return files, Issued(f"{serial:x}", name, *validity, tuple(hosts), kind)


def read_record(folder: Path) -> list[Issued]:
    """Every certificate that the authority in ``folder`` signed, oldest first. Raises ConfigError."""
    path = folder / _RECORD
    lines = _read(path, "make it with 'sightline pki init'").decode(errors="replace").splitlines()
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entries.append(_entry(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{path}, line {number}: is no entry of the record: restore the file from a copy") from error
    return entries


def _entry(values: Mapping[str, Any]) -> Issued:
    hosts = tuple(values["hosts"])
    # Records before there were signers name no kind.
    kind = Kind(values.get("kind", Kind.BROKER if hosts else Kind.NODE))
    return Issued(**{**values, "hosts": hosts, "kind": kind})


def check_name(name: str) -> None:
    """Raise ConfigError unless ``name`` can be a user at the brokers: it stands in rules, topics and consumer groups."""
    if not _NAME.fullmatch(name) or name == _RESERVED:
        raise ConfigError(f"{name!r}: is no name of a node: take letters, digits, '.', '_' and '-', at most 64")


def passphrase_from_environment() -> str | None:
    """The passphrase of the authority's key; None where there is none. It is never an option: ``ps`` shows those."""
    return os.environ.get(PASSPHRASE_VARIABLE) or None


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, serial: int, now: datetime, validity: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before((now - _CLOCK_SLACK).astimezone(UTC))
        .not_valid_after((now + validity).astimezone(UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise ConfigError(f"--server {host}: is neither an address nor a host name in ASCII") from error


def _private_bytes(key: ec.EllipticCurvePrivateKey, passphrase: str | None) -> bytes:
    """PKCS 8, which is the form that Java reads, too."""
    lock: KeySerializationEncryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)


def _load_key(path: Path, passphrase: str | None) -> ec.EllipticCurvePrivateKey:
    content = _read(path, "make it with 'sightline pki init'")
    locked = b"ENCRYPTED" in content
    if locked and passphrase is None:
        raise ConfigError(f"{path}: is locked: set {PASSPHRASE_VARIABLE}")
    try:
        key = load_pem_private_key(content, passphrase.encode() if passphrase and locked else None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: cannot be opened: check {PASSPHRASE_VARIABLE}, or restore the file from a copy") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path}: is no ECDSA key: give the folder of 'sightline pki init'")
    return key


def _read(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): {remedy}") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One signer at a time, so that a name or a serial is not given twice."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _append(path: Path, entry: Issued) -> None:
    """Add a line to the record by a whole new file: a power cut leaves the old one or the new one."""
    replace_file(path, path.read_bytes() + json.dumps(asdict(entry)).encode() + b"\n", 0o600)


def _publish_folder(folder: Path, files: dict[str, tuple[bytes, int]]) -> None:
    """Make ``folder`` with ``files``, or put it in the place of the one that is there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))  # mode 0700
    try:
        for name, (content, mode) in files.items():
            write_file(aside / name, content, mode)
        sync_folder(aside)
        if folder.exists():
            old = aside.with_name(f"{aside.name}.old")
            folder.rename(old)
            aside.rename(folder)
            shutil.rmtree(old)
        else:
            aside.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
