"""Building a bundle: parts by digest, whole or not at all; signing it; the commands."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bundles import CPU, DAY_US, GPU, NOW_US, SiteOfModels, make_site, model_folder

from sightline_contract.errors import ConfigError, ModelError, StorageError, TrustError
from sightline_contract.manifest import MODEL_PART, Thresholds, write_manifest
from sightline_edge.security.authority import Authority, init
from sightline_models import bundle
from sightline_models.bundle import build_bundle, part_path
from sightline_models.fetch import sha256_of
from sightline_models.sealing import content_key_in
from sightline_models.signing import Signer


@pytest.fixture
def site(tmp_path: Path) -> SiteOfModels:
    return make_site(tmp_path)


def stored(site: SiteOfModels) -> list[str]:
    return sorted(path.name for path in (site.store / "sha256").iterdir())


def test_every_part_lies_under_the_digest_of_its_content(site: SiteOfModels) -> None:
    manifest = site.bundle(1, target=GPU)
    assert sorted(manifest.parts) == ["card.yaml", "engine", "golden.npz", "model.onnx", "thresholds.yaml"]
    assert len(stored(site)) == 5
    for part in manifest.parts.values():
        path = part_path(site.store, part.digest)
        assert (sha256_of(path), path.stat().st_size) == (part.digest, part.bytes)


def test_bundles_share_what_they_have_in_common(site: SiteOfModels) -> None:
    before = site.bundle(1)
    dates = {path.name: path.stat().st_mtime_ns for path in (site.store / "sha256").iterdir()}
    after = site.bundle(2, thresholds=Thresholds(min_score=0.4))
    assert {name for name, part in after.parts.items() if part != before.parts[name]} == {"thresholds.yaml"}
    assert len(stored(site)) == 5
    assert all((site.store / "sha256" / name).stat().st_mtime_ns == date for name, date in dates.items())


def test_a_part_that_was_damaged_in_the_store_is_mended(site: SiteOfModels) -> None:
    path = part_path(site.store, site.bundle(1).parts[MODEL_PART].digest)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    site.bundle(2)
    assert path.read_bytes() == whole


def test_a_store_that_refuses_keeps_no_half_part(site: SiteOfModels, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle.os, "fsync", full)
    with pytest.raises(StorageError, match=r"the store refuses a part \(No space left on device\)"):
        site.bundle(1)
    assert stored(site) == []


def test_a_model_that_is_not_its_cards_is_refused(site: SiteOfModels) -> None:
    folder = model_folder(site.folder / "other", digest=f"sha256:{'0' * 64}")
    (folder / "clip.npz").write_bytes(b"frames")
    with pytest.raises(ModelError, match="and not the card's"):
        build_bundle(
            folder, target=CPU, golden=folder / "clip.npz", thresholds=Thresholds(), store=site.store, number=1,
            issued_us=NOW_US, expires_us=NOW_US + DAY_US,
        )  # fmt: skip


def test_an_engine_that_is_needed_and_missing_is_told(site: SiteOfModels) -> None:
    with pytest.raises(ModelError, match=r"makes no bundle for tensorrt-.*: the manifest has no part engine"):
        site.bundle(1, target=GPU, engine=None)
    with pytest.raises(ModelError, match="is not there"):
        site.bundle(1, golden=site.folder / "missing.npz")


def test_the_same_bundle_under_the_same_key_is_the_same_manifest(site: SiteOfModels) -> None:
    key = content_key_in(site.folder / "content.key")
    assert content_key_in(site.folder / "content.key") == key
    assert write_manifest(site.bundle(1, content_key=key)) == write_manifest(site.bundle(1, content_key=key))


# Signing


def test_nothing_is_signed_that_outlives_the_signers_certificate(site: SiteOfModels) -> None:
    with pytest.raises(TrustError, match="give an earlier end, or renew the certificate"):
        site.signer().sign(site.bundle(1, expires_us=NOW_US + 91 * DAY_US))
    with pytest.raises(TrustError, match="give an earlier end"):
        site.signer().sign(site.bundle(1, issued_us=NOW_US - DAY_US))


def test_a_nodes_certificate_makes_no_signer(site: SiteOfModels) -> None:
    with pytest.raises(ConfigError, match="is not a certificate for signing models alone"):
        Signer(site.folder / "gate" / "node.pem", site.folder / "gate" / "node.key", None)


def test_a_key_of_another_certificate_or_that_others_may_read_makes_no_signer(site: SiteOfModels) -> None:
    other = site.issue("other", signer=True)
    with pytest.raises(ConfigError, match="does not belong to"):
        Signer(site.folder / "release" / "signer.pem", other / "signer.key", None)
    (other / "signer.key").chmod(0o644)
    with pytest.raises(ConfigError, match="others may read it"):
        Signer(other / "signer.pem", other / "signer.key", None)


def test_a_locked_key_signs_with_its_passphrase_only(site: SiteOfModels) -> None:
    folder = site.issue("locked", signer=True, passphrase="open sesame")
    with pytest.raises(ConfigError, match="set SIGHTLINE_SIGNER_PASSPHRASE"):
        Signer(folder / "signer.pem", folder / "signer.key", None)
    with pytest.raises(ConfigError, match="cannot be opened") as refused:
        Signer(folder / "signer.pem", folder / "signer.key", "open barley")
    assert "barley" not in str(refused.value)
    assert Signer(folder / "signer.pem", folder / "signer.key", "open sesame").sign(site.bundle(1)).signatures


# The commands


def models(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sightline", "models", *words]
    return subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=120, check=False)


def test_the_commands_sign_and_show_and_tell_a_changed_envelope(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    init(tmp_path / "pki", None, now)
    Authority(tmp_path / "pki", None).issue("release", tmp_path, now, signer=True)
    model_folder(tmp_path / "model")
    (tmp_path / "clip.npz").write_bytes(b"frames")
    words = ("bundle", "model", "--target", str(CPU), "--golden", "clip.npz", "--store", "store", "--seal", "content.key")
    words += ("--signer", "release/signer.pem", "--key", "release/signer.key", "--number", "3")
    made = models(tmp_path, *words)
    assert (made.returncode, made.stdout, made.stderr) == (0, "store/tiny-1-3.json\n", "")
    assert (tmp_path / "content.key").stat().st_mode & 0o077 == 0
    shown = models(tmp_path, "inspect", "store/tiny-1-3.json", "--trust", "pki/ca.pem").stdout
    assert "number     3\n" in shown
    assert shown.endswith("signed     by release, good\n")
    text = (tmp_path / "store" / "tiny-1-3.json").read_text()
    (tmp_path / "changed.json").write_text(text.replace('"sig":"ME', '"sig":"MF'))
    told = models(tmp_path, "inspect", "changed.json", "--trust", "pki/ca.pem")
    assert told.returncode == 1
    assert told.stderr.startswith("error: ")
    assert len(told.stderr.splitlines()) == 1
    shutil.rmtree(tmp_path / "store")
    assert "is no duration" in models(tmp_path, *words, "--expires", "soon").stderr
    assert not (tmp_path / "store").exists()
