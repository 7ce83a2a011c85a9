"""Opening sealed parts: the node's half of ``sightline_contract/sealing.py``.

The node has a key pair for this purpose alone, made here at its first start: a key that signs (TLS) is never one that decrypts
(NIST SP 800-57 part 1, 5.2), and the private half never leaves the device. The content's key comes wrapped to it by HPKE (RFC
9180, base mode: DHKEM P-256, HKDF-SHA256, AES-256-GCM) and bound to the node's name.

Nothing that was opened is believed for being opened: anybody can encrypt to a public key. What it must be is in the signed
manifest, and the target's name appears only when size and digest hold.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

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
from sightline_contract.sealing import CHUNK_BYTES, KEY_BYTES, MAGIC, SALT_BYTES, TAG_BYTES, chunk_nonce, wrap_info
from sightline_edge.disk import sync_folder
from sightline_edge.rollout.trusted import check_part

_SUITE = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def open_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The node's key to which keys of parts are wrapped, made where it is missing; raises ConfigError."""
    try:
        if not path.exists():
            _make_key(path)
        content, mode = path.read_bytes(), stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read or made ({error.strerror}): check the path and its permissions") from error
    if mode & 0o077:
        raise ConfigError(f"{path}: others may read it (mode {mode:04o}): chmod 600 {path}")
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
            "sealing: the wrapped key is not for this node's key: start the rollout again for this node"
        ) from error
    if len(content_key) != KEY_BYTES:
        raise TrustError(f"sealing: the wrapped key has {len(content_key)} bytes and not {KEY_BYTES}")
    return content_key


def unseal(source: Path, target: Path, content_key: bytes, part: Part) -> None:
    """Write the content of the sealed file ``source`` to ``target``, readable by its owner alone; raises TrustError.

    ``target`` appears whole, with the digest and size of ``part``, or not at all. One chunk is in memory. A node that
    must not have opened parts on its disk names a target in a file system in memory.
    """
    aside = target.with_name(f".{target.name}.opening")
    aside.unlink(missing_ok=True)  # what a broken run left
    digest, size = hashlib.sha256(), 0
    try:
        with source.open("rb") as sealed, os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for chunk in _opened(sealed, content_key, target.name):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            file.flush()
            os.fsync(file.fileno())
        check_part(target.name, part, size, f"sha256:{digest.hexdigest()}")
        aside.replace(target)
        sync_folder(target.parent)
    finally:
        aside.unlink(missing_ok=True)


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
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    sync_folder(path.parent)
