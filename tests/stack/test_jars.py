"""Pinned jars: fetched once, verified, never half there."""

import shutil
from pathlib import Path

import pytest

from sightline.jar_lock import ROOTS, read_lock
from sightline.jars import GROUPS, fetch_jars, missing_jars
from sightline_contract.errors import ConfigError, DownloadError


@pytest.fixture
def cache(tmp_path: Path, jars: dict[str, tuple[Path, ...]]) -> Path:
    """A cache of this test's own that holds Spark's jars."""
    folder = tmp_path / "cache/jars"
    folder.mkdir(parents=True)
    for path in jars["spark"]:
        shutil.copyfile(path, folder / path.name)
    return folder.parent


def test_the_lock_holds_every_jar_that_was_asked_for_once() -> None:
    locked = read_lock()
    assert tuple(locked) == GROUPS == tuple(ROOTS)
    for group, roots in ROOTS.items():
        coordinates = [jar.coordinate for jar in locked[group]]
        assert {root.coordinate for root in roots} <= set(coordinates)
        assert len({jar.artifact for jar in locked[group]}) == len(coordinates)  # one version of each


def test_a_full_cache_needs_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody listens on the discard port
    assert all(path.exists() for path in fetch_jars("spark", cache))


def test_a_jar_that_is_missing_is_fetched_and_counted(cache: Path) -> None:
    jar = read_lock()["spark"][0]
    (cache / "jars" / jar.file_name).unlink()
    assert missing_jars("spark", cache) == (jar,)
    seen: list[tuple[int, int]] = []
    fetch_jars("spark", cache, lambda done, total: seen.append((done, total)))
    assert seen == [(len(read_lock()["spark"]),) * 2]
    assert missing_jars("spark", cache) == ()
    assert not list((cache / "jars").glob(".incoming-*"))


def test_a_tampered_jar_is_named_and_removed_even_after_it_was_verified(cache: Path) -> None:
    first, *_ = fetch_jars("spark", cache)
    first.write_bytes(b"something else")
    with pytest.raises(DownloadError, match=f"{first.name.removesuffix('.jar').rpartition('-')[0]}.*SHA-256"):
        fetch_jars("spark", cache)
    assert not first.exists()
    assert fetch_jars("spark", cache)[0].exists()


def test_without_network_the_jar_that_is_lacking_is_named_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"^\S+:\S+:\S+: could not be fetched .* check the network"):
        fetch_jars("spark", tmp_path)
    assert not list((tmp_path / "jars").glob("*.jar"))


def test_a_damaged_lock_file_names_the_line(tmp_path: Path) -> None:
    lock = tmp_path / "jars.lock"
    lock.write_text("[spark]\nio.delta:delta-storage 12\n")
    with pytest.raises(ConfigError, match="line 2"):
        read_lock(lock)
