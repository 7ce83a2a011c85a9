"""The form of a sealed part, and of its wrapped key: what both who seals and who opens must know. No cryptography here.

A sealed part is ``MAGIC``, a salt, then the content in chunks of ``CHUNK_BYTES``, each encrypted with AES-256-GCM and followed
by its tag. The last chunk may be shorter, and is empty only where the content is. The part's own key is HKDF-SHA256 of the
bundle's content key and the salt. A chunk's nonce is its ordinal and a byte that is 1 for the last chunk alone: a chunk that
is missing, moved, repeated or cut off is noticed where it happens, with one chunk in memory. No nonce comes twice under a key,
since every salt makes another one.

Sources: Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance" (CRYPTO
2015), STREAM; the age file format (C2SP, age.md), whose payload is built so; RFC 5869 (HKDF); RFC 9180 (HPKE).
"""

import hashlib
from typing import Final

from sightline_contract.manifest import ENGINE_PART, GOLDEN_PART, MODEL_PART

MAGIC: Final = b"sightline seal 1"
SALT_BYTES: Final = 32
KEY_BYTES: Final = 32
CHUNK_BYTES: Final = 64 * 1024
TAG_BYTES: Final = 16

# Sealed where a bundle is: what was trained, and pictures that may show people. Card and thresholds stay readable.
SEALED_PARTS: Final = frozenset({ENGINE_PART, MODEL_PART, GOLDEN_PART})


def chunk_nonce(ordinal: int, *, last: bool) -> bytes:
    """The 12 bytes of a chunk's nonce."""
    return ordinal.to_bytes(11, "big") + bytes([last])


def key_name(public_key: str) -> str:
    """The name of a node's announced public key (PEM), as the claim ``sealing_key`` of its statements has it."""
    return f"sha256:{hashlib.sha256(public_key.encode()).hexdigest()}"


def wrap_info(node_id: str) -> bytes:
    """What a wrapped key is bound to, HPKE's ``info``: its purpose, and the node."""
    return b"sightline content key 1 " + node_id.encode()
