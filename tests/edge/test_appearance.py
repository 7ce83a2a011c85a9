"""Appearance vectors, by a model small enough to write down: the mean colour of each half of a crop."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sightline_contract.errors import ConfigError, ModelError
from sightline_contract.settings import load_settings
from sightline_edge.appearance import Appearance, projection
from sightline_edge.config import AppearanceConfig, load_node_config

PERSON, CAR = 0, 2
COLOURS_BGR = {"red": (0, 0, 255), "blue": (255, 0, 0), "green": (0, 255, 0)}


def colours_model(batch: int | str, layout: str = "NHWC", outputs: int = 6) -> bytes:
    """Means of the channels, less 64, in the upper and in the lower half; then as often as it takes for ``outputs``."""
    shape, axes = ([batch, 16, 8, 3], [1, 2]) if layout == "NHWC" else ([batch, 3, 16, 8], [2, 3])
    constants = {
        "dark": np.float32(64),
        "halves": np.array([8, 8]),
        "repeats": np.array([1, outputs // 6]),
    }
    nodes = [
        helper.make_node("Sub", ["picture", "dark"], ["lighter"]),
        helper.make_node("Split", ["lighter", "halves"], ["upper", "lower"], axis=axes[0]),
        helper.make_node("ReduceMean", ["upper"], ["a"], axes=axes, keepdims=0),
        helper.make_node("ReduceMean", ["lower"], ["b"], axes=axes, keepdims=0),
        helper.make_node("Concat", ["a", "b"], ["both"], axis=1),
        helper.make_node("Tile", ["both", "repeats"], ["vector"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [batch, outputs])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., Appearance]:
    def make(batch: int | str = "n", outputs: int = 6, **changes: object) -> Appearance:
        path = tmp_path / "colours.onnx"
        path.write_bytes(colours_model(batch, str(changes.get("layout", "NHWC")), outputs))
        entries = {"model": path, "size": (8, 16), "layout": "NHWC", "channels": "BGR", "bytes_per_detection": 8}
        return Appearance(AppearanceConfig.model_validate(entries | changes), threads=1)

    return make


def picture() -> tuple[np.ndarray, np.ndarray]:
    """A picture of a red, a blue and another red person on green, and their boxes."""
    pixels = np.full((100, 200, 3), COLOURS_BGR["green"], np.uint8)
    boxes = np.array([[0.1, 0.1, 0.2, 0.6], [0.4, 0.2, 0.5, 0.9], [0.7, 0.3, 0.8, 0.7]], np.float32)
    for colour, box in zip(("red", "blue", "red"), boxes, strict=True):
        left, top, right, bottom = (box * (200, 100, 200, 100)).round().astype(int)
        pixels[top:bottom, left:right] = COLOURS_BGR[colour]
    return pixels, boxes


def cosines(vectors: np.ndarray) -> np.ndarray:
    units = vectors / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    return units @ units.T


@pytest.mark.parametrize("settings", [{}, {"batch": 1}, {"layout": "NCHW"}, {"outputs": 96, "bytes_per_detection": 64}])
def test_alike_is_near_and_unlike_is_far(look: Callable[..., Appearance], settings: dict[str, object]) -> None:
    pixels, boxes = picture()
    vectors = look(**settings).look(pixels, boxes, np.full(3, 0.9, np.float32), np.full(3, PERSON, np.uint8))
    assert vectors.dtype == np.int8
    assert vectors.shape == (3, settings.get("bytes_per_detection", 8))
    assert np.linalg.norm(vectors.astype(float), axis=1) == pytest.approx(127, rel=0.02)
    near = cosines(vectors)
    assert near[0, 2] > 0.99
    assert near[0, 1] < 0.2


def test_channels_are_in_the_order_that_the_model_wants(look: Callable[..., Appearance]) -> None:
    pixels, boxes = picture()
    bgr, rgb = (
        look(channels=order).look(pixels, boxes[:1], np.ones(1, np.float32), np.zeros(1, np.uint8)) for order in ("BGR", "RGB")
    )
    assert bgr[0, :3].tolist() == rgb[0, 2::-1].tolist()
    assert bgr[0].tolist() != rgb[0].tolist()


def test_only_sure_detections_of_the_classes_are_looked_at_and_no_more_than_so_many(look: Callable[..., Appearance]) -> None:
    pixels, boxes = picture()
    boxes = boxes[[0, 1, 2, 0, 1]]
    scores = np.array([0.6, 0.9, 0.4, 0.8, 0.7], np.float32)
    classes = np.array([PERSON, PERSON, PERSON, CAR, PERSON], np.uint8)
    vectors = look(max_crops=2).look(pixels, boxes, scores, classes)
    assert vectors.any(axis=1).tolist() == [False, True, False, False, True]


def test_a_box_without_a_pixel_and_a_frame_without_detections_are_not_looked_at(look: Callable[..., Appearance]) -> None:
    pixels, _ = picture()
    empty = np.array([[0.5, 0.5, 0.5, 0.9], [1.2, 0.1, 1.4, 0.5]], np.float32)
    assert not look().look(pixels, empty, np.ones(2, np.float32), np.zeros(2, np.uint8)).any()
    nothing = look().look(pixels, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.uint8))
    assert nothing.shape == (0, 8)


def test_shorter_vectors_are_nearly_as_alike_as_long_ones() -> None:
    random = np.random.default_rng(1)
    people = random.standard_normal((40, 256))
    shorter = people @ projection(256, 64)
    assert np.abs(cosines(shorter) - cosines(people)).max() < 0.5
    assert np.abs(cosines(shorter) - cosines(people)).mean() < 0.1
    columns = projection(256, 64)
    np.testing.assert_allclose(columns.T @ columns, np.eye(64), atol=1e-5)
    assert projection(256, 64).tobytes() == columns.tobytes()


def test_a_model_that_does_not_fit_is_refused(look: Callable[..., Appearance], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="correct 'appearance'"):
        look(size=(16, 16)).look(*picture(), np.ones(3, np.float32), np.zeros(3, np.uint8))
    (tmp_path / "none.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not an ONNX model"):
        Appearance(AppearanceConfig(model=tmp_path / "none.onnx", size=(8, 16)), threads=1)
    with pytest.raises(ModelError, match="cannot be read"):
        Appearance(AppearanceConfig(model=tmp_path / "absent.onnx", size=(8, 16)), threads=1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("classes: [ghost]", "'ghost' is not a class"),
        ("bytes_per_detection: 200", "128"),
        ("std: [1, 0, 1]", "divided by 0"),
        ("colour: RGB", "colour"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, change: str, reason: str) -> None:
    path = tmp_path / "appearance.yaml"
    path.write_text(f"model: m.onnx\nsize: [8, 16]\n{change}\n")
    with pytest.raises(ConfigError, match=reason):
        load_settings(path, AppearanceConfig)


def test_the_model_s_path_is_taken_from_the_file_s_folder(tmp_path: Path) -> None:
    path = tmp_path / "node.yaml"
    path.write_text(
        "node_id: n\nkafka: {bootstrap_servers: b}\nmodel: m\ncameras: [{source: s, camera: c}]\n"
        "appearance: {model: reid.onnx, size: [128, 256]}\n"
    )
    config = load_node_config(path)
    assert config.appearance is not None
    assert config.appearance.model == tmp_path / "reid.onnx"
