import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from cell_detector import cell_detector, pictures, write_cell_detector
from onnx import helper

from sightline_contract import NO_TELEMETRY
from sightline_contract.errors import ConfigError, ModelError, SightlineError, ToolMissingError
from sightline_contract.model_card import load_card
from sightline_contract.targets import Precision, Runtime, Target, parse_target
from sightline_edge.backends import BackendError, cpu_target, open_backend
from sightline_edge.backends.tensorrt import put_together, take_apart
from sightline_edge.detector import Detector
from sightline_models.compile.dynamic_batch import free_batch

RED_BGR = np.full((48, 64, 3), (0, 0, 255), np.uint8)
CPU_TARGETS = [cpu_target(), cpu_target(Runtime.OPENVINO), cpu_target(Runtime.OPENVINO, Precision.INT8)]


def scores(folder: Path, target: Target | None) -> list[list[float]]:
    detector = Detector(folder, 0.1, 1, 4, target)
    found = [each.scores.tolist() for each in detector.see(pictures(5), 0.1)]
    detector.close()
    return found


@pytest.mark.parametrize("target", CPU_TARGETS, ids=str)
def test_every_cpu_runtime_finds_the_same(target: Target, tmp_path: Path) -> None:
    folder = write_cell_detector(tmp_path / "cells")
    plain = scores(folder, None)
    assert sum(map(len, plain)) > 20
    for there, here in zip(plain, scores(folder, target), strict=True):
        assert here == pytest.approx(there, abs=1e-4)


@pytest.mark.parametrize("runtime", [Runtime.ONNXRUNTIME, Runtime.OPENVINO])
def test_the_engine_is_run_where_there_is_one_and_a_target(runtime: Runtime, make_model: Callable[..., Path]) -> None:
    folder = make_model()
    blind = onnx.load(folder / "model.onnx")
    for node in blind.graph.node:
        if node.op_type == "Div":
            node.op_type, node.input[1] = "Mul", "zero"
    onnx.save(blind, folder / "engine")
    detector = Detector(folder, 0.1, 1, 8, cpu_target(runtime))
    assert len(detector.detect([detector.prepare(RED_BGR)])[0]) == 0
    plain = Detector(folder, 0.1, 1, 8)
    assert len(plain.detect([plain.prepare(RED_BGR)])[0]) == 1


@pytest.mark.parametrize("runtime", [Runtime.ONNXRUNTIME, Runtime.OPENVINO])
def test_a_tensor_of_another_size_is_an_error_of_the_backend(runtime: Runtime, tmp_path: Path) -> None:
    folder = write_cell_detector(tmp_path / "cells")
    backend = open_backend(folder, load_card(folder), cpu_target(runtime), 1)
    assert backend.max_batch == 1
    with pytest.raises(BackendError):
        backend.run(np.zeros((1, 3, 20, 20), np.float32))


@pytest.mark.parametrize("runtime", [Runtime.ONNXRUNTIME, Runtime.OPENVINO])
def test_an_output_stays_as_it_was_when_the_next_run_comes(runtime: Runtime, tmp_path: Path) -> None:
    folder = write_cell_detector(tmp_path / "cells")
    backend = open_backend(folder, load_card(folder), cpu_target(runtime), 1)
    bright, dark = (np.full((1, 3, 64, 64), value, np.float32) for value in (200, 10))
    first = backend.run(bright)
    before = first.copy()
    backend.run(dark)
    assert np.array_equal(first, before)


@pytest.mark.parametrize("runtime", [Runtime.ONNXRUNTIME, Runtime.OPENVINO])
def test_an_engine_that_is_no_model_is_named(runtime: Runtime, make_model: Callable[..., Path]) -> None:
    folder = make_model()
    (folder / "engine").write_bytes(b"no engine")
    with pytest.raises(ModelError, match=r"engine: is not (an ONNX|a) model that"):
        Detector(folder, 0.1, 1, 8, cpu_target(runtime))


