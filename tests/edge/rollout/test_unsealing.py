"""Sealed parts: what one half seals the other opens, and nothing that was changed, cut or mixed."""

import hashlib
import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import SiteOfModels, make_site
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline_contract.errors import ConfigError, ModelError, TrustError
from sightline_contract.manifest import Part, Sealed
from sightline_contract.sealing import CHUNK_BYTES, MAGIC, SALT_BYTES, SEALED_PARTS, TAG_BYTES
from sightline_edge.rollout.unsealing import SealedModel, open_key, public_pem, unsealed, unwrap_key
from sightline_models.bundle import part_path
from sightline_models.sealing import new_content_key, seal, wrap_key

KEY = bytes(range(32))
WHOLE = CHUNK_BYTES + TAG_BYTES
HEADER = len(MAGIC) + SALT_BYTES


def part_of(content: bytes) -> Part:
    return Part(digest=f"sha256:{hashlib.sha256(content).hexdigest()}", bytes=len(content))


def sealed(content: bytes, key: bytes = KEY) -> bytes:
    target = io.BytesIO()
    seal(io.BytesIO(content), target, key, part_of(content).digest)
    return target.getvalue()


def sealed_part(content: bytes, stored: bytes) -> Part:
    told = part_of(stored)
    return part_of(content).model_copy(update={"sealed": Sealed(digest=told.digest, bytes=told.bytes)})


def opened(folder: Path, stored: bytes, content: bytes, key: bytes = KEY) -> bytes:
    """What is opened of ``stored``, which should be ``content``."""
    (folder / "engine.sealed").write_bytes(stored)
    return SealedModel(folder, {"engine": sealed_part(content, stored)}, key).read("engine")


