"""A site's authority, its signer and a place for bundles, all real, and tiny models to put there.

The models see a person on the left in red pictures and a car on the right in blue ones.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
from bundles import CPU, DAY_US, make_site, model_folder
from onnx import TensorProto, helper, numpy_helper

from sightline_contract.manifest import Envelope, Manifest, Thresholds, manifest_digest, write_envelope
from sightline_contract.model_files import ModelFiles
from sightline_contract.parity import Golden, Seen, write_golden
from sightline_contract.rollout import Assignment, DesiredModels
from sightline_contract.targets import Target
from sightline_edge.config import ModelsConfig
from sightline_edge.detector import Detector
from sightline_edge.rollout.agent import Agent, Tools
from sightline_edge.rollout.models import Engine
from sightline_edge.rollout.service import check_golden
from sightline_models.bundle import build_bundle

NOW_US = 1_800_000_000_000_000
RED = np.full((48, 64, 3), (0, 0, 255), np.uint8)
BLUE = np.full((48, 64, 3), (255, 0, 0), np.uint8)
BLACK = np.zeros((48, 64, 3), np.uint8)


def picture_model(
    *,
    left: float = 0.1,
    gain: float = 1.0,
    side: int = 16,
    padding: int = 0,
    seed: int | None = None,
    fails_on_blue: bool = False,
) -> onnx.ModelProto:
    """[n, side, side, 3] RGB to [n, 2, 6]. ``left`` is where the person's box begins; scores are multiplied with ``gain``.

    ``padding`` makes the file larger by so many bytes: zeros, or noise that follows from ``seed``. One that
    ``fails_on_blue`` reads outside of an array at a blue picture, as a faulty export does.
    """
    boxes = np.array([[[left, 0.2, left + 0.2, 0.9], [0.6, 0.5, 0.9, 0.9]]], np.float32)
    noise = np.random.default_rng(seed).random(padding // 4, np.float32)
    constants = {
        "red_and_blue": np.array([0, 2], np.int64),
        "full": np.array(255 / gain, np.float32),
        "zero": np.array(0, np.float32),
        "boxes": boxes,
        "classes": np.array([[[0], [2]]], np.float32),
        "last": np.array([2], np.int64),
        "blue": np.array(2, np.int64),
        "padding": np.zeros(padding // 4, np.float32) if seed is None else noise,
        "steps": np.array(100 if fails_on_blue else 1e9, np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Gather", ["means", "blue"], ["how_blue"], axis=1),
        helper.make_node("Div", ["how_blue", "steps"], ["step"]),
        helper.make_node("Cast", ["step"], ["row"], to=TensorProto.INT64),
        helper.make_node("Gather", ["boxes", "row"], ["picked"], axis=0),
        helper.make_node("Gather", ["means", "red_and_blue"], ["two"], axis=1),
        helper.make_node("Div", ["two", "full"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "last"], ["scores"]),
        helper.make_node("Mul", ["scores", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "picked"], ["all_boxes"]),
        helper.make_node("Add", ["nothing", "classes"], ["all_classes"]),
        helper.make_node("Concat", ["all_boxes", "scores", "all_classes"], ["found"], axis=2),
    ]
    graph = helper.make_graph(
        nodes,
        "pictures",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", side, side, 3])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, ["n", 2, 6])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_model(folder: Path, version: str, model: onnx.ModelProto | None = None, **card: object) -> Path:
    """A model folder; keywords override entries of its card."""
    content = (model or picture_model()).SerializeToString()
    entries = {"name": "pictures", "version": version, "output": {"name": "found", "decode": "boxes_score_class"}}
    return model_folder(folder, content, **entries | card)


def detector(model: Path | ModelFiles, target: Target | None = None) -> Detector:
    return Detector(model, 0.1, 1, 4, target)


@dataclass(frozen=True)
class Bundle:
    """A signed manifest and where its parts are."""

    manifest: Manifest
    envelope: Envelope
    store: Path

    @property
    def name(self) -> str:
        return manifest_digest(self.manifest).removeprefix("sha256:")

    def part(self, name: str) -> Path:
        """The file of a part at the source."""
        return self.store / "sha256" / self.manifest.parts[name].fetched.digest.removeprefix("sha256:")

    def at(self, *sources: str) -> Assignment:
        """Assigned from these addresses, or from the folder itself."""
        return Assignment(envelope=write_envelope(self.envelope), sources=sources or (str(self.store),))


class Site:
    """An authority with one signer, as of ``now_us``."""

    def __init__(self, folder: Path, now_us: int = NOW_US) -> None:
        self.now_us = now_us
        made = make_site(folder, datetime.fromtimestamp(now_us / 1e6, UTC) - timedelta(days=30))
        self.trust = folder / "pki" / "ca.pem"
        self.signer = made.signer()
        self.folder = folder
        self.store = made.store
        self._golden = 0

    def bundle(
        self, model: Path, number: int, *, expires_us: int | None = None, issued_us: int | None = None,
        golden_of: Path | None = None, content_key: bytes | None = None, target: Target = CPU,
    ) -> Bundle:  # fmt: skip
        """Signed; ``golden_of`` is the model whose answers the golden clip holds, the bundle's own without it."""
        golden = self._golden_clip(golden_of or model)
        manifest = build_bundle(
            model, target=target, golden=golden, thresholds=Thresholds(), store=self.store, number=number,
            issued_us=issued_us or self.now_us, expires_us=expires_us or self.now_us + 7 * DAY_US, content_key=content_key,
        )  # fmt: skip
        return Bundle(manifest, self.signer.sign(manifest), self.store)

    def _golden_clip(self, model: Path) -> Path:
        teacher = detector(model)
        frames = np.stack([RED, BLACK, BLUE if teacher.detect([teacher.prepare(RED)]) else BLACK])[:2]
        seen = tuple(Seen(each.boxes, each.scores, each.labels) for each in teacher.see(frames, 0.1))
        self._golden += 1
        path = self.folder / f"golden-{self._golden}.npz"
        write_golden(path, Golden(frames, seen))
        return path


