"""Small real detectors for simulated fleets: ONNX graphs that see what a simulated camera writes into its picture.

A simulated picture carries its scene in plain pixels (scenes.py), and the graph reads them back as boxes and scores, so that
what a version finds is known exactly, and a thousand of them run on one core. Behaviours are part of the graph: ONNX Runtime
computes them, and a version that crashes really fails in it.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import onnx
import yaml

from sightline_contract.model_card import (
    CARD_FILE,
    MODEL_FILE,
    Decode,
    Layout,
    ModelCard,
    ModelInput,
    ModelOutput,
    Resize,
)
from sightline_models.fetch import sha256_of
from sightline_models.onnx_builder import OnnxBuilder

# A picture is this many rows of objects and this many columns; docs in scenes.py.
ROWS, COLUMNS = 8, 4
NIGHT_BELOW = 60.0  # of 255: how dark it is where the camera looks
# Every picture has a grain 0..255, spread evenly: what a version does "sometimes" depends on it.
_CRASHES_ABOVE = 229.5
_SHIFT, _NIGHT_SHIFT = 0.75, 0.55
# Every version takes a time that is mostly arithmetic, as a real one does: next to it, what one graph has more than another,
# and that the processor's caches know the version of most nodes better, does not count.
_WORK_SIDE, _WORK_ROUNDS, _SLOW_ROUNDS = 128, 6, 15


class Behaviour(StrEnum):
    """What a version does to what it sees."""

    BASELINE = "baseline"
    GOOD = "good"  # scores a hair higher
    SHIFTED = "shifted"  # scores a quarter lower
    SLOW = "slow"  # takes more than twice as long
    CRASHING = "crashing"  # the runtime fails on one picture in ten
    NIGHT = "night"  # scores much lower where the picture is dark


@dataclass(frozen=True)
class Version:
    """A version of the simulated model."""

    name: str
    version: str
    behaviour: Behaviour


def write_version(folder: Path, version: Version) -> Path:
    """Write a model folder (``model.onnx`` and ``card.yaml``) below ``folder``; returns it."""
    made = folder / f"{version.name}-{version.version}"
    made.mkdir(parents=True, exist_ok=True)
    onnx.save(build_graph(version), made / MODEL_FILE)
    card = ModelCard(
        name=version.name,
        version=version.version,
        source="simulated",
        licence="Apache-2.0",
        digest=sha256_of(made / MODEL_FILE),
        input=ModelInput(name="picture", size=(COLUMNS, ROWS), layout=Layout.NHWC, channels="BGR", resize=Resize.STRETCH),
        output=ModelOutput(name="detections", decode=Decode.BOXES_SCORE_CLASS),
    )
    text = yaml.safe_dump(card.model_dump(mode="json"), sort_keys=False)
    (made / CARD_FILE).write_text(text, encoding="utf-8")
    return made


def build_graph(version: Version) -> onnx.ModelProto:
    """Input [N, 8, 4, 3] of 0..255, output [N, 8, 6]: x1, y1, x2, y2 in fractions of the picture, score, class."""
    graph = OnnxBuilder()
    pixels = graph.node("Reshape", "picture", graph.ints(-1, ROWS, COLUMNS * 3))
    scaled = graph.node("Div", pixels, graph.number(255))
    boxes = _columns(graph, scaled, 0, 4)
    scores = _columns(graph, scaled, 4, 5)
    classes = graph.node("Round", graph.node("Mul", _columns(graph, scaled, 5, 6), graph.number(255)))
    light = graph.node("ReduceMean", _columns(graph, pixels, 6, 7), axes=[1], keepdims=1)
    grain = graph.node("ReduceMean", _columns(graph, pixels, 7, 8), axes=[1], keepdims=1)
    scores = _behave(graph, version.behaviour, scores, light, grain)
    rounds = _SLOW_ROUNDS if version.behaviour is Behaviour.SLOW else _WORK_ROUNDS
    scores = graph.node("Add", scores, _work(graph, grain, rounds))
    found = graph.node("Concat", boxes, scores, classes, axis=2)
    graph.rename(found, "detections")
    # The version is part of the file, so that two versions of one behaviour have digests of their own.
    return graph.model(
        f"{version.name}-{version.version}",
        {"picture": ["n", ROWS, COLUMNS, 3]},  # type: ignore[list-item]
        {"detections": ["n", ROWS, 6]},  # type: ignore[list-item]
    )


def _columns(graph: OnnxBuilder, rows: str, first: int, last: int) -> str:
    return graph.node("Slice", rows, graph.ints(first), graph.ints(last), graph.ints(2))


def _behave(graph: OnnxBuilder, behaviour: Behaviour, scores: str, light: str, grain: str) -> str:
    if behaviour in (Behaviour.BASELINE, Behaviour.SLOW):
        return scores
    if behaviour is Behaviour.GOOD:
        return graph.node("Min", graph.node("Mul", scores, graph.number(1.005)), graph.number(1))
    if behaviour is Behaviour.SHIFTED:
        return graph.node("Mul", scores, graph.number(_SHIFT))
    if behaviour is Behaviour.NIGHT:
        dark = graph.node("Less", light, graph.number(NIGHT_BELOW))
        return graph.node("Where", dark, graph.node("Mul", scores, graph.number(_NIGHT_SHIFT)), scores)
    return graph.node("Mul", scores, _fails_sometimes(graph, grain))


def _fails_sometimes(graph: OnnxBuilder, grain: str) -> str:
    """A factor of 1 that is looked up in a table of one entry, and beyond its end where the grain is coarse."""
    over = graph.node("Cast", graph.node("Greater", grain, graph.number(_CRASHES_ABOVE)), to=onnx.TensorProto.INT64)
    worst = graph.node("ReduceMax", over, keepdims=0)
    return graph.node("Gather", graph.floats(1.0), worst, axis=0)


def _work(graph: OnnxBuilder, grain: str, rounds: int) -> str:
    """A zero that takes its time; it hangs on the picture, so that the runtime cannot work it out beforehand."""
    seed = graph.node("ReduceMean", grain, keepdims=0)
    unit = graph.constant(np.eye(_WORK_SIDE, dtype=np.float32))
    matrix = graph.node("Add", unit, graph.node("Mul", seed, graph.number(1e-9)))
    product = matrix
    for _ in range(rounds):
        product = graph.node("MatMul", product, matrix)
    return graph.node("Mul", graph.node("ReduceMean", product, keepdims=0), graph.number(0))
