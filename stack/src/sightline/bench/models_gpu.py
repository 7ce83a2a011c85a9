"""Engines on a GPU: built, checked against the golden clip, and timed; a script for a machine that has little else.

    python -m sightline.bench.models_gpu check KIT
    python -m sightline.bench.models_gpu build KIT WORK [--only nano-fp16,...] [--level 3] [--each-s 600] [--limit-s 540]
    python -m sightline.bench.models_gpu measure KIT OUT.json WORK... [--only nano-fp16,...] [--span-s 0.6] [--limit-s 400]

It needs NumPy, ONNX Runtime, OpenCV, PyYAML, pydantic, CUDA's bindings and TensorRT, and no installation of the product: the
folders with its sources on PYTHONPATH will do. KIT is what ``models_kit`` writes. All results are written as they come, so that
a run that is cut off loses only what it was at; engines that are there are left as they are.

``build`` takes one engine at a time, the cheap ones first. A builder works on one core and times its candidate kernels on the
GPU: alone it keeps an H200 busy for a fifth of the time, and from three or four on builders wait for each other there and
spoil each other's timings; so nothing is built while ``measure`` runs, either, but on another GPU (CUDA_VISIBLE_DEVICES).
nano-fp16 takes over 330 s alone at level 3 and 928 s beside three others, centernet-fp16 397 s at level 2. Where time is
short, build all with ``--level 0`` (the first kernel that works, untimed: seconds) into one folder, measure, then build at
level 3 into another. Keep ``timings.cache`` beside each engine: with it the 928 s become 7. A build that is ended loses its
timings. ``build --log`` keeps what TensorRT says, with seconds.

``build --again`` builds each a second time, with the timings of the first. At level 0 that tells nothing: it uses none.
"""

import argparse
import json
import os
import shutil
import signal
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
from sightline_contract.model_card import CARD_FILE, MODEL_FILE, ModelInput, load_card
from sightline_contract.parity import BARS, measure_parity, read_golden
from sightline_contract.targets import Precision, Runtime, Target
from sightline_edge.backends.tensorrt import TensorRtBackend
from sightline_edge.detector import Detector
from sightline_models.compile.gpu import gpu_architecture
from sightline_models.compile.tensorrt_engine import (
    DEFAULT_LEVEL,
    BuildOptions,
    Profile,
    build_engine,
    tensorrt_version,
)

BATCHES: Final = (1, 8, 32, 64)
_SHAPED: Final = (Profile(1, 1, 1), Profile(2, 8, 8), Profile(9, 32, 32), Profile(33, 64, 64))
_ONE, _MANY = (Profile(1, 1, 1),), (Profile(64, 64, 64),)
_WARM_UP, _RUNS = 30, 2000
_BUILT: Final = "built.json"


@dataclass(frozen=True)
class Variant:
    """An engine to build: a model of the kit, and how."""

    model: str
    options: BuildOptions


def variants(level: int = DEFAULT_LEVEL) -> dict[str, Variant]:
    """All engines by name, those that are built soonest first; ``level`` is of all but those that name their own."""
    fp16, int8 = Precision.FP16, Precision.INT8

    def both(precision: Precision) -> dict[str, Variant]:
        return {f"{model}-{precision}": Variant(model, BuildOptions(precision, level=level)) for model in ("nano", "centernet")}

    def nano(name: str, precision: Precision, profiles: tuple[Profile, ...], level: int = level) -> dict[str, Variant]:
        return {f"nano-{precision}-{name}": Variant("nano", BuildOptions(precision, profiles, level, half_tensors=True))}

    plain = both(Precision.FP32) | both(fp16) | nano("one", fp16, _ONE) | nano("many", fp16, _MANY)
    quantized = both(int8) | nano("one", int8, _ONE) | nano("many", int8, _MANY) | both(Precision.FP8)
    slow = nano("shaped", fp16, _SHAPED) | nano("one-level5", fp16, _ONE, 5) | nano("many-level5", fp16, _MANY, 5)
    return plain | quantized | slow


def onnx_of(kit: Path, variant: Variant) -> Path:
    """The ONNX file that an engine is built from."""
    precision = variant.options.precision
    quantized = precision if precision in (Precision.INT8, Precision.FP8) else "dynamic"
    return kit / "models" / variant.model / f"{quantized}.onnx"


