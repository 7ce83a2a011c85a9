"""Engines on a GPU: built, checked against the golden clip, and timed; a script for a machine that has little else.

    python -m sightline.bench.models_gpu check KIT
    python -m sightline.bench.models_gpu build KIT WORK [--only nano-fp16,...] [--jobs 12] [--limit-s 540]
    python -m sightline.bench.models_gpu measure KIT WORK OUT.json [--limit-s 400]

It needs NumPy, ONNX Runtime, OpenCV, PyYAML, pydantic, CUDA's bindings and TensorRT, and no installation of the product: the
folders with its sources on PYTHONPATH will do. KIT is what ``models_kit`` writes. All results are written as they come, so that
a run that is cut off loses only what it was at.

``build`` runs one process an engine, since a builder uses one core; engines that are there are left as they are. Nothing is
built while ``measure`` runs, for both want the GPU.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from sightline_contract.errors import ModelError, SightlineError
from sightline_contract.manifest import ENGINE_PART, GOLDEN_PART
from sightline_contract.model_card import CARD_FILE, MODEL_FILE, load_card
from sightline_contract.parity import BARS, measure_parity, read_golden
from sightline_contract.targets import Precision, Runtime, Target
from sightline_edge.backends.tensorrt import TensorRtBackend
from sightline_edge.detector import Detector
from sightline_models.compile.gpu import gpu_architecture
from sightline_models.compile.tensorrt_engine import BuildOptions, Profile, build_engine, tensorrt_version

BATCHES: Final = (1, 8, 32, 64)
_SHAPED: Final = (Profile(1, 1, 1), Profile(2, 8, 8), Profile(9, 32, 32), Profile(33, 64, 64))
_ONE, _MANY = (Profile(1, 1, 1),), (Profile(64, 64, 64),)
_WARM_UP, _RUNS, _LEAST_S = 30, 2000, 0.6


@dataclass(frozen=True)
class Variant:
    """An engine to build: a model of the kit, and how."""

    model: str
    options: BuildOptions


def variants() -> dict[str, Variant]:
    """All engines by name, the most wanted first."""
    found = {
        f"{model}-{precision}": Variant(model, BuildOptions(precision))
        for precision in (Precision.FP16, Precision.INT8, Precision.FP32, Precision.FP8)
        for model in ("nano", "centernet")
    }
    fp16 = Precision.FP16
    found |= {
        "nano-fp16-one": Variant("nano", BuildOptions(fp16, _ONE, half_tensors=True)),
        "nano-fp16-many": Variant("nano", BuildOptions(fp16, _MANY, half_tensors=True)),
        "nano-int8-one": Variant("nano", BuildOptions(Precision.INT8, _ONE, half_tensors=True)),
        "nano-int8-many": Variant("nano", BuildOptions(Precision.INT8, _MANY, half_tensors=True)),
        "nano-fp16-one-level5": Variant("nano", BuildOptions(fp16, _ONE, level=5, half_tensors=True)),
        "nano-fp16-many-level5": Variant("nano", BuildOptions(fp16, _MANY, level=5, half_tensors=True)),
        "nano-fp16-shaped": Variant("nano", BuildOptions(fp16, _SHAPED, half_tensors=True)),
    }
    return found


def onnx_of(kit: Path, variant: Variant) -> Path:
    """The ONNX file that an engine is built from."""
    precision = variant.options.precision
    quantized = precision if precision in (Precision.INT8, Precision.FP8) else "dynamic"
    return kit / "models" / variant.model / f"{quantized}.onnx"


def build_one(kit: Path, work: Path, name: str) -> None:
    """Build an engine and write what it cost, or why it could not be."""
    variant = variants()[name]
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    precision = variant.options.precision
    # One process one file: two would write over each other's timings.
    cache = folder / "timings.cache"
    try:
        source = onnx_of(kit, variant)
        if not source.is_file():
            raise ModelError(f"{source}: is not in the kit: write it anew")
        content = source.read_bytes()
        built = build_engine(content, name, variant.options, folder / ENGINE_PART, cache)
        told: dict[str, Any] = asdict(built)
        again = build_engine(content, name, variant.options, folder / "again", cache)
        told["build_s_with_timings"] = again.build_s
        (folder / "again").unlink()
    except (SightlineError, OSError) as error:
        told = {"error": str(error)}
    told |= {"model": variant.model, "precision": str(precision), "options": asdict(variant.options)}
    (folder / "built.json").write_text(json.dumps(told, indent=1))
    print(f"{name}: {told.get('error') or round(told['build_s'], 1)}", flush=True)


def build(kit: Path, work: Path, only: list[str], jobs: int, limit_s: float) -> None:
    """Build all that is missing, ``jobs`` at a time; what is not done after ``limit_s`` is ended."""
    work.mkdir(parents=True, exist_ok=True)
    waiting = [name for name in variants() if (not only or name in only) and not (work / name / "built.json").is_file()]
    running: dict[str, subprocess.Popen[bytes]] = {}
    ends_s = time.monotonic() + limit_s
    while (waiting or running) and time.monotonic() < ends_s:
        while waiting and len(running) < jobs:
            name = waiting.pop(0)
            command = [sys.executable, "-m", "sightline.bench.models_gpu", "build-one", str(kit), str(work), name]
            with (work / f"{name}.log").open("wb") as log:
                running[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        running = {name: process for name, process in running.items() if process.poll() is None}
        time.sleep(0.5)
    for name, process in running.items():
        process.kill()
        process.wait()
        print(f"{name}: not done within {limit_s:.0f} s", flush=True)
    for name in variants():
        if (told := work / name / "built.json").is_file():
            print(name, json.loads(told.read_text()).get("error") or json.loads(told.read_text())["build_s"], flush=True)


def measure(kit: Path, work: Path, out: Path, limit_s: float) -> None:
    """Check and time every engine that was built; ``out`` is written after each."""
    ends_s = time.monotonic() + limit_s
    told: dict[str, Any] = {"machine": machine(), "engines": {}}
    for name, variant in variants().items():
        folder = work / name
        if not (folder / "built.json").is_file():
            continue
        engine = json.loads((folder / "built.json").read_text())
        if "error" not in engine and time.monotonic() < ends_s:
            try:
                engine |= measure_one(kit, folder, variant)
            except SightlineError as error:
                engine["error"] = str(error)
            except Exception as error:  # noqa: BLE001 - what one engine does must not cost the others' figures
                engine["error"] = f"{type(error).__name__}: {error}"
        told["engines"][name] = engine
        told["machine_after"] = machine()
        out.write_text(json.dumps(told, indent=1))
        print(_line(name, engine), flush=True)


def measure_one(kit: Path, folder: Path, variant: Variant) -> dict[str, Any]:
    """Parity, and figures by batch size, of a built engine."""
    source = kit / "models" / variant.model
    for part in (CARD_FILE, MODEL_FILE, GOLDEN_PART):
        shutil.copyfile(source / part, folder / part)
    target = Target(
        runtime=Runtime.TENSORRT, version=tensorrt_version(), architecture=gpu_architecture(),
        precision=variant.options.precision,
    )  # fmt: skip
    golden = read_golden(folder / GOLDEN_PART)
    most = max(profile.most for profile in variant.options.profiles)
    least = min(profile.least for profile in variant.options.profiles)
    told: dict[str, Any] = {"target": str(target), "batches": {}}
    if least == 1:
        detector = Detector(folder, golden.min_score, 1, most, target)
        parity = measure_parity(golden, detector.see(golden.frames, golden.min_score))
        detector.close()
        told["parity"] = asdict(parity) | {"refused": parity.failure(BARS[variant.options.precision])}
    card = load_card(folder)
    pictures = _pictures(golden.frames, folder, card.input.size, most)
    backends = [TensorRtBackend(folder / ENGINE_PART, card, target) for _ in range(2)]
    for batch in BATCHES:
        if least <= batch <= most:
            told["batches"][str(batch)] = figures(backends, pictures[:batch])
    for backend in backends:
        backend.close()
    return told


def figures(backends: list[TensorRtBackend], tensor: np.ndarray[Any, Any]) -> dict[str, float]:
    """Milliseconds and frames a second of a batch; the first backend alone, then both side by side.

    ``graph``: inputs on the GPU, from launching the graph until it is done. ``copies``: from the host's memory and back.
    """
    batch, first = len(tensor), backends[0]
    for backend in backends:
        backend.run(tensor)  # puts the input where the graph finds it

    def graph() -> None:
        first.launch(batch)
        first.wait()

    def launch_all(which: list[TensorRtBackend], times: int) -> None:
        for _ in range(times):
            for backend in which:
                backend.launch(batch)
        for backend in which:
            backend.wait()

    latency, copies = _times_ms(graph), _times_ms(lambda: first.run(tensor))
    return {
        **_percentiles("graph", latency),
        **_percentiles("copies", copies),
        "frames_per_s": _rate(batch, lambda times: launch_all(backends[:1], times)),
        "frames_per_s_two_streams": _rate(len(backends) * batch, lambda times: launch_all(backends, times)),
        "frames_per_s_copies": batch / statistics.median(copies) * 1000,
    }


def machine() -> dict[str, Any]:
    """The GPU by NVML's words, and what runs on it."""
    told: dict[str, Any] = {"python": sys.version.split()[0], "cores": os.cpu_count()}
    try:
        told |= {"tensorrt": tensorrt_version(), "architecture": gpu_architecture()}
        import pynvml as nvml

        nvml.nvmlInit()
        gpu = nvml.nvmlDeviceGetHandleByIndex(0)
        told |= {
            "gpu": nvml.nvmlDeviceGetName(gpu),
            "driver": nvml.nvmlSystemGetDriverVersion(),
            "sm_clock_mhz": nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),
            "sm_clock_max_mhz": nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM),
            "power_limit_w": nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000,
        }
    except Exception as error:  # noqa: BLE001 - it says what it can
        told["problem"] = f"{type(error).__name__}: {error}"
    return told


