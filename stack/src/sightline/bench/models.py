"""``sightline bench models``: what the CPU targets of a model cost, beside ONNX Runtime at full precision.

The engines are those of ``sightline models compile``, gates and all, and run where a node runs them: in the detector's
backend, on one thread. Contestants take turns and CPU time is what counts, with the ratio to the first one within each turn, so
that other processes change little.
"""

import json
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import typer

from sightline.bench.stopwatch import race
from sightline.clip_frames import spread_frames
from sightline.models import open_detector
from sightline.results.machine import installed_versions, this_machine
from sightline_contract.errors import SightlineError
from sightline_contract.model_card import load_card
from sightline_contract.targets import Runtime, Target
from sightline_edge.backends import Backend, Floats, open_backend
from sightline_models.compile.compile import Order, compile_model
from sightline_models.compile.golden import CALIBRATION_FRAMES, GOLDEN_FRAMES, split_clip
from sightline_models.compile.targets import possible_targets

BATCHES: Final = (1, 8)
_PACKAGES = ("onnxruntime", "openvino", "numpy")


@dataclass(frozen=True)
class ModelsChoice:
    """What to measure."""

    folders: tuple[Path, ...]
    clip: Path
    repeats: int


def bench_models(choice: ModelsChoice, out: Path | None) -> None:
    """Compile every CPU target, time it, print a table; raises a SightlineError where a model or the clip cannot be used."""
    told: dict[str, Any] = {
        "machine": this_machine().model_dump(),
        "versions": installed_versions(_PACKAGES),
        "threads": 1,
        "repeats": choice.repeats,
        "models": {},
    }
    for folder in choice.folders:
        name = load_card(folder).name
        told["models"][name] = _measure(folder, choice)
        _print(name, told["models"][name])
        if out:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(told, indent=1), encoding="utf-8")


def _measure(folder: Path, choice: ModelsChoice) -> dict[str, Any]:
    card = load_card(folder)
    frames = spread_frames(choice.clip, GOLDEN_FRAMES + CALIBRATION_FRAMES, card.input.size)
    clip = split_clip(frames, str(choice.clip))
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="sightline-bench-") as work:
        backends: dict[str, Backend] = {}
        for target in _cpu_targets():
            out = Path(work) / str(target)
            try:
                done = compile_model(Order(folder, target, clip, out, Path(work), open_detector))
            except SightlineError as error:
                told[str(target)] = {"refused": str(error)}
                continue
            told[str(target)] = done.figures()
            backends[str(target)] = open_backend(out, card, target, 1)
        detector = open_detector(folder, None)
        tensor = np.stack([detector.prepare(frame).tensor for frame in frames[: max(BATCHES)]])
        for batch in BATCHES:
            for name, figures in _race(backends, tensor[:batch], choice.repeats).items():
                told[name][f"batch_{batch}"] = figures
    return told


def _cpu_targets() -> list[Target]:
    return [each.target for each in possible_targets() if each.target and each.runtime is not Runtime.TENSORRT]


def _race(backends: dict[str, Backend], tensor: Floats, repeats: int) -> dict[str, dict[str, float]]:
    """CPU milliseconds of a call and frames a CPU second; speed as the ratio to the first, median and spread over the turns."""
    calls = {name: (len(tensor), partial(backend.run, tensor)) for name, backend in backends.items()}
    rates = race(calls, repeats)
    first = rates[next(iter(rates))]
    return {
        name: {
            "ms": len(tensor) / rate.median * 1000,
            "frames_per_s": rate.median,
            "speed": rate.over(first).median,
            "speed_least": min(rate.over(first).runs),
            "speed_most": max(rate.over(first).runs),
        }
        for name, rate in rates.items()
    }


def _print(name: str, told: dict[str, Any]) -> None:
    for target, figures in told.items():
        if "refused" in figures:
            typer.echo(f"{name} {target}: refused: {figures['refused']}")
            continue
        batches = ", ".join(
            f"batch {batch}: {f['ms']:.1f} ms, {f['frames_per_s']:.0f}/s, x{f['speed']:.2f} "
            f"({f['speed_least']:.2f}..{f['speed_most']:.2f})"
            for batch in BATCHES
            if (f := figures[f"batch_{batch}"])
        )
        typer.echo(f"{name} {target}: agreement {figures['parity_agreement']:.3f}, {batches}")
