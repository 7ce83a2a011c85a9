"""Opening sealed parts: the node's half of ``sightline_contract/sealing.py``.

The node has a key pair for this purpose alone, made here at its first start: a key that signs (TLS) is never one that decrypts
(NIST SP 800-57 part 1, 5.2), and the private half never leaves the device. The content's key comes wrapped to it by HPKE (RFC
9180, base mode: DHKEM P-256, HKDF-SHA256, AES-256-GCM) and bound to the node's name.

Invariants
- What is opened is in memory alone, while a model is loaded or checked; on the disk is what was fetched.
- Nothing that was opened is believed for being opened: anybody can encrypt to a public key. What it must be is in the signed
  manifest.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from sightline_contract.errors import ConfigError, TrustError
from sightline_contract.manifest import Part, decode_base64
from sightline_contract.model_files import ModelFolder
from sightline_contract.sealing import CHUNK_BYTES, KEY_BYTES, MAGIC, SALT_BYTES, TAG_BYTES, chunk_nonce, wrap_info
from sightline_edge.disk import replace_file, require_private
from sightline_edge.rollout.trusted import check_part

_SUITE = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_SEALED: Final = ".sealed"


def open_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The node's key to which keys of parts are wrapped, made where it is missing; raises ConfigError."""
    try:
        if not path.exists():
            _make_key(path)
        content = path.read_bytes()
        require_private(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read or made ({error.strerror}): check the path and its permissions") from error
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: is no unlocked private key in PEM: delete it, and the node makes a new one") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"{path}: is no key of the curve P-256: delete it, and the node makes a new one")
    return key


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """The public half, as ``ModelStatus.public_key`` announces it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def unwrap_key(wrapped: str, key: ec.EllipticCurvePrivateKey, node_id: str) -> bytes:
    """The content key that was wrapped to ``key`` for the node ``node_id``; raises TrustError."""
    try:
        content_key = _SUITE.decrypt(decode_base64(wrapped, "wrapped key"), key, wrap_info(node_id))
    except (InvalidTag, ValueError) as error:
        raise TrustError(
            "sealing: the wrapped key is not for this node's key, which may be a new one: "
            "run 'sightline models rollout keys' at the centre"
        ) from error
    if len(content_key) != KEY_BYTES:
        raise TrustError(f"sealing: the wrapped key has {len(content_key)} bytes and not {KEY_BYTES}")
    return content_key


def file_name(name: str, part: Part) -> str:
    """The name of a part's file in its model's folder, which tells that what is there is sealed."""
    return name + _SEALED if part.sealed else name


def unsealed(source: Path, content_key: bytes, name: str, part: Part) -> Iterator[bytes]:
    """The content of the sealed file ``source``, chunk by chunk: to be believed once this ends.

    Raises TrustError where it is not what ``part`` says of its content, or cannot be read. One chunk is in memory.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with source.open("rb") as sealed:
            for chunk in _opened(sealed, content_key, name):
                digest.update(chunk)
                size += len(chunk)
                if size > part.bytes:
                    break
                yield chunk
    except OSError as error:
        raise TrustError(f"disk: part {name!r} cannot be read ({error.strerror}): mend the disk") from error
    check_part(name, part, size, f"sha256:{digest.hexdigest()}")


class SealedModel:
    """A model's files (ModelFiles) where some of its parts are sealed: these are opened into memory each time they are read."""

    def __init__(self, folder: Path, parts: Mapping[str, Part], content_key: bytes) -> None:
        """``folder`` has the files under the names that ``file_name`` gives them."""
        self._plain = ModelFolder(folder)
        self._parts = parts
        self._content_key = content_key

    def has(self, name: str) -> bool:
        """Whether the model has such a part."""
        return name in self._parts

    def read(self, name: str) -> bytes:
        """The content of a part; raises TrustError where it cannot be opened, or is not what was signed."""
        part = self._parts[name]
        if part.sealed is None:
            return self._plain.read(name)
        content = io.BytesIO()  # gives its content without a copy
        for chunk in unsealed(self.where(name), self._content_key, name, part):
            content.write(chunk)
        return content.getvalue()

    def where(self, name: str) -> Path:
        """Where the part lies, sealed or not."""
        part = self._parts.get(name)
        return self._plain.where(file_name(name, part) if part else name)


def _opened(sealed: IO[bytes], content_key: bytes, name: str) -> Iterator[bytes]:
    """Chunks of content, each of them authentic; that the last one came is known only when this ends."""
    header = sealed.read(len(MAGIC) + SALT_BYTES)
    if len(header) != len(MAGIC) + SALT_BYTES or not header.startswith(MAGIC):
        raise TrustError(f"sealing: part {name!r} is no sealed part: fetch it again")
    part_key = HKDF(hashes.SHA256(), KEY_BYTES, salt=header[len(MAGIC) :], info=MAGIC).derive(content_key)
    cipher, ordinal = AESGCM(part_key), 0
    chunk = sealed.read(CHUNK_BYTES + TAG_BYTES)
    while True:
        following = sealed.read(CHUNK_BYTES + TAG_BYTES)
        try:
            content = cipher.decrypt(chunk_nonce(ordinal, last=not following), chunk, None)
        except (InvalidTag, ValueError) as error:
            raise TrustError(
                f"sealing: part {name!r} is damaged, cut off or sealed with another key, at chunk {ordinal}: fetch it again"
            ) from error
        if not content and ordinal:
            raise TrustError(f"sealing: part {name!r} ends in an empty chunk: fetch it again")
        yield content
        if not following:
            return
        chunk, ordinal = following, ordinal + 1


def _make_key(path: Path) -> None:
    secret = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, secret, 0o600)
