import re
import subprocess
import sys
from pathlib import Path

import av
import pytest
from cell_detector import pictures, write_cell_detector

from sightline_contract.errors import ConfigError, ModelError, SightlineError, ToolMissingError
from sightline_models.compile.golden import split_clip
from sightline_models.compile.gpu import gpu_architecture
from sightline_models.compile.targets import possible_targets, target_here
from sightline_models.registry import Registry
from sightline_models.registry_engines import log_parity


def has_gpu() -> bool:
    try:
        gpu_architecture()
    except SightlineError:
        return False
    return True


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width = stream.height = 64
        for picture in pictures(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    return path


def sightline(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sightline", "models", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_makes_a_model_folder_and_tells_the_figures(clip: Path, tmp_path: Path) -> None:
    folder, out = write_cell_detector(tmp_path / "cells"), tmp_path / "out"
    done = sightline("compile", folder, "--target", "openvino:int8", "--clip", clip, "--out", out)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["card.yaml", "engine", "golden.npz", "model.onnx"]
    assert re.search(r"parity_agreement +1\.0000", done.stdout)


def test_a_version_shows_what_was_compiled_and_what_was_refused(clip: Path, tmp_path: Path) -> None:
    folder, uri, out = write_cell_detector(tmp_path / "cells"), f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "out"
    registry = Registry(uri)
    version = registry.register(folder, "ada")
    log_to = ("--log-to", f"{version.name}:1", "--registry", uri)
    done = sightline("compile", folder, "--target", "openvino:fp32", "--clip", clip, "--out", out, *log_to)
    assert done.returncode == 0, done.stderr
    refused = target_here("onnxruntime:int8")
    log_parity(registry, version, refused, passed=False, figures={"reason": "cells: sees other things"})
    shown = sightline("show", version.name, "1", "--registry", uri)
    size_kb = (out / "engine").stat().st_size / 1000
    made = rf"  {target_here('openvino:fp32')}: built in \d+\.\d s, {size_kb:,.0f} kB, agreement 1\.000"
    assert re.search(rf"engines\n  {refused}: refused: cells: sees other things\n{made}\n", shown.stdout), shown.stdout


@pytest.mark.skipif(has_gpu(), reason="there is a GPU here")
def test_without_a_gpu_the_command_says_so_in_one_line(clip: Path, tmp_path: Path) -> None:
    folder = write_cell_detector(tmp_path / "cells")
    done = sightline("compile", folder, "--target", "tensorrt:fp16", "--clip", clip, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert re.fullmatch(r"error: --target tensorrt:fp16: no NVIDIA GPU .*: .*CPU target\n", done.stderr)
    assert not (tmp_path / "out").exists()


def test_every_runtime_and_precision_has_a_target_or_a_reason() -> None:
    possible = possible_targets()
    assert len(possible) == 12
    assert all((each.target is None) == bool(each.reason) for each in possible)
    assert {"onnxruntime:fp32", "onnxruntime:int8", "openvino:fp32"} <= {str(each) for each in possible if each.target}


@pytest.mark.parametrize("text", ["tensorflow:fp32", "openvino:fp7", "openvino", "a-b-c-d"])
def test_a_word_that_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no target"):
        target_here(text)


def test_a_target_of_another_machine_is_compiled_there() -> None:
    with pytest.raises(ToolMissingError, match="compile on the device, or one like it"):
        target_here("openvino-any-mips-fp32")


def test_golden_and_calibration_frames_are_never_the_same() -> None:
    for count in (2, 5, 17, 48, 200):
        frames = [picture.copy() for picture in pictures(2) for _ in range(count // 2 + 1)][:count]
        clip = split_clip(frames, "clip")
        golden, calibration = ({id(frame) for frame in part} for part in (clip.golden, clip.calibration))
        assert golden
        assert calibration
        assert not golden & calibration
    with pytest.raises(ModelError, match="give a longer clip"):
        split_clip(pictures(1), "clip")