def desired(
    revision: int, serve: Assignment | None = None, shadow: Assignment | None = None, node_id: str = "node"
) -> DesiredModels:
    return DesiredModels(node_id=node_id, rollout_id="r1", revision=revision, issued_us=NOW_US, serve=serve, shadow=shadow)


class Rig:
    """One node's agent and the frame loop around it, on a clock that only moves when told."""

    def __init__(self, site: Site, state: Path, own: Path, load: Callable[..., Engine] = detector, **settings: object) -> None:
        self.site, self.state, self.own, self._load = site, state, own, load
        self.config = ModelsConfig(trust=site.trust, **settings)
        self.now_us = NOW_US
        self.agent = self.started()

    def close(self) -> None:
        self.agent.close()

    def started(self) -> Agent:
        tools = Tools(lambda: detector(self.own), self._load, check_golden)
        return Agent(self.config, "node", (CPU,), self.state, tools, self.now_us)

    def restart(self, *, orderly: bool = False) -> None:
        """Begin anew; without order as after a kill: nothing is told to the agent."""
        self.agent.close(orderly=orderly)
        self.agent = self.started()

    def settle(self, seconds: float = 60.0) -> None:
        """Steps and turns, until nothing is done for a second, or so much time has passed."""
        end_us = self.now_us + round(seconds * 1e6)
        while self.now_us < end_us:
            wait_us = self.agent.step(self.now_us)
            self.agent.switch.turn()
            self.now_us += max(1, wait_us)
            if wait_us >= 1_000_000 and self.agent.phase != "fetching":
                return

    def frame(self, pixels: np.ndarray = RED) -> str:
        """One frame through the node; the version of the model whose detections they are."""
        switch = self.agent.switch
        switch.turn()
        outcome = switch.detect([(pixels, switch.prepare(pixels))])
        return outcome.by.ref.model_version

    def status(self):
        return self.agent.status(self.now_us)


def tampered(bundle: Bundle) -> Bundle:
    """The signature is another manifest's: the payload was changed after signing."""
    payload = base64.b64decode(bundle.envelope.payload).replace(b'"number":', b'"number":1')
    changed = bundle.envelope.model_copy(update={"payload": base64.b64encode(payload).decode()})
    return Bundle(bundle.manifest, changed, bundle.store)
