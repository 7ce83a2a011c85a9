"""The hook that a site can require: a signed statement about how this node booted.

``Attestor`` is the interface. A site that has hardware for it (a TPM's quote, a secure element) names a class of its own in
``models.attestation`` as MODULE:CLASS. ``SoftwareAttestor`` is an EXAMPLE and proves nothing against whoever is root on the
device: it is a program that reads what the kernel says of itself and signs it with a key that root can read. It shows what
changed on a device that nobody attacked: another kernel, other boot options, other code.
"""

import hashlib
import importlib
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

import sightline_contract
import sightline_edge
from sightline_contract.attestation import STATEMENT_TYPE, Statement, write_statement
from sightline_contract.errors import ConfigError
from sightline_contract.manifest import Envelope, Signature, encode_base64, pre_authentication_encoding, write_envelope
from sightline_edge.config import Tls

SOFTWARE = "software"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_COMMAND_LINE = Path("/proc/cmdline")
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class NodeIdentity:
    """Who states: the node's name, the files of its certificate and key, and the public key to which parts are sealed (PEM)."""

    node_id: str
    tls: Tls
    public_key: str | None = None


class Attestor(Protocol):
    """What makes statements. It is made once, with the node's identity, and may raise ConfigError then."""

    def __init__(self, identity: NodeIdentity) -> None:
        """Take up who states."""

    def statement(self, nonce: str, now_us: int) -> str:
        """JSON of an Envelope around a Statement that holds ``nonce``; raises a SightlineError where none can be made."""


class SoftwareAttestor:
    """An example: states what the kernel and the installed package say. Proves nothing against root."""

    def __init__(self, identity: NodeIdentity) -> None:
        """Read certificate and key; raises ConfigError."""
        self._identity = identity
        try:
            self._certificate = x509.load_pem_x509_certificate(identity.tls.certificate.read_bytes())
            key = load_pem_private_key(identity.tls.key.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"models.attestation: {identity.tls.certificate} or its key cannot be read ({error}): see 'sightline pki issue'"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError(f"models.attestation: {identity.tls.key} is no ECDSA key: see 'sightline pki issue'")
        self._key = key

    def statement(self, nonce: str, now_us: int) -> str:
        """Claims of this boot and of the code that runs, signed by the node's own key."""
        made = Statement(
            node_id=self._identity.node_id, nonce=nonce, stated_us=now_us, attestor=SOFTWARE, claims=self._claims()
        )
        payload = write_statement(made)
        signature = self._key.sign(pre_authentication_encoding(STATEMENT_TYPE, payload), ec.ECDSA(hashes.SHA256()))
        signed = Signature(sig=encode_base64(signature), certificate=self._certificate.public_bytes(Encoding.PEM).decode())
        return write_envelope(Envelope(payload=encode_base64(payload), payloadType=STATEMENT_TYPE, signatures=(signed,)))

    def _claims(self) -> dict[str, str]:
        claims = {
            "boot_id": _text(_BOOT_ID),
            "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
            "command_line": _digest(_text(_COMMAND_LINE)),
            "package": _package_digest(),
        }
        if self._identity.public_key is not None:
            # So the centre can tell that the key it seals to is this node's, and no neighbour's.
            claims["sealing_key"] = _digest(self._identity.public_key)
        return claims


def load_attestor(name: str, identity: NodeIdentity) -> Attestor:
    """The part that ``models.attestation`` names, 'software' or MODULE:CLASS; raises ConfigError."""
    if name == SOFTWARE:
        return SoftwareAttestor(identity)
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise ConfigError(f"models.attestation {name!r}: is neither {SOFTWARE!r} nor MODULE:CLASS")
    try:
        made = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"models.attestation {name!r}: cannot be loaded ({error}): check that it is installed") from error
    return cast(Attestor, made(identity))


@cache
def _package_digest() -> str:
    """Over names and contents of this product's modules on the device, as installed when it was first asked."""
    digest = hashlib.sha256()
    for package in (sightline_contract, sightline_edge):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{package.__name__}/{path.relative_to(root).as_posix()} {content}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return _UNKNOWN  # a container may hide it; the centre's policy decides
