import json
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from sightline.bench import models_gpu
from sightline.bench.models_gpu import build, build_one, built_engines, variants
from sightline.bench.models_plot import plot_gpu, table
from sightline_contract.errors import ModelError
from sightline_models.compile.tensorrt_engine import Built

SHOWN = Path(__file__).parents[2] / "docs" / "figures" / "gpu-h200.json"
# Writes built.json for "good", nothing for "silent", and stays for "slow"; notes who runs beside whom.
BUILDER = """
import json, sys, time
from pathlib import Path
work, name = Path(sys.argv[1]), sys.argv[2]
with (work / "order").open("a") as order:
    order.write(f"+{name} ")
    order.flush()
    if name == "slow":
        time.sleep(60)
    if name.startswith("good"):
        (work / name).mkdir()
        (work / name / "built.json").write_text(json.dumps({"build_s": 1.5}))
    order.write(f"-{name} ")
"""


def run_build(work: Path, names: list[str], jobs: int = 1, each_s: float = 30, limit_s: float = 30) -> None:
    work.mkdir(exist_ok=True)
    script = work.parent / "builder.py"
    script.write_text(BUILDER)
    build(work, names, [sys.executable, str(script), str(work)], jobs, each_s, limit_s)


def write_built(work: Path, name: str, level: int) -> None:
    (work / name).mkdir(parents=True)
    told = {"build_s": 1.0, "options": {"level": level}}
    (work / name / "built.json").write_text(json.dumps(told))


def test_engines_are_built_one_after_another(tmp_path: Path) -> None:
    run_build(tmp_path / "work", ["good1", "good2"])
    assert (tmp_path / "work" / "order").read_text().split() == ["+good1", "-good1", "+good2", "-good2"]


def test_one_that_takes_too_long_does_not_cost_the_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_build(tmp_path / "work", ["slow", "silent", "good"], each_s=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("slow: no engine (ended for time)")
    assert lines[1].startswith("silent: no engine (exit 0)")
    assert lines[2] == "good: 1.5 s"


def test_after_the_limit_nothing_is_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_build(tmp_path / "work", ["slow", "good"], limit_s=1)
    assert capsys.readouterr().out.splitlines()[1] == "good: not begun within 1 s"
    assert not (tmp_path / "work" / "good").exists()


def test_what_is_built_is_left_and_what_was_ended_is_built_again(tmp_path: Path) -> None:
    run_build(tmp_path / "work", ["good", "silent"])
    run_build(tmp_path / "work", ["good", "silent"])
    assert (tmp_path / "work" / "order").read_text().count("+good ") == 1
    assert (tmp_path / "work" / "order").read_text().count("+silent ") == 2


def test_an_engine_that_cannot_be_built_leaves_the_reason(tmp_path: Path) -> None:
    build_one(tmp_path / "kit", tmp_path / "work", "nano-fp8", variants()["nano-fp8"], again=True, log=False)
    told = json.loads((tmp_path / "work" / "nano-fp8" / "built.json").read_text())
    assert told["error"].endswith("fp8.onnx: is not in the kit: write it anew")
    assert told["options"]["level"] == 3


@pytest.mark.parametrize("end", [KeyboardInterrupt, ModelError("full")], ids=repr)
def test_an_engine_stays_built_whatever_becomes_of_its_second_build(
    end: BaseException | type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def builder(*arguments: object) -> Built:  # TensorRT's runs on a GPU alone
        if Path(str(arguments[3])).name == "again":
            raise end
        return Built(1.5, 1.5, 10, timing_cache_found=False)

    monkeypatch.setattr(models_gpu, "build_engine", builder)
    (tmp_path / "models" / "nano").mkdir(parents=True)
    (tmp_path / "models" / "nano" / "dynamic.onnx").write_bytes(b"")
    with suppress(KeyboardInterrupt):
        build_one(tmp_path, tmp_path / "work", "nano-fp16", variants()["nano-fp16"], again=True, log=False)
    (engine,) = [told for _, told in built_engines([tmp_path / "work"], []).values()]
    assert engine["build_s"] == 1.5
    assert "error" not in engine


def test_without_a_wish_one_engine_is_built_at_a_time_and_once() -> None:
    chosen = models_gpu._parser().parse_args(["build", "kit", "work"])
    assert (chosen.jobs, chosen.again, chosen.level) == (1, False, 3)


def test_a_level_is_of_all_but_those_that_name_theirs() -> None:
    levels = {name: variant.options.level for name, variant in variants(0).items()}
    assert {name for name, level in levels.items() if level} == {"nano-fp16-one-level5", "nano-fp16-many-level5"}
    assert {variant.options.level for variant in variants().values()} == {3, 5}


def test_engines_without_8_bits_come_before_those_with_them() -> None:
    order = list(variants())
    assert order[:4] == ["nano-fp32", "centernet-fp32", "nano-fp16", "centernet-fp16"]
    assert order.index("nano-fp16-many") < order.index("nano-int8") < order.index("nano-fp8")
    assert len(order) == len(set(order)) == 15


def test_the_same_engine_of_a_second_folder_is_told_with_its_level(tmp_path: Path) -> None:
    works = [tmp_path / "three", tmp_path / "zero"]
    write_built(works[0], "nano-fp16", 3)
    write_built(works[1], "nano-fp16", 0)
    write_built(works[1], "nano-fp32", 0)
    found = {name: folder.parent.name for name, (folder, _) in built_engines(works, []).items()}
    assert found == {"nano-fp16": "three", "nano-fp16-level0": "zero", "nano-fp32": "zero"}
    assert list(built_engines(works, ["nano-fp32"])) == ["nano-fp32"]


def test_two_folders_with_the_same_engine_of_one_level_are_told_apart_by_nobody(tmp_path: Path) -> None:
    works = [tmp_path / name for name in ("a", "b", "c")]
    for work in works:
        write_built(work, "nano-fp16", 3)
    with pytest.raises(ModelError, match=r"nano-fp16-level3 is in .*/b, too: name one of the folders$"):
        built_engines(works, [])


def test_an_engine_that_does_not_exist_is_told_with_those_that_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        models_gpu.main(["measure", "kit", "out.json", "one", "two", "--only", "nano-fp16,nano-fp4"])
    assert "no variant nano-fp4: choose of nano-fp32, " in capsys.readouterr().err


def test_the_figures_shown_are_drawn_and_tabled_with_what_was_not_measured(tmp_path: Path) -> None:
    told = json.loads(SHOWN.read_text(encoding="utf-8"))
    told["engines"]["nano-fp4"] = {"error": "not in the kit", "options": {"level": 0}}
    del told["engines"]["nano-int8"]["batches"]
    rows = table(told)
    assert len({row.count("|") for row in rows}) == 1
    assert sum("not measured" in row for row in rows) == 1
    assert rows[-1].startswith("| nano-fp4 | 0 | not in the kit |")
    assert any(row.startswith("| nano-fp16 | 3 | 10* |") for row in rows), "a star: timings were at hand"
    drawn = [path.read_text() for path in plot_gpu(told, tmp_path)]
    assert len(drawn) == 2
    assert all("fp16, level 3" in picture for picture in drawn)