def test_openvino_names_a_card_of_another_model(make_model: Callable[..., Path]) -> None:
    folder = make_model(output={"name": "boxes", "decode": "boxes_score_class"})
    with pytest.raises(ModelError, match="has no tensor 'boxes'"):
        Detector(folder, 0.1, 1, 8, cpu_target(Runtime.OPENVINO))


@pytest.mark.parametrize("runtime", [Runtime.ONNXRUNTIME, Runtime.OPENVINO])
def test_a_model_that_always_takes_several_pictures_is_refused(runtime: Runtime, make_model: Callable[..., Path]) -> None:
    shape = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [4, 3, 64, 64])
    model = cell_detector()
    model.graph.input[0].CopyFrom(shape)
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 4
    for initializer in model.graph.initializer:
        if initializer.name == "rows":
            initializer.CopyFrom(onnx.numpy_helper.from_array(np.array([4, 64, 1]), "rows"))
    size = {"name": "image", "size": [64, 64], "layout": "NCHW", "channels": "BGR", "resize": "stretch"}
    folder = make_model(model=model, input=size)
    with pytest.raises(ModelError, match="takes 4 pictures at once, always"):
        Detector(folder, 0.1, 1, 8, cpu_target(runtime))


def test_an_engine_for_another_processor_is_refused(make_model: Callable[..., Path]) -> None:
    other = "aarch64" if platform.machine() != "aarch64" else "x86_64"
    with pytest.raises(ModelError, match=f"is for onnxruntime-any-{other}-fp32, and this is {platform.machine()}"):
        Detector(make_model(), 0.1, 1, 8, parse_target(f"onnxruntime-any-{other}-fp32"))


def has_gpu() -> bool:
    from sightline_edge.backends.tensorrt import Cuda, import_tensorrt

    try:
        Cuda()
        import_tensorrt()
    except SightlineError:
        return False
    return True


@pytest.mark.skipif(has_gpu(), reason="there is a GPU with TensorRT here")
def test_a_tensorrt_target_without_a_gpu_says_so_in_one_line(make_model: Callable[..., Path]) -> None:
    with pytest.raises(ToolMissingError, match=r"^(TensorRT needs CUDA's bindings|no NVIDIA GPU|TensorRT cannot be loaded).*"):
        Detector(make_model(), 0.1, 1, 8, parse_target("tensorrt-10.6.0-sm_90-fp16"))


@pytest.mark.skipif(not has_gpu(), reason="needs an NVIDIA GPU, its driver, cuda-bindings and TensorRT")
def test_an_engine_on_a_gpu_finds_the_same_in_every_batch_size(tmp_path: Path) -> None:
    from sightline_models.compile.dynamic_batch import free_batch
    from sightline_models.compile.targets import target_here
    from sightline_models.compile.tensorrt_engine import BuildOptions, build_engine

    folder = write_cell_detector(tmp_path / "cells")
    content = free_batch(cell_detector(), "cells").SerializeToString()
    build_engine(content, "cells", BuildOptions(Precision.FP32), folder / "engine", tmp_path / "timings")
    for there, here in zip(scores(folder, None), scores(folder, target_here("tensorrt:fp32")), strict=True):
        assert here == pytest.approx(there, abs=1e-3)


def thresholds(folder: Path, text: str) -> Path:
    (folder / "thresholds.yaml").write_text(text)
    return folder


