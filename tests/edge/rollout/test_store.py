from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundle_rig import Bundle, Site, picture_model, write_model
from weak_disk import WeakDisk

from sightline_contract.errors import ConfigError, StorageError
from sightline_contract.manifest import write_envelope
from sightline_edge.rollout.store import REFUSALS_KEPT, State, Store, hex_of


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Callable[[], Store]]:
    opened: list[Store] = []

    def open_it() -> Store:
        for each in opened:
            each.close()
        opened.append(Store(tmp_path / "models"))
        return opened[-1]

    yield open_it
    for each in opened:
        each.close()


@pytest.fixture
def bundles(site: Site, tmp_path: Path) -> list[Bundle]:
    """Two of one model, and one of another."""
    models = [write_model(tmp_path / f"m{i}", str(i), picture_model(left=0.1 + i / 10)) for i in range(2)]
    return [site.bundle(models[0], 1), site.bundle(models[0], 2), site.bundle(models[1], 3)]


def put(store: Store, bundle: Bundle) -> Path:
    for name, part in bundle.manifest.parts.items():
        (store.parts / hex_of(part.digest)).write_bytes(bundle.part(name).read_bytes())
    return store.make(bundle.name, bundle.manifest, write_envelope(bundle.envelope))


def test_a_model_is_whole_and_its_parts_lie_on_the_disk_once(open_store: Callable[[], Store], bundles: list[Bundle]) -> None:
    store = open_store()
    first, second = put(store, bundles[0]), put(store, bundles[1])
    assert {each.name for each in first.iterdir()} == {*bundles[0].manifest.parts, "envelope.json"}
    assert (first / "model.onnx").stat().st_ino == (second / "model.onnx").stat().st_ino
    assert store.envelope(bundles[0].name) == write_envelope(bundles[0].envelope)
    assert store.damage(bundles[0].name, bundles[0].manifest) is None
    assert not store.has("")
    assert not store.has(bundles[2].name)


def test_what_no_model_needs_is_removed_and_what_is_fetched_stays(
    open_store: Callable[[], Store], bundles: list[Bundle]
) -> None:
    store = open_store()
    for bundle in bundles:
        put(store, bundle)
    for name in ("aa", "bb"):
        (store.partial / name).write_bytes(b"1")
        (store.partial / f"{name}.tag").write_text('"1"')
    store.tidy({bundles[1].name}, {"aa"})
    assert [store.has(bundle.name) for bundle in bundles] == [False, True, False]
    assert {part.name for part in store.parts.iterdir()} == {hex_of(p.digest) for p in bundles[1].manifest.parts.values()}
    assert {left.name for left in store.partial.iterdir()} == {"aa", "aa.tag"}


def test_damage_is_found_and_taken_away_with_its_parts(open_store: Callable[[], Store], bundles: list[Bundle]) -> None:
    store = open_store()
    folder = put(store, bundles[0])
    content = bytearray((folder / "model.onnx").read_bytes())
    content[50] ^= 1
    (folder / "model.onnx").write_bytes(content)
    assert store.damage(bundles[0].name, bundles[0].manifest) == "model.onnx is damaged"
    (folder / "card.yaml").unlink()
    assert "cannot be read" in (store.damage(bundles[0].name, bundles[0].manifest) or "")
    store.discard(bundles[0].name)
    assert not store.has(bundles[0].name)
    assert not (store.parts / hex_of(bundles[0].manifest.parts["model.onnx"].digest)).exists()


def test_a_part_that_is_damaged_is_not_there(open_store: Callable[[], Store], bundles: list[Bundle]) -> None:
    store = open_store()
    part = bundles[0].manifest.parts["model.onnx"]
    assert not store.has_part(part)
    put(store, bundles[0])
    assert store.has_part(part)
    store.part(part).write_bytes(b"other")
    assert not store.has_part(part)
    assert not store.part(part).exists()


def test_a_model_that_is_there_gets_another_envelope_or_key_as_a_whole(
    open_store: Callable[[], Store], bundles: list[Bundle]
) -> None:
    store, (bundle, *_) = open_store(), bundles
    folder = put(store, bundle)
    assert store.wrapped_key(bundle.name) is None
    inodes = {file.name: file.stat().st_ino for file in folder.iterdir()}
    envelope = write_envelope(bundle.envelope)
    store.make(bundle.name, bundle.manifest, envelope, "key")
    assert (store.envelope(bundle.name), store.wrapped_key(bundle.name)) == (envelope, "key")
    store.make(bundle.name, bundle.manifest, envelope + " ", None)
    assert (store.envelope(bundle.name), store.wrapped_key(bundle.name)) == (envelope + " ", "key")
    others = {file.name for file in folder.iterdir() if file.stat().st_ino != inodes.get(file.name)}
    assert others == {"envelope.json", "wrapped.key"}


def test_what_a_crash_leaves_is_mended(open_store: Callable[[], Store], bundles: list[Bundle]) -> None:
    store = open_store()
    put(store, bundles[0])
    store.write(State(live=bundles[0].name, served=1))
    half = store.folder / f"{bundles[2].name}.new"
    half.mkdir()
    (half / "model.onnx").write_bytes(b"half")
    (store.folder / "state.json.new").write_text('{"live": "')
    again = open_store()
    assert again.state == State(live=bundles[0].name, served=1)
    assert not list(again.folder.glob("*.new"))


def test_a_record_that_is_none_is_put_aside(open_store: Callable[[], Store]) -> None:
    store = open_store()
    store.write(State(served=7))
    (store.folder / "state.json").write_bytes(b"\0" * 100)
    again = open_store()
    assert again.state == State()
    assert (again.folder / "state.json.damaged").exists()


def test_one_process_has_a_folder(open_store: Callable[[], Store]) -> None:
    store = open_store()
    with pytest.raises(ConfigError, match="another node"):
        Store(store.folder)


def test_only_so_many_refusals_are_remembered_the_newest() -> None:
    state = State()
    for number in range(REFUSALS_KEPT + 5):
        state = state.refusing(f"m{number}", "no")
    state = state.refusing("m10", "again")
    assert len(state.refused) == REFUSALS_KEPT
    assert list(state.refused)[-1] == "m10"
    assert "m4" not in state.refused


def test_a_full_disk_leaves_the_old_record_and_no_half_model(tmp_path: Path, bundles: list[Bundle]) -> None:
    disk = WeakDisk(tmp_path / "disk", 16)
    try:
        store = Store(disk.folder / "models")
        put(store, bundles[0])
        store.write(State(live=bundles[0].name))
        for name, part in bundles[2].manifest.parts.items():
            (store.parts / hex_of(part.digest)).write_bytes(bundles[2].part(name).read_bytes())
        disk.fill()
        # Large, since a file system keeps a few blocks back that it finds again later.
        with pytest.raises(StorageError, match="the disk is full"):
            store.make(bundles[2].name, bundles[2].manifest, " " * 2_000_000)
        with pytest.raises(StorageError, match="the disk is full"):
            store.write(State(live=bundles[2].name, refused={"much": " " * 2_000_000}))
        assert store.state.live == bundles[0].name
        store.close()
        again = Store(disk.folder / "models")
        assert again.state.live == bundles[0].name
        assert not again.has(bundles[2].name)
        again.close()
    finally:
        disk.close()