def check(kit: Path) -> None:
    """Whether all that is needed is here: the machine, and each model of the kit on ONNX Runtime against its golden clip."""
    print(json.dumps(machine()), flush=True)
    for folder in sorted((kit / "models").iterdir()):
        golden = read_golden(folder / GOLDEN_PART)
        detector = Detector(folder, golden.min_score, 4, 16)
        print(folder.name, measure_parity(golden, detector.see(golden.frames, golden.min_score)), flush=True)


def _pictures(frames: np.ndarray[Any, Any], folder: Path, size: tuple[int, int], count: int) -> np.ndarray[Any, Any]:
    """Real frames, each a little another one, as input tensors (count, ...)."""
    from sightline_edge.preprocessing import prepare

    spec = load_card(folder).input
    assert spec.size == size  # noqa: S101
    return np.stack([prepare(np.roll(frames[i % len(frames)], i, axis=1), spec).tensor for i in range(count)])


def _times_ms(call: Callable[[], object]) -> list[float]:
    for _ in range(_WARM_UP):
        call()
    taken: list[float] = []
    ends_s = time.perf_counter() + 4 * _LEAST_S
    while len(taken) < _RUNS and time.perf_counter() < ends_s:
        began_s = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began_s) * 1000)
    return taken


def _percentiles(name: str, taken_ms: list[float]) -> dict[str, float]:
    return {f"{name}_p{p}_ms": float(np.percentile(taken_ms, p)) for p in (50, 99)} | {f"{name}_runs": len(taken_ms)}