def build_one(kit: Path, work: Path, name: str, variant: Variant, *, again: bool, log: bool) -> None:
    """Build an engine and write what it cost, or why it could not be, before it is built ``again`` with its timings."""
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    # One process one file: two would write over each other's timings.
    cache = folder / "timings.cache"
    told: dict[str, Any] = {
        "model": variant.model,
        "precision": str(variant.options.precision),
        "options": asdict(variant.options),
    }
    try:
        source = onnx_of(kit, variant)
        if not source.is_file():
            raise ModelError(f"{source}: is not in the kit: write it anew")
        content = source.read_bytes()
        said = folder / "tensorrt.log" if log else None
        told = asdict(build_engine(content, name, variant.options, folder / ENGINE_PART, cache, said)) | told
        _write(folder / _BUILT, told)
        if again:
            told["build_s_with_timings"] = build_engine(content, name, variant.options, folder / "again", cache).build_s
            (folder / "again").unlink()
    except (SightlineError, OSError) as error:
        # An engine that is there stays one, whatever became of the second build.
        told["again_error" if "build_s" in told else "error"] = str(error)
    _write(folder / _BUILT, told)
    print(f"{name}: {told.get('error') or round(told['build_s'], 1)}", flush=True)


def build(work: Path, names: list[str], command: list[str], jobs: int, each_s: float, limit_s: float) -> None:
    """Run ``command`` with each name that has no engine in ``work``, ``jobs`` at a time, and say what came of it.

    What takes longer than ``each_s``, or is not done after ``limit_s``, is ended, and built when asked for again.
    """
    work.mkdir(parents=True, exist_ok=True)
    waiting = [name for name in names if not (work / name / _BUILT).is_file()]
    running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
    ends_s = time.monotonic() + limit_s
    while (waiting and time.monotonic() < ends_s) or running:
        while waiting and len(running) < jobs and time.monotonic() < ends_s:
            name = waiting.pop(0)
            with (work / f"{name}.log").open("wb") as log:
                process = subprocess.Popen([*command, name], stdout=log, stderr=subprocess.STDOUT)
            running[name] = process, min(ends_s, time.monotonic() + each_s)
        time.sleep(0.1)
        for name, (process, until_s) in list(running.items()):
            if process.poll() is None and time.monotonic() >= until_s:
                process.kill()
                process.wait()
            if process.returncode is not None:
                del running[name]
                print(f"{name}: {_outcome(work, name, process.returncode)}", flush=True)
    for name in waiting:
        print(f"{name}: not begun within {limit_s:.0f} s", flush=True)


def _outcome(work: Path, name: str, returned: int) -> str:
    told = work / name / _BUILT
    if not told.is_file():  # one whose second build was ended has it
        return f"no engine ({'ended for time' if returned == -signal.SIGKILL else f'exit {returned}'}): see {work / name}.log"
    built = json.loads(told.read_text())
    return str(built.get("error") or f"{built['build_s']:.1f} s")