def refused(folder: Path, stored: bytes, content: bytes, reason: str, key: bytes = KEY) -> None:
    with pytest.raises(TrustError, match=reason):
        opened(folder, stored, content, key)
    assert sorted(path.name for path in folder.iterdir()) == ["engine.sealed"]


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_what_was_sealed_is_opened_and_lies_nowhere(tmp_path: Path, size: int) -> None:
    content = bytes(number % 251 for number in range(size))
    stored = sealed(content)
    assert opened(tmp_path, stored, content) == content
    assert len(stored) == HEADER + size + TAG_BYTES * max(1, -(-size // CHUNK_BYTES))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine.sealed"]


def test_the_same_part_under_the_same_key_is_one_file_and_else_shares_no_byte_of_cipher() -> None:
    assert sealed(b"a" * 1000) == sealed(b"a" * 1000)
    others = (sealed(b"a" * 999 + b"b"), sealed(b"a" * 1000, bytes(32)))
    assert all(other[HEADER : HEADER + 32] != sealed(b"a" * 1000)[HEADER : HEADER + 32] for other in others)


@given(data=st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_changed_byte_of_a_sealed_part_is_let_through(tmp_path: Path, data: st.DataObject) -> None:
    content = b"engine " * 20_000
    stored = bytearray(sealed(content))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    refused(tmp_path, bytes(stored), content, "sealing: part 'engine'")


@given(size=st.integers(0, 3 * WHOLE + HEADER))
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_sealed_part_that_was_cut_off_anywhere_is_refused(tmp_path: Path, size: int) -> None:
    content = b"x" * (3 * CHUNK_BYTES + 100)
    refused(tmp_path, sealed(content)[:size], content, "sealing: part 'engine'")


def test_a_sealed_part_cut_between_two_chunks_is_noticed_before_its_digest_is(tmp_path: Path) -> None:
    content = b"x" * (3 * CHUNK_BYTES)
    refused(tmp_path, sealed(content)[: HEADER + 2 * WHOLE], content[: 2 * CHUNK_BYTES], "cut off .* at chunk 1")


def test_chunks_in_another_order_or_twice_are_refused(tmp_path: Path) -> None:
    content = b"".join(bytes([number]) * CHUNK_BYTES for number in range(3))
    stored = sealed(content)
    header, *chunks = stored[:HEADER], *(stored[HEADER + at * WHOLE : HEADER + (at + 1) * WHOLE] for at in range(3))
    swapped = content[CHUNK_BYTES : 2 * CHUNK_BYTES] + content[:CHUNK_BYTES] + content[2 * CHUNK_BYTES :]
    refused(tmp_path, header + chunks[1] + chunks[0] + chunks[2], swapped, "at chunk 0")
    refused(tmp_path, header + chunks[0] + chunks[0] + chunks[1] + chunks[2], content, "at chunk 1")
    refused(tmp_path, stored + chunks[2], content, "at chunk 2")


def test_a_chunk_of_another_sealed_part_is_refused(tmp_path: Path) -> None:
    ours, theirs = sealed(b"a" * 3 * CHUNK_BYTES), sealed(b"b" * 3 * CHUNK_BYTES)
    refused(
        tmp_path, ours[: HEADER + WHOLE] + theirs[HEADER + WHOLE :], b"a" * CHUNK_BYTES + b"b" * 2 * CHUNK_BYTES, "at chunk 1"
    )


def test_what_opens_and_is_not_what_the_manifest_names_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, sealed(b"bad engine"), b"the engine", "digest: part 'engine' has sha256:")
    refused(tmp_path, sealed(b"engine"), b"the engine", "digest: part 'engine' has 6 bytes and not 10")


def test_another_key_opens_nothing(tmp_path: Path) -> None:
    refused(tmp_path, sealed(b"engine"), b"engine", "sealed with another key", key=new_content_key())


def test_a_part_that_is_not_sealed_is_told(tmp_path: Path) -> None:
    refused(tmp_path, b"not sealed at all, and longer than a header" * 9, b"engine", "is no sealed part")


def test_a_part_larger_than_memory_allows_is_opened_chunk_by_chunk(tmp_path: Path) -> None:
    """A process that may have 64 MiB more than it has at the start sees that 256 MiB can be opened."""
    size = 256 * 1024**2
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)
    with (tmp_path / "large").open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    program = f"""
import resource
from pathlib import Path
from sightline_contract.manifest import Part
from sightline_edge.rollout.unsealing import unsealed
from sightline_models.sealing import seal
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 64 * 1024**2
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
with open("large", "rb") as source, open("sealed", "wb") as target:
    seal(source, target, bytes(32), "{digest}")
part = Part(digest="{digest}", bytes={size})
assert sum(map(len, unsealed(Path("sealed"), bytes(32), "engine", part))) == {size}
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_no_more_is_opened_than_the_manifest_says(tmp_path: Path) -> None:
    """Anybody can encrypt: a part that is endless costs the size of the one that was signed."""
    (tmp_path / "sealed").write_bytes(sealed(bytes(100 * CHUNK_BYTES)))
    chunks = unsealed(tmp_path / "sealed", KEY, "engine", part_of(bytes(2 * CHUNK_BYTES)))
    assert sum(len(next(chunks)) for _ in range(2)) == 2 * CHUNK_BYTES
    with pytest.raises(TrustError, match=r"digest: part 'engine' has \d+ bytes and not"):
        next(chunks)


def test_a_model_has_sealed_and_plain_files(tmp_path: Path) -> None:
    stored = sealed(b"the engine")
    (tmp_path / "engine.sealed").write_bytes(stored)
    (tmp_path / "card.yaml").write_bytes(b"name: tiny")
    model = SealedModel(tmp_path, {"engine": sealed_part(b"the engine", stored), "card.yaml": part_of(b"name: tiny")}, KEY)
    assert (model.read("engine"), model.read("card.yaml")) == (b"the engine", b"name: tiny")
    assert [model.has(name) for name in ("engine", "card.yaml", "thresholds.yaml")] == [True, True, False]
    assert (model.where("engine").name, model.where("card.yaml").name) == ("engine.sealed", "card.yaml")
    (tmp_path / "engine.sealed").unlink()
    with pytest.raises(TrustError, match="disk: part 'engine' cannot be read"):
        model.read("engine")
    (tmp_path / "card.yaml").unlink()
    with pytest.raises(ModelError, match=r"card\.yaml: cannot be read"):
        model.read("card.yaml")


# Keys


def test_the_nodes_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "models.key"
    made = open_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert public_pem(open_key(path)) == public_pem(made)
    assert [each.name for each in path.parent.iterdir()] == ["models.key"]
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        open_key(path)


def test_a_key_that_a_service_manager_hands_over_is_roots_with_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd gives the node's user access by a list, which shows as mode 0440 of root's file."""
    path = tmp_path / "models.key"
    made = open_key(path)
    path.chmod(0o440)
    if path.stat().st_uid != 0:
        pytest.skip("only root can make a file of root's")
    with pytest.raises(ConfigError, match="chmod 600"):
        open_key(path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert public_pem(open_key(path)) == public_pem(made)
    path.chmod(0o444)
    with pytest.raises(ConfigError, match="chmod 600"):
        open_key(path)


def test_a_file_that_is_no_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "models.key").write_text("nothing")
    (tmp_path / "models.key").chmod(0o600)
    with pytest.raises(ConfigError, match="is no unlocked private key in PEM"):
        open_key(tmp_path / "models.key")


def test_a_wrapped_key_opens_on_its_node_alone(tmp_path: Path) -> None:
    gate, tower = open_key(tmp_path / "gate.key"), open_key(tmp_path / "tower.key")
    wrapped = wrap_key(KEY, public_pem(gate), "gate")
    assert unwrap_key(wrapped, gate, "gate") == KEY
    assert wrapped != wrap_key(KEY, public_pem(gate), "gate")
    for key, node in ((tower, "tower"), (tower, "gate"), (gate, "tower")):
        with pytest.raises(TrustError, match="the wrapped key is not for this node's key"):
            unwrap_key(wrapped, key, node)
    for damaged in (wrapped[:-4], wrapped[:-8] + "AAAAAAA=", "not base64", ""):
        with pytest.raises(TrustError):
            unwrap_key(damaged, gate, "gate")


def test_a_key_of_another_length_is_refused(tmp_path: Path) -> None:
    gate = open_key(tmp_path / "gate.key")
    with pytest.raises(TrustError, match="has 16 bytes and not 32"):
        unwrap_key(wrap_key(bytes(16), public_pem(gate), "gate"), gate, "gate")


def test_a_node_that_announces_no_key_of_the_curve_is_told() -> None:
    other = ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(TrustError, match="gate: announces a public key that is not of the curve P-256"):
        wrap_key(KEY, other.decode(), "gate")
    with pytest.raises(TrustError, match="gate: announces no public key"):
        wrap_key(KEY, "nothing", "gate")


def test_a_sealed_bundle_stores_what_was_trained_and_filmed_encrypted(tmp_path: Path) -> None:
    site: SiteOfModels = make_site(tmp_path / "site")
    manifest = site.bundle(5, content_key=KEY)
    assert {name for name, part in manifest.parts.items() if part.sealed} == SEALED_PARTS & manifest.parts.keys()
    stored = [path.read_bytes() for path in (site.store / "sha256").iterdir()]
    assert not any(b"weights" in content or b"frames" in content for content in stored)
    for name, part in manifest.parts.items():
        if part.sealed:
            (tmp_path / f"{name}.sealed").write_bytes(part_path(site.store, part.fetched.digest).read_bytes())
    model = SealedModel(tmp_path, manifest.parts, KEY)
    assert (model.read("model.onnx"), model.read("golden.npz")) == (b"weights" * 1000, b"frames")
