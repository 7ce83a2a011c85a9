"""The agent in a running node: its engines, its thread beside the frame loop, its figures for Prometheus."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from sightline_contract.errors import ConfigError
from sightline_contract.manifest import GOLDEN_PART
from sightline_contract.model_card import ModelCard
from sightline_contract.model_files import ModelFiles
from sightline_contract.parity import BARS, check_parity, parse_golden
from sightline_contract.rollout import ModelStatus, Phase
from sightline_contract.targets import Target, parse_target
from sightline_edge.backends import cpu_target
from sightline_edge.clips.blur import BlurredClasses
from sightline_edge.config import ModelsConfig, NodeConfig
from sightline_edge.detector import Detector
from sightline_edge.health.metrics import Metrics
from sightline_edge.rollout.agent import Agent, Tools
from sightline_edge.rollout.attestation import NodeIdentity, load_attestor
from sightline_edge.rollout.consumer import RolloutReader
from sightline_edge.rollout.models import Engine
from sightline_edge.rollout.start import own_model
from sightline_edge.rollout.switch import ModelSwitch
from sightline_edge.rollout.unsealing import open_key, public_pem

logger = logging.getLogger(__name__)

# The thread looks for messages at least so often.
_POLL_S: Final = 0.2
# After an error that nobody foresaw, models stay as they are for so long.
_PAUSE_S: Final = 10.0


def load_own(config: NodeConfig) -> Detector:
    """The model of the node's own settings; raises ModelError, ConfigError."""
    return Detector(config.model, config.min_score, config.threads, config.max_inference_batch)


def own_switch(config: NodeConfig) -> ModelSwitch:
    """For a node whose model never changes."""
    return ModelSwitch(own_model(load_own(config)), lambda: own_model(load_own(config)), 1, 1)


def open_agent(config: NodeConfig, models: ModelsConfig, *, beside: bool) -> Agent:
    """The node's agent, with the model loaded that serves; raises SightlineError. ``beside``: the node has live cameras."""
    tools = Tools(
        own=lambda: load_own(config),
        load=lambda files, target: _load(config, files, target),
        parity=check_golden,
        attest=_attest(config, models),
    )
    now_us = time.time_ns() // 1000
    return Agent(models, config.node_id, targets_of(models), config.state, tools, now_us, tls=config.kafka.tls, beside=beside)


def targets_of(models: ModelsConfig) -> tuple[Target, ...]:
    """What the node can run, best first: what its settings say, or what ONNX Runtime runs on this processor."""
    return tuple(parse_target(text) for text in models.targets) or (cpu_target(),)


def _attest(config: NodeConfig, models: ModelsConfig) -> Callable[[str, int], str] | None:
    if models.attestation is None:
        return None
    if config.kafka.tls is None:
        raise ConfigError("models.attestation: a node without kafka.tls has no name to sign with: give it a certificate")
    public = public_pem(open_key(models.key)) if models.key else None
    return load_attestor(models.attestation, NodeIdentity(config.node_id, config.kafka.tls, public)).statement


def _load(config: NodeConfig, files: ModelFiles, target: Target) -> Engine:
    engine = Detector(files, config.min_score, config.threads, config.max_inference_batch, target)
    try:
        blurred_classes(config, engine.card)
    except BaseException:
        engine.close()
        raise
    return engine


def blurred_classes(config: NodeConfig, card: ModelCard) -> BlurredClasses:
    """What is blurred in clips; raises ConfigError where the model would never find what is to be blurred."""
    return BlurredClasses(config.clips.blur if config.clips else (), card.labels)


def check_golden(files: ModelFiles, target: Target, engine: Engine) -> None:
    """The parity gate of a bundle's golden clip; raises ParityError, or ModelError where the clip cannot tell anything."""
    if not isinstance(engine, Detector):
        raise TypeError(f"parity is checked of a Detector, not of {type(engine).__name__}")
    golden = parse_golden(files.read(GOLDEN_PART), files.where(GOLDEN_PART))
    what = f"{engine.card.name} {engine.card.version} on {target}"
    check_parity(golden, engine.see(golden.frames, golden.min_score), BARS[target.precision], what)


class RolloutThread(threading.Thread):
    """Follows what is desired and reports, beside the frame loop: only the swap itself happens there."""

    def __init__(self, config: NodeConfig, models: ModelsConfig, agent: Agent, send: Callable[[ModelStatus], None]) -> None:
        """``send`` keeps a status for the centre. Raises ConfigError where the broker's options are of no use."""
        super().__init__(name="rollout", daemon=True)
        self._report_s = models.report_s
        self._agent = agent
        self._send = send
        self._reader = RolloutReader(config.kafka, config.node_id)
        self._ending = threading.Event()
        self._reported_s = time.monotonic()

    def run(self) -> None:
        """Thread body."""
        while not self._ending.is_set():
            try:
                self._round()
            except Exception:  # whatever it is, the model that serves goes on
                logger.exception("models: an error that was not foreseen; they stay as they are for %.0f s", _PAUSE_S)
                self._ending.wait(_PAUSE_S)

    def close(self, *, orderly: bool) -> None:
        """End the thread, report once more; ``orderly``: the node was not ended by an error. The frame loop has ended."""
        self._ending.set()
        if self.is_alive():
            self.join()
        if orderly:
            self._send(self._agent.status(_now_us()))
        self._reader.close()
        self._agent.close(orderly=orderly)

    def _round(self) -> None:
        wait_us = self._agent.step(_now_us())
        desired = self._reader.poll(min(wait_us / 1e6, _POLL_S))
        if desired is not None and self._agent.take(desired):
            logger.info("rollout %s, revision %d, is followed", desired.rollout_id, desired.revision)
        if time.monotonic() - self._reported_s >= self._report_s:
            self._reported_s = time.monotonic()
            self._send(self._agent.status(_now_us()))


def watch_models(metrics: Metrics, agent: Agent) -> None:
    """Register the agent's figures."""
    switch = agent.switch

    def phases() -> dict[str, float]:
        phase = agent.phase
        return {each: float(each is phase) for each in Phase}

    def agreement() -> float | None:
        return shadow.agreement.rate if (shadow := switch.shadow) else None

    metrics.watch("model_number", lambda: switch.live.ref.number)
    metrics.watch("model_phase", phases)
    metrics.watch("model_errors", lambda: switch.failures)
    metrics.watch("shadow_agreement_ratio", agreement)
    metrics.watch("shadow_every", lambda: switch.shadow_every or None)


def _now_us() -> int:
    return time.time_ns() // 1000
