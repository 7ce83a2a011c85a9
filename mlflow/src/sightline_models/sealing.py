"""Sealing parts, and wrapping their key to nodes: the centre's half of ``sightline_contract/sealing.py``.

A content key belongs to a model version: one sealed file serves every node and both manifests of a rollout, and only the
wrapped key is each node's own. Sealing is deterministic: the salt follows from key and content, so that the same part under
the same key is the same file and is stored once. A nonce still never comes twice with different content under one key.
"""

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import IO

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sightline_contract.errors import ConfigError, TrustError
from sightline_contract.manifest import decode_base64, encode_base64
from sightline_contract.sealing import CHUNK_BYTES, KEY_BYTES, MAGIC, chunk_nonce, wrap_info
from sightline_models.private_file import read_private, write_private

_SUITE = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def new_content_key() -> bytes:
    """A key of 256 bits from the system's generator."""
    return secrets.token_bytes(KEY_BYTES)


def content_key_in(path: Path) -> bytes:
    """The content key that is kept in the file ``path``, made where it is missing; raises ConfigError."""
    if not path.exists():
        write_private(path, encode_base64(new_content_key()).encode() + b"\n")
    return read_content_key(path)


def read_content_key(path: Path) -> bytes:
    """The content key in the file ``path``; raises ConfigError."""
    try:
        key = decode_base64(read_private(path).decode("ascii").strip(), "content key")
    except (TrustError, ValueError) as error:
        raise ConfigError(f"{path}: is no content key: name a file that is not there yet, to make one") from error
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path}: has a key of {len(key)} bytes and not {KEY_BYTES}: name a file that is not there yet")
    return key


def content_key_digest(content_key: bytes) -> str:
    """What tells one content key from another and says nothing of it: it has 256 bits by chance, so nobody guesses it."""
    return f"sha256:{hashlib.sha256(b'sightline content key digest 1 ' + content_key).hexdigest()}"


def wrap_key(content_key: bytes, public_key_pem: str, node_id: str) -> str:
    """``content_key`` encrypted to a node's announced public key, base64; raises TrustError where that is none of P-256."""
    try:
        key = load_pem_public_key(public_key_pem.encode())
    except ValueError as error:
        raise TrustError(f"{node_id}: announces no public key in PEM: look at the node's models.key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise TrustError(f"{node_id}: announces a public key that is not of the curve P-256: look at the node's models.key")
    return encode_base64(_SUITE.encrypt(content_key, key, wrap_info(node_id)))


def seal(source: IO[bytes], target: IO[bytes], content_key: bytes, digest: str) -> None:
    """Encrypt ``source``, whose digest is ``digest``, into ``target``; one chunk is in memory."""
    salt = hmac.digest(content_key, b"sightline salt 1 " + digest.encode(), "sha256")
    cipher = AESGCM(HKDF(hashes.SHA256(), KEY_BYTES, salt=salt, info=MAGIC).derive(content_key))
    target.write(MAGIC + salt)
    chunk, ordinal = source.read(CHUNK_BYTES), 0
    while True:
        following = source.read(CHUNK_BYTES)
        target.write(cipher.encrypt(chunk_nonce(ordinal, last=not following), chunk, None))
        if not following:
            return
        chunk, ordinal = following, ordinal + 1