def built_engines(works: list[Path], only: list[str]) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Folder and record of what was built, by name; one that several folders have is told with its level after the first."""
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    for work in works:
        for name in variants():
            told = work / name / _BUILT
            if (only and name not in only) or not told.is_file():
                continue
            engine = json.loads(told.read_text())
            key = name if name not in found else f"{name}-level{engine['options']['level']}"
            if key in found:
                raise ModelError(f"{told}: {key} is in {found[key][0].parent}, too: name one of the folders")
            found[key] = told.parent, engine
    return found


def measure(kit: Path, works: list[Path], out: Path, only: list[str], limit_s: float, span_s: float) -> None:
    """Check and time every engine that was built; ``out`` is written after each. Without time left its building is told."""
    ends_s = time.monotonic() + limit_s
    told: dict[str, Any] = {"machine": machine(), "span_s": span_s, "engines": {}}
    for name, (folder, built) in built_engines(works, only).items():
        engine = built.copy()
        if "error" not in engine and time.monotonic() < ends_s:
            try:
                engine |= measure_one(kit, folder, variants()[folder.name], span_s)
            except SightlineError as error:
                engine["error"] = str(error)
            except Exception as error:  # noqa: BLE001 - what one engine does must not cost the others' figures
                engine["error"] = f"{type(error).__name__}: {error}"
        told["engines"][name] = engine
        told["machine_after"] = machine()
        _write(out, told)
        print(_line(name, engine), flush=True)


def measure_one(kit: Path, folder: Path, variant: Variant, span_s: float) -> dict[str, Any]:
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
    pictures = _pictures(golden.frames, card.input, most)
    engine = folder / ENGINE_PART
    content = engine.read_bytes()
    backends = [TensorRtBackend(content, engine, card, target) for _ in range(2)]
    for batch in BATCHES:
        if least <= batch <= most:
            told["batches"][str(batch)] = figures(backends, pictures[:batch], span_s)
    for backend in backends:
        backend.close()
    return told


def figures(backends: list[TensorRtBackend], tensor: np.ndarray[Any, Any], span_s: float) -> dict[str, float]:
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

    latency, copies = _times_ms(graph, span_s), _times_ms(lambda: first.run(tensor), span_s)
    return {
        **_percentiles("graph", latency),
        **_percentiles("copies", copies),
        "frames_per_s": _rate(batch, lambda times: launch_all(backends[:1], times), span_s),
        "frames_per_s_two_streams": _rate(len(backends) * batch, lambda times: launch_all(backends, times), span_s),
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


def _pictures(frames: np.ndarray[Any, Any], spec: ModelInput, count: int) -> np.ndarray[Any, Any]:
    """Real frames, each a little another one, as input tensors (count, ...)."""
    from sightline_edge.preprocessing import prepare

    return np.stack([prepare(np.roll(frames[i % len(frames)], i, axis=1), spec).tensor for i in range(count)])


def _times_ms(call: Callable[[], object], span_s: float) -> list[float]:
    """Of up to 2,000 calls, in four spans at most."""
    for _ in range(_WARM_UP):
        call()
    taken: list[float] = []
    ends_s = time.perf_counter() + 4 * span_s
    while len(taken) < _RUNS and time.perf_counter() < ends_s:
        began_s = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began_s) * 1000)
    return taken


def _percentiles(name: str, taken_ms: list[float]) -> dict[str, float]:
    return {f"{name}_p{p}_ms": float(np.percentile(taken_ms, p)) for p in (50, 99)} | {f"{name}_runs": len(taken_ms)}


def _rate(frames: int, launch: Callable[[int], object], span_s: float) -> float:
    """Frames a second, median of five spans."""
    launch(3)
    began_s = time.perf_counter()
    launch(10)
    times = max(10, int(10 * span_s / 3 / (time.perf_counter() - began_s)))
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


def _write(path: Path, told: dict[str, Any]) -> None:
    """Whole or not at all: a process may be ended while it writes."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(json.dumps(told, indent=1))
    beside.replace(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="models_gpu", description="Build, check and time engines on a GPU.")
    commands = parser.add_subparsers(dest="command", required=True)
    check_, build_, one, measure_ = (commands.add_parser(name) for name in ("check", "build", "build-one", "measure"))
    for command in (check_, build_, one, measure_):
        command.add_argument("kit", type=Path)
    measure_.add_argument("out", type=Path)
    measure_.add_argument("work", type=Path, nargs="+")
    measure_.add_argument("--span-s", type=float, default=0.6, help="a figure takes four of them, with 5 repeats of a rate")
    for command in (build_, one):
        command.add_argument("work", type=Path)
        command.add_argument("--level", type=int, choices=range(6), default=DEFAULT_LEVEL, help="the builder's effort")
        command.add_argument("--again", action="store_true", help="build a second time, with the timings of the first")
        command.add_argument("--log", action="store_true", help="keep all that TensorRT says, with seconds, beside the engine")
    one.add_argument("name", choices=variants())
    build_.add_argument("--jobs", type=int, default=1, help="builders side by side: they disturb each other")
    build_.add_argument("--each-s", type=float, default=float("inf"), help="an engine that takes longer is ended")
    for command in (build_, measure_):
        command.add_argument("--limit-s", type=float, default=540)
        command.add_argument("--only", type=_names, default=[], help="names, with commas between")
    return parser


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := set(names) - variants().keys():
        raise argparse.ArgumentTypeError(f"no variant {', '.join(sorted(unknown))}: choose of {', '.join(variants())}")
    return names


def main(arguments: list[str] | None = None) -> int:
    """What the module's docstring says; errors are one line."""
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.command == "check":
            check(chosen.kit)
            return 0
        tensorrt_version(), gpu_architecture()
        if chosen.command == "build":
            command = [sys.executable, "-m", "sightline.bench.models_gpu", "build-one", f"--level={chosen.level}"]
            command += [
                *(["--again"] if chosen.again else []),
                *(["--log"] if chosen.log else []),
                str(chosen.kit),
                str(chosen.work),
            ]
            names = [name for name in variants() if not chosen.only or name in chosen.only]
            build(chosen.work, names, command, chosen.jobs, chosen.each_s, chosen.limit_s)
        elif chosen.command == "build-one":
            build_one(
                chosen.kit, chosen.work, chosen.name, variants(chosen.level)[chosen.name], again=chosen.again, log=chosen.log
            )
        else:
            measure(chosen.kit, chosen.work, chosen.out, chosen.only, chosen.limit_s, chosen.span_s)
    except SightlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