def found_in_red(folder: Path, min_score: float = 0.1) -> int:
    detector = Detector(folder, min_score, 1, 8)
    # A third of full red scores 0.33.
    return len(detector.detect([detector.prepare(RED_BGR // 3)])[0])


def test_the_models_own_thresholds_raise_what_the_node_asks_for(make_model: Callable[..., Path]) -> None:
    assert found_in_red(make_model("plain")) == 1
    assert found_in_red(thresholds(make_model("all"), "min_score: 0.5")) == 0
    assert found_in_red(thresholds(make_model("person"), "by_class: {person: 0.5}")) == 0
    assert found_in_red(thresholds(make_model("car"), "by_class: {car: 0.5}")) == 1
    assert found_in_red(thresholds(make_model("lower"), "min_score: 0.0"), min_score=0.5) == 0


def test_comparing_engines_looks_below_the_thresholds(make_model: Callable[..., Path]) -> None:
    detector = Detector(thresholds(make_model(), "min_score: 0.9"), 0.9, 1, 8)
    assert [len(found) for found in detector.see([RED_BGR // 3] * 10, 0.1)] == [1] * 10


def test_thresholds_that_cannot_be_are_named(make_model: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"thresholds\.yaml: min_score"):
        found_in_red(thresholds(make_model("high"), "min_score: 1.5"))
    with pytest.raises(ModelError, match="has a score for 'unicorn', which is no label of colours"):
        found_in_red(thresholds(make_model("strange"), "by_class: {unicorn: 0.5}"))


@pytest.mark.parametrize("runtime", [Runtime.ONNXRUNTIME, Runtime.OPENVINO])
def test_inputs_that_lie_apart_give_what_they_give_as_one_tensor(runtime: Runtime, tmp_path: Path) -> None:
    folder = write_cell_detector(tmp_path / "cells", free_batch(cell_detector(), "cells"))
    backend = open_backend(folder, load_card(folder), cpu_target(runtime), 1)
    inputs = np.random.default_rng(1).uniform(0, 255, (3, 3, 64, 64)).astype(np.float32)
    assert np.array_equal(np.array(backend.run(list(inputs))), np.array(backend.run(inputs)))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_inputs_for_a_gpu_go_to_their_places_and_touch_no_other(dtype: type) -> None:
    pinned = np.full((4, 2, 3), 7, dtype)
    put_together(pinned, [np.full((2, 3), value, np.float32) for value in (1.5, 2.5)])
    assert pinned[:, 0, 0].tolist() == [1.5, 2.5, 7, 7]
    put_together(pinned, np.zeros((4, 2, 3), np.float32))
    assert not pinned.any()


@pytest.mark.parametrize("shapes", [[], [(2, 4)], [(2, 3), (2, 4)], [(1, 3)], [(2, 3)] * 5], ids=str)
def test_inputs_that_do_not_fit_a_gpus_buffer_are_refused_and_not_stretched(shapes: list[tuple[int, ...]]) -> None:
    pinned = np.zeros((4, 2, 3), np.float32)
    with pytest.raises(BackendError, match=r"^takes 1\.\.4 of \(2, 3\) and not "):
        put_together(pinned, [np.ones(shape, np.float32) for shape in shapes])
    assert not pinned.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_outputs_of_a_gpu_are_fp32_and_copied_only_where_its_are_not(dtype: type) -> None:
    pinned = np.array([[1.5, 2.5], [3.5, 4.5]], dtype)
    outputs = take_apart(pinned)
    assert [output.tolist() for output in outputs] == [[1.5, 2.5], [3.5, 4.5]]
    assert {output.dtype for output in outputs} == {np.dtype(np.float32)}
    assert [np.shares_memory(output, pinned) for output in outputs] == [dtype is np.float32] * 2


def test_a_layer_that_fails_is_told_by_the_error_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = cell_detector()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"  # and its Reshape is of one picture
    folder = write_cell_detector(tmp_path / "cells", model)
    backend = open_backend(folder, load_card(folder), cpu_target(), 1)
    with pytest.raises(BackendError, match="Reshape"):
        backend.run(np.zeros((2, 3, 64, 64), np.float32))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("module", ["sightline_edge.backends", "sightline_models.compile.dynamic_batch"])
def test_runtimes_tell_nobody_which_models_they_load(module: str, tmp_path: Path) -> None:
    """They note it below the home folder first. In a test run they would be silent anyway: what says so is taken away."""
    (tmp_path / "model.onnx").write_bytes(cell_detector().SerializeToString())
    program = f"""
import {module}, onnxruntime, openvino
onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
openvino.Core().compile_model("model.onnx", "CPU")
"""
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "XDG_CACHE_HOME", NO_TELEMETRY)}
    for name in ("home", "temporary"):
        (tmp_path / name).mkdir()
    environment = kept | {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "temporary")}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, timeout=120, check=True)
    assert [*(tmp_path / "home").iterdir(), *(tmp_path / "temporary").iterdir()] == []