def _rate(frames: int, launch: Callable[[int], object]) -> float:
    """Frames a second, median of five spans."""
    launch(3)
    began_s = time.perf_counter()
    launch(10)
    times = max(10, int(10 * _LEAST_S / 3 / (time.perf_counter() - began_s)))
    spans = []
    for _ in range(5):
        began_s = time.perf_counter()
        launch(times)
        spans.append(times * frames / (time.perf_counter() - began_s))
    return statistics.median(spans)


def _line(name: str, engine: dict[str, Any]) -> str:
    if "error" in engine:
        return f"{name}: {engine['error'][:200]}"
    batches = "; ".join(
        f"{batch}: {f['graph_p50_ms']:.3f}/{f['graph_p99_ms']:.3f} ms, copies {f['copies_p50_ms']:.3f}, "
        f"{f['frames_per_s']:.0f}/s, two {f['frames_per_s_two_streams']:.0f}/s"
        for batch, f in engine.get("batches", {}).items()
    )
    parity = engine.get("parity", {})
    return (
        f"{name}: build {engine['build_s']:.0f} s (again {engine.get('build_s_with_timings', 0):.0f}), "
        f"{engine['engine_bytes'] / 1e6:.1f} MB, agreement {parity.get('agreement')}, "
        f"refused {parity.get('refused')}; {batches}"
    )


def main(arguments: list[str] | None = None) -> int:
    """What the module's docstring says; errors are one line."""
    parser = argparse.ArgumentParser(prog="models_gpu", description="Build, check and time engines on a GPU.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, extra in (("check", ()), ("build", ("work",)), ("build-one", ("work", "name")), ("measure", ("work", "out"))):
        command = commands.add_parser(name)
        for argument in ("kit", *extra):
            command.add_argument(argument, type=str if argument == "name" else Path)
        command.add_argument("--limit-s", type=float, default=540)
        command.add_argument("--only", default="")
        command.add_argument("--jobs", type=int, default=12)
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command != "check":
            tensorrt_version(), gpu_architecture()
        if chosen.command == "check":
            check(chosen.kit)
        elif chosen.command == "build":
            only = [name for name in chosen.only.split(",") if name]
            if unknown := set(only) - variants().keys():
                parser.error(f"no variant {', '.join(sorted(unknown))}: choose of {', '.join(variants())}")
            build(chosen.kit, chosen.work, only, chosen.jobs, chosen.limit_s)
        elif chosen.command == "build-one":
            build_one(chosen.kit, chosen.work, chosen.name)
        else:
            measure(chosen.kit, chosen.work, chosen.out, chosen.limit_s)
    except SightlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
