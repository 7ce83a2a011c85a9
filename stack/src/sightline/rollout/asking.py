"""What the commands do: begin a rollout, change what is wanted of the one that runs, look at one."""

import getpass
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sightline.bundle_service import DEFAULT_BUNDLE_PORT
from sightline.cache import clips_dir
from sightline.ports import LOOPBACK
from sightline.rollout.golden import GoldenClips
from sightline.rollout.installation import Installation
from sightline.rollout.plan_topic import PlanDesk, read_plans, write_plan
from sightline.rollout.start import Beginning, Request
from sightline.rollout.view import Look
from sightline.sample_clip import fetch_sample_clip
from sightline_contract.errors import ConfigError
from sightline_contract.manifest import Thresholds
from sightline_contract.settings import load_settings
from sightline_models.dates import seconds_of
from sightline_models.judge.rules import Rules
from sightline_models.registry import Registry
from sightline_models.rollout.plan import RolloutPlan, Wanted
from sightline_models.signing import Signer, passphrase_from_environment


@dataclass(frozen=True)
class Asked:
    """A command's options as they were written."""

    model: str
    version: str
    baseline: str
    rings: tuple[float, ...]
    shadow: str
    rules: Path | None
    expires: str
    store: Path | None
    sources: list[str] | None
    targets: list[str] | None
    clip: Path | None
    seal: Path | None
    thresholds: Path | None
    note: str = ""
    require_attestation: bool = False
    for_: str | None = None

    def request(self, home: Path) -> Request:
        """What they mean; raises ConfigError."""
        return Request(
            model_name=self.model,
            version=self.version,
            baseline=self.baseline,
            actor=getpass.getuser(),
            store=self.store or home / "bundles",
            sources=tuple(self.sources or (f"http://{LOOPBACK}:{DEFAULT_BUNDLE_PORT}",)),
            rings=self.rings,
            shadow_s=0.0 if self.shadow in ("0", "0s") else seconds_of(self.shadow, "--shadow"),
            expires_s=seconds_of(self.expires, "--expires"),
            rules=load_settings(self.rules, Rules) if self.rules else Rules(),
            thresholds=load_settings(self.thresholds, Thresholds) if self.thresholds else Thresholds(),
            note=self.note,
            targets=tuple(self.targets or ()),
            keys=self.seal,
            require_attestation=self.require_attestation,
            for_s=None if self.for_ is None else seconds_of(self.for_, "--for"),
        )


def begin(asked: Asked, signer: Path, key: Path, registry: str, home: Path, installation: Installation) -> str:
    """Begin what was asked for; returns its id. Raises SightlineError."""
    request = asked.request(home)
    release = Signer(signer, key, passphrase_from_environment())  # first: a wrong passphrase shuts nobody out
    golden = GoldenClips(asked.clip or fetch_sample_clip(clips_dir()))
    beginning = Beginning(request, Registry(registry), release, golden, time.time_ns() // 1000)
    return beginning.run(PlanDesk(installation.config.kafka), installation.history).rollout_id


def ask(installation: Installation, wanted: Wanted, note: str, actor: str) -> str:
    """Change what is wanted of the newest rollout, which must be running; returns a line that says so."""
    plan = _newest(read_plans(installation.config.kafka), None)
    if installation.history.is_over(plan.rollout_id):
        raise ConfigError(f"rollout {plan.rollout_id} is over: there is nothing to {wanted.value}")
    edited = plan.model_copy(update={"wanted": wanted, "edit": plan.edit + 1, "actor": actor, "note": note})
    write_plan(edited, installation.config.kafka)
    return f"{plan.rollout_id}: {wanted.value} is asked for"


def look_at(installation: Installation, rollout_id: str | None) -> Look:
    """What is known of a rollout, or of the newest one; raises ConfigError where there is none."""
    plan = _newest(read_plans(installation.config.kafka), rollout_id)
    history = installation.history
    return Look(plan, history.steps(plan.rollout_id), history.statuses(), installation.judge_status())


def _newest(plans: Mapping[str, RolloutPlan], rollout_id: str | None) -> RolloutPlan:
    if not plans:
        raise ConfigError("there is no rollout: begin one with 'sightline models rollout start'")
    if rollout_id is None:
        return list(plans.values())[-1]
    if rollout_id not in plans:
        raise ConfigError(f"there is no rollout {rollout_id!r}: see 'sightline models rollout list'")
    return plans[rollout_id]
